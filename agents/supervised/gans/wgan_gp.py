"""The Wasserstein GAN with a gradient penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import check_numbers
from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.networks.gans.penalties import check_own_gradients, interpolated

OF_IMAGES, OF_VECTORS = 10.0, 0.1
"""Factors of the penalty, as in the experiments of the paper."""


@dataclass(frozen=True)
class WGANGPConfig(GanConfig):
    """A critic whose gradient is drawn to a norm of 1 between real and generated examples (Gulrajani et al. 2017)."""

    losses: ClassVar[tuple[str, ...]] = ("wasserstein",)
    betas: ClassVar[tuple[float, float] | None] = (0.0, 0.9)

    critic_steps: int = 5
    """Updates of the discriminator for each of the generator."""
    gradient_penalty: float | None = None
    """Factor of the squared distance of the gradient's norm from 1. Default: 10 for images, 0.1 for vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient_penalty is not None:
            check_numbers(self, "gradient_penalty")
        if self.minibatch_kernels:
            raise ValueError(
                f"minibatch_kernels {self.minibatch_kernels} cannot be combined with the gradient penalty, which is of "
                "each example's own gradient"
            )


class WassersteinGP(Gan):
    """Fits a critic with a penalty of its gradient."""

    name, Config = "gan-wgan-gp", WGANGPConfig
    config: WGANGPConfig

    @property
    def factor(self) -> float:
        """The weight of the penalty."""
        given = self.config.gradient_penalty
        return given if given is not None else OF_VECTORS if self.is_vector else OF_IMAGES

    def check_discriminator(self) -> None:
        check_own_gradients(self.discriminator, "the gradient penalty")

    def penalty(
        self, real: Tensor, fake: Tensor, condition: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor | None, Metrics]:
        size, norm = interpolated(lambda values: self.scored(values, condition), real, fake, generator)
        added, metrics = super().penalty(real, fake, condition, generator)
        loss = self.factor * size
        return loss if added is None else loss + added, {**metrics, "gradient_norm": norm}
