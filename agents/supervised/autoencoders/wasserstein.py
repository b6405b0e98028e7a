"""The Wasserstein autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import check_numbers
from gymnast.agents.supervised.autoencoders.generative import Generative, GenerativeConfig
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.autoencoders.wasserstein import discrepancy
from gymnast.networks.layers.inputs import Obs

COMPARED = 2_000
"""Latents of an evaluation whose discrepancy from the prior is measured, at most."""


@dataclass(frozen=True)
class WassersteinConfig(GenerativeConfig):
    """Codes of all observations together that are distributed as the standard normal (Tolstikhin et al. 2018)."""

    latent_size: int = 16
    """Numbers of the latent."""
    mmd_weight: float = 1.0
    """Factor of the squared maximum mean discrepancy between a batch's latents and as many from the prior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "mmd_weight")


class WassersteinAutoencoder(Generative):
    """Restores observations from latents that are drawn to a standard normal distribution (WAE-MMD)."""

    name, Config = "autoencoder-wasserstein", WassersteinConfig
    sampling = ("temperature",)
    config: WassersteinConfig

    def penalty(self, latent: Tensor, obs: Obs, generator: torch.Generator) -> tuple[Tensor | None, Metrics]:
        drawn = torch.randn(latent.shape, generator=generator, device=latent.device)
        found = discrepancy(latent, drawn)
        return self.config.mmd_weight * found, {"mmd": found}

    def outputs(self, batch: Observations) -> Outputs:
        return {**super().outputs(batch), **self.sampled(batch)}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        latent = outputs["latent"][:: -(-len(outputs["latent"]) // COMPARED)].double()
        drawn = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found, mmd = super().measures(outputs), discrepancy(latent, drawn).item()
        found["loss"] += self.config.mmd_weight * mmd
        return {**found, "mmd": mmd, **self.sample_measures(outputs)}

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Observations [number, *shape] whose latents are drawn from the prior."""
        return self.decode(self.from_normal(number, generator))
