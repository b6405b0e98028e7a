"""What autoencoders that can draw samples share: the measures of these samples."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gymnast.agents.supervised import quality
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.manifolds import NEIGHBOURS
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Outputs


@dataclass(frozen=True)
class GenerativeConfig(AutoencoderConfig):
    """An autoencoder with a distribution over its latents."""

    sample_measures: bool = True
    """Compare samples with the validation data in evaluations, by the measures of GANs."""
    features: str = field(default="", metadata={"metavar": "RUN"})
    """Run whose encoder gives the features of these measures. Default: fixed random ones of images, vectors as they
    are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features and not self.sample_measures:
            raise ValueError(f"features {self.features} has no effect without sample_measures")


class Generative(Autoencoder):
    """An autoencoder that fits a distribution over observations, from which `drawn` draws."""

    Config: ClassVar[type[GenerativeConfig]] = GenerativeConfig
    config: GenerativeConfig

    def __init__(self, source: Source, config: GenerativeConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.measured_in = quality.Features(self.network.heads["target"], source.encoder, device=device)

    @abstractmethod
    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Samples [number, *shape]."""

    def from_normal(self, number: int, generator: torch.Generator) -> Tensor:
        """Latents [number, latent_size] from the standard normal distribution, times the temperature."""
        latent = torch.randn(number, self.latent_size, generator=generator, device=self.device)
        return latent * (1.0 if self.draws.temperature is None else self.draws.temperature)

    def sampled(self, batch: Observations) -> Outputs:
        """Features of a batch and of as many samples, the same for the same examples."""
        if not self.config.sample_measures:
            return {}
        fake = self.drawn(len(batch.rows), self.same(batch))
        return {"real": self.measured_in(self.target(batch.obs)), "fake": self.measured_in(fake)}

    def sample_measures(self, outputs: Outputs) -> dict[str, float]:
        """Measures of the samples; nothing of fewer examples than they need."""
        if "real" not in outputs or len(outputs["real"]) <= NEIGHBOURS:
            return {}
        return quality.compared(outputs["real"], outputs["fake"])
