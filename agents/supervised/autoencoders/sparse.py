"""The sparse autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig, check_numbers
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.task import Outputs, linear_head
from gymnast.networks.autoencoders.sparse import divergence
from gymnast.networks.layers.inputs import Obs


@dataclass(frozen=True)
class SparseConfig(AutoencoderConfig):
    """Codes of which few numbers are active at a time."""

    sparsity: Literal["l1", "kl"] = "kl"
    """Penalty: absolute values of a rectified code (l1), or the divergence of sigmoids' means (kl, Ng 2011)."""
    sparsity_weight: float = 0.01
    """Factor of the penalty, which is a sum over the code, beside the error."""
    sparsity_target: float = 0.05
    """Mean activation of each sigmoid that kl asks for."""
    latent_size: int = 128
    """Numbers of the code, a layer after the network's features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity not in ("l1", "kl"):
            raise ValueError(f"sparsity must be l1 or kl, got {self.sparsity!r}")
        check_numbers(self, "sparsity_weight")
        if not 0.0 < self.sparsity_target < 1.0:
            raise ValueError(f"sparsity_target must be > 0 and < 1, got {self.sparsity_target}")
        if self.sparsity == "l1" and self.sparsity_target != 0.05:
            raise ValueError(f"sparsity_target {self.sparsity_target} has no effect with sparsity l1")


class Sparse(Autoencoder):
    """Restores observations from a code whose activity is penalised."""

    name, Config = "autoencoder-sparse", SparseConfig
    config: SparseConfig

    def latents(self, features: int) -> dict[str, nn.Module]:
        self.latent_size = self.config.latent_size
        layer = linear_head(features, self.latent_size, self.config, self.generator)
        return {"latent": nn.Sequential(layer, nn.ReLU() if self.config.sparsity == "l1" else nn.Sigmoid())}

    def penalty(self, latent: Tensor, obs: Obs, generator: torch.Generator) -> tuple[Tensor | None, Metrics]:
        config = self.config
        if config.sparsity == "l1":
            cost = latent.sum(1).mean()
        else:
            cost = divergence(config.sparsity_target, latent)
        return config.sparsity_weight * cost, {"sparsity_cost": cost}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        latent = outputs["latent"].double()
        if self.config.sparsity == "l1":
            return {**super().measures(outputs), "zeros": (latent == 0).double().mean().item()}
        return {**super().measures(outputs), "activation": latent.mean().item()}
