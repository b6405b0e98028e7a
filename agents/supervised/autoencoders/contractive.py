"""The contractive autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig, check_numbers
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.autoencoders.contractive import contraction
from gymnast.networks.autoencoders.target import Target


@dataclass(frozen=True)
class ContractiveConfig(AutoencoderConfig):
    """Codes that change little with the observation (Rifai et al. 2011)."""

    contraction_weight: float = 1e-3
    """Factor of the squared norm of the encoder's Jacobian, with inputs in the units of what is restored."""
    probes: int = 1
    """Random directions that estimate the norm in training (Hutchinson 1990); 0 computes it, number by number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "contraction_weight", "probes")


class Contractive(Autoencoder):
    """Restores observations from a code whose derivative by the observation is penalised."""

    name, Config = "autoencoder-contractive", ContractiveConfig
    config: ContractiveConfig

    def check_target(self, target: Target) -> None:
        target.check_back()

    def contraction(self, target: Tensor, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents [B, L] of observations given as what is restored, and the mean squared norm of their Jacobian."""
        inputs = target.detach().requires_grad_()
        latent = self.encode(self.network.heads["target"].back(inputs))
        return latent, contraction(latent, inputs, probes, generator)

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        heads, config = self.network.heads, self.config
        target = self.target(batch.obs)
        latent, norm = self.contraction(target, config.probes, generator)
        error = heads["output"].error(heads["decoder"](latent), target).mean()
        return error + config.contraction_weight * norm, {"error": error, "contraction": norm}

    def outputs(self, batch: Observations) -> Outputs:
        found = super().outputs(batch)
        with torch.enable_grad():
            target = self.target(batch.obs)
            norm = self.contraction(target, self.config.probes, self.same(batch))[1].detach()
        return {**found, "contraction": norm.repeat(len(target))}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        return {**super().measures(outputs), "contraction": outputs["contraction"].double().mean().item()}
