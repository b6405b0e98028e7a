"""The autoencoder with a vector-quantised code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig, check_numbers
from gymnast.agents.supervised.autoencoders.plain import SHOWN, Autoencoder
from gymnast.agents.supervised.episodes import on
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.shown import Bars, Shown
from gymnast.agents.supervised.task import Outputs, linear_head
from gymnast.networks.autoencoders.prior import CodePrior
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.layers.inputs import Obs

INITIAL = 256
"""Training examples from whose latents the codes of a random encoder are taken, about."""
PRIOR = 0.01
"""Factor of the prior's loss: Adam's steps do not depend on it, but all gradients are clipped together, and the prior's
must be small beside the autoencoder's."""
WALKS = 6
"""Pairs of examples between which a picture walks."""


@dataclass(frozen=True)
class VQConfig(AutoencoderConfig):
    """Codes that are a few entries of a learned codebook (van den Oord et al. 2017)."""

    codes: int = 64
    """Entries of the codebook."""
    code_size: int = 8
    """Numbers of an entry."""
    latent_size: int = 128
    """Numbers of the latent, a layer after the features: so many entries of code_size as it holds."""
    commitment: float = 0.25
    """Factor of the squared distance between the latent and its entries, which only the encoder learns from."""
    code_decay: float = 0.99
    """Decay of the running means that are the entries."""
    prior_units: int = 64
    """Units of the prior over the codes of an observation, a GRU that learns beside the autoencoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("codes", 2), ("code_size", 1), ("prior_units", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if self.latent_size % self.code_size:
            raise ValueError(f"latent_size must be a multiple of code_size {self.code_size}, got {self.latent_size}")
        check_numbers(self, "commitment")
        check_numbers(self, "code_decay", below=1.0)


class VectorQuantised(Autoencoder):
    """Restores observations from a latent whose parts are replaced by their nearest codes."""

    name, Config = "autoencoder-vq", VQConfig
    config: VQConfig

    def latents(self, features: int) -> dict[str, nn.Module]:
        config = self.config
        self.latent_size = config.latent_size
        places = self.latent_size // config.code_size
        return {
            "latent": linear_head(features, self.latent_size, config, self.generator),
            "quantiser": Quantiser(config.codes, config.code_size, decay=config.code_decay),
            "prior": CodePrior(config.codes, places, config.prior_units, init=config.init, generator=self.generator),
        }

    def quantised(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, L] as their codes, and the numbers of these, int64 [B, L / code_size]."""
        vectors, index = self.network.heads["quantiser"](latent.reshape(-1, self.config.code_size))
        return vectors.view_as(latent), index.view(len(latent), -1)

    def random(self, seed: np.random.SeedSequence) -> VectorQuantised:
        """The same with other initial weights, and codes that are latents drawn from the training examples."""
        made = super().random(seed)
        assert isinstance(made, VectorQuantised)
        obs = on(made.inputs(made.train[:: max(len(made.train) // INITIAL, 1)]), self.device)
        with torch.no_grad():
            latent = super(VectorQuantised, made).encode(obs)
        generator = torch.Generator(self.device).manual_seed(torch_seed(seed))
        made.network.heads["quantiser"].follow(latent.reshape(-1, self.config.code_size), generator)
        return made

    def encode(self, obs: Obs) -> Tensor:
        return self.quantised(super().encode(obs))[0]

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        heads, config = self.network.heads, self.config
        target = self.target(batch.obs)
        latent = super().encode(batch.obs)
        heads["quantiser"].follow(latent.detach().reshape(-1, config.code_size), generator)
        codes, index = self.quantised(latent)
        error = heads["output"].error(heads["decoder"](codes), target).mean()
        distance = (latent - codes.detach()).square().mean()
        rate = heads["prior"](index).mean()  # whose gradient ends at the codes' numbers
        loss = error + config.commitment * distance + PRIOR * rate / index.shape[1]
        return loss, {"error": error, "distance": distance, "rate": rate}

    def outputs(self, batch: Observations) -> Outputs:
        index = self.quantised(super().encode(batch.obs))[1]
        return {**super().outputs(batch), "codes": index, "rate": self.network.heads["prior"](index)}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        share = self.shares(outputs)
        entropy = -(share * share.clamp(min=1e-12).log()).sum().item()
        found = super().measures(outputs)
        return {
            **found,
            "used_codes": (share > 0).double().mean().item(),
            "perplexity": math.exp(entropy),
            "rate": outputs["rate"].double().mean().item(),
            "distortion": found["loss"],
        }

    def shares(self, outputs: Outputs) -> Tensor:
        """How often each code is used, float64 [K]."""
        index = outputs["codes"].flatten()
        return torch.bincount(index, minlength=self.config.codes).double() / len(index)

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Observations [number, *shape] whose codes are drawn from the prior."""
        heads = self.network.heads
        return self.decode(heads["quantiser"].codes[heads["prior"].sample(number, generator)].flatten(1))

    def latent_shown(self, outputs: Outputs, batch: Observations) -> dict[str, Shown]:
        """Walks between pairs of examples, each step replaced by its codes, and the use of the codes."""
        latent = super().encode(batch.obs)
        pairs = min(WALKS, len(latent) // 2)
        along = torch.linspace(0, 1, SHOWN, device=latent.device).unsqueeze(1)
        rows = {}
        for number, (one, other) in enumerate(zip(latent[:pairs], latent[pairs : 2 * pairs], strict=True), 1):
            rows[f"pair {number}"] = self.decode(self.quantised(one + along * (other - one))[0])
        share = self.shares(outputs).sort(descending=True).values
        return {"walk": self.grid(rows), "latent_use": Bars(share, "codes, sorted", "share")}
