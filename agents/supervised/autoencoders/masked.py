"""The masked autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.autoencoders.masked import hidden_patches
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.layers.inputs import Obs


@dataclass(frozen=True)
class MaskedConfig(AutoencoderConfig):
    """Patches of images are hidden and restored (He et al. 2022; Pathak et al. 2016)."""

    patch: int | None = None
    """Side of a patch in pixels. Default: an eighth of the shorter side, at least 2."""
    hidden: float = 0.5
    """Share of the patches that are hidden."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch is not None and self.patch < 1:
            raise ValueError(f"patch must be >= 1, got {self.patch}")
        if not 0.0 < self.hidden < 1.0:
            raise ValueError(f"hidden must be > 0 and < 1, got {self.hidden}")


class Masked(Autoencoder):
    """Restores the hidden patches of images from the others, which the network is given with zeros for the hidden."""

    name, Config = "autoencoder-masked", MaskedConfig
    config: MaskedConfig

    def check_target(self, target: Target) -> None:
        if target.layout is None:
            raise ValueError(f"masked needs images with bounds, got {self.observation_space}; denoising takes vectors")
        short = min(target.shape[1:])
        self.patch = self.config.patch or max(short // 8, 2)
        if self.patch > short // 2:
            raise ValueError(f"patch must be at most half of an image's side, {short // 2}, got {self.patch}")

    def mask(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """Where images [B, C, H, W] are hidden, bool [B, 1, H, W]."""
        return hidden_patches(target.shape, self.patch, self.config.hidden, generator)

    def restored(self, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, the decoder's outputs, and the mean error of the hidden numbers of each example [B]."""
        heads = self.network.heads
        latent = self.encode(self.seen(target, mask))
        raw = heads["decoder"](latent)
        error = (heads["output"].each(raw, target) * mask).flatten(1).sum(1)
        return latent, raw, error / (mask.flatten(1).sum(1) * target.shape[1])

    def seen(self, target: Tensor, mask: Tensor) -> Obs:
        """Observations of the numbers that are not hidden."""
        found: Tensor = self.network.heads["target"].back(target * ~mask)
        return found

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        target = self.target(batch.obs)
        error = self.restored(target, self.mask(target, generator))[2].mean()
        return error, {"error": error}

    def outputs(self, batch: Observations) -> Outputs:
        target = self.target(batch.obs)
        mask = self.mask(target, self.same(batch))
        latent, raw, error = self.restored(target, mask)
        whole = torch.where(mask, self.network.heads["output"].mean(raw), target)
        squared = ((whole - target).square().flatten(1).sum(1)) / (mask.flatten(1).sum(1) * target.shape[1])
        return {"latent": latent, "error": error, **self.compared(target, whole), "hidden": squared}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        found = super().measures(outputs)
        found.pop("nll", None)  # the loss is of one number, not of an observation
        return {**found, "hidden_mse": outputs["hidden"].double().mean().item()}

    def compared_rows(self, batch: Observations) -> dict[str, Tensor]:
        target = self.target(batch.obs)
        mask = self.mask(target, self.same(batch))
        raw = self.restored(target, mask)[1]
        whole = torch.where(mask, self.network.heads["output"].mean(raw), target)
        return {"input": target, "seen": target * ~mask, "restored": whole}
