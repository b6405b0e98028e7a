"""The denoising autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig, check_numbers
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.autoencoders.denoising import corrupted
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.layers.inputs import Obs


@dataclass(frozen=True)
class DenoisingConfig(AutoencoderConfig):
    """What is given to the encoder is corrupted; the decoder restores it (Vincent et al. 2010)."""

    corruption: Literal["gaussian", "dropout"] = "gaussian"
    """Add normal noise, or set numbers to 0 at random."""
    noise: float = 0.3
    """Deviation of the noise: of pixels between 0 and 1, of vectors in units of their own deviation."""
    dropped: float = 0.3
    """Share of the numbers that are set to 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corruption not in ("gaussian", "dropout"):
            raise ValueError(f"corruption must be gaussian or dropout, got {self.corruption!r}")
        check_numbers(self, "noise")
        check_numbers(self, "dropped", below=1.0)
        unused, default = ("dropped", 0.3) if self.corruption == "gaussian" else ("noise", 0.3)
        if getattr(self, unused) != default:
            raise ValueError(f"{unused} {getattr(self, unused)} has no effect with corruption {self.corruption}")


class Denoising(Autoencoder):
    """Restores observations from corrupted ones, which the network is given as numbers that need not be pixels."""

    name, Config = "autoencoder-denoising", DenoisingConfig
    config: DenoisingConfig

    def check_target(self, target: Target) -> None:
        target.check_back()

    def noisy(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """What is restored, corrupted."""
        config = self.config
        return corrupted(target, config.corruption, noise=config.noise, dropped=config.dropped, generator=generator)

    def given(self, batch: Observations, target: Tensor, generator: torch.Generator) -> Obs:
        restored: Tensor = self.network.heads["target"].back(self.noisy(target, generator))
        return restored

    def outputs(self, batch: Observations) -> Outputs:
        target = self.target(batch.obs)
        given = (self.noisy(target, self.same(batch)) - target).square().flatten(1).mean(1)
        return {**super().outputs(batch), "given": given}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        return {**super().measures(outputs), "given_mse": outputs["given"].double().mean().item()}

    def compared_rows(self, batch: Observations) -> dict[str, Tensor]:
        rows = super().compared_rows(batch)
        return {"input": rows["input"], "given": self.noisy(rows["input"], self.same(batch)), **rows}
