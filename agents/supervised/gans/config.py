"""Settings that all generative adversarial networks share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gymnast.agents.supervised.autoencoders.config import check_numbers
from gymnast.agents.supervised.config import FitConfig
from gymnast.networks.gans.generator import GeneratorNorm

WITH_BETAS = ("adam", "adamw", "nadam", "radam", "adamax")
"""Optimizers with the two decays of Adam."""


@dataclass(frozen=True)
class GanConfig(FitConfig):
    """A backbone and a head as the discriminator, and a generator."""

    losses: ClassVar[tuple[str, ...]] = ("non-saturating",)
    betas: ClassVar[tuple[float, float] | None] = (0.5, 0.999)

    loss: str = "auto"
    """Loss of the kind."""
    learning_rate: float = 2e-4
    """Step size at first, or the largest one of one-cycle."""
    latent_size: int | None = None
    """Numbers of the latent, each from the standard normal distribution. Default: 64, of a vector as many as it has."""
    generator_sizes: tuple[int, ...] = (128, 128, 128)
    """Units of the fully connected layers of a generator of vectors."""
    generator_channels: int = 32
    """Channels of the last hidden layer of a generator of images; they double inwards, up to four times as many."""
    generator_norm: GeneratorNorm = "none"
    """Normalisation of the generator's layers: none or batch."""
    generator_learning_rate: float | None = None
    """Step size of the generator (Heusel et al. 2017). Default: that of the discriminator."""
    critic_steps: int = 1
    """Updates of the discriminator for each of the generator."""
    spectral_norm: bool = False
    """Divide the discriminator's weights by their largest singular value (Miyato et al. 2018)."""
    r1: float = 0.0
    """Factor of the squared gradient of the score at real examples, halved (Mescheder et al. 2018)."""
    minibatch_kernels: int = 0
    """Kernels of minibatch discrimination (Salimans et al. 2016); 0 for none."""
    features: str = field(default="", metadata={"metavar": "RUN"})
    """Run whose encoder gives the features of the measures. Default: fixed random ones of images, vectors as they are.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "generator_channels", "critic_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if min(self.generator_sizes, default=1) < 1:
            raise ValueError(f"generator_sizes must be numbers >= 1, got {self.generator_sizes}")
        if self.generator_norm not in ("none", "batch"):
            raise ValueError(f"generator_norm must be none or batch, got {self.generator_norm!r}")
        check_numbers(self, "r1", "minibatch_kernels")
        rate = self.generator_learning_rate
        if rate is not None and not 0.0 < rate < float("inf"):
            raise ValueError(f"generator_learning_rate must be > 0, got {rate}")
        if self.augment != "none":
            raise ValueError(f"augment {self.augment} has no place in a GAN, which would generate shifted images")
