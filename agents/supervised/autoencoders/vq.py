"""The autoencoder with a vector-quantised code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
from gymnast.networks.autoencoders.grid import GridDecoder, ToGrid
from gymnast.networks.autoencoders.prior import CodePrior
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.autoencoders.tokenizer import Tokenizer, map_shape
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
    code_grid: int = 0
    """Rows and columns of a grid of codes over the image, each of a part of the last feature map; 0 for codes of all
    features, without places."""
    commitment: float = 0.25
    """Factor of the squared distance between the latent and its entries, which only the encoder learns from."""
    code_decay: float = 0.99
    """Decay of the running means that are the entries."""
    prior_units: int = 64
    """Units of the prior over the codes of an observation, a GRU that learns beside the autoencoder."""

    def __post_init__(self) -> None:
        for name, least in (("codes", 2), ("code_size", 1), ("prior_units", 1), ("code_grid", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if self.code_grid:
            self._place_codes()
        super().__post_init__()
        if self.latent_size % self.code_size:
            raise ValueError(f"latent_size must be a multiple of code_size {self.code_size}, got {self.latent_size}")
        check_numbers(self, "commitment")
        check_numbers(self, "code_decay", below=1.0)

    def _place_codes(self) -> None:
        """Set what follows from the grid; ValueError for options that have no effect with one."""
        size = self.code_grid**2 * self.code_size
        if self.latent_size not in (VQConfig.latent_size, size):
            raise ValueError(f"latent_size {self.latent_size} has no effect with code_grid, which makes it {size}")
        if self.hidden_sizes:
            raise ValueError(
                f"hidden_sizes {self.hidden_sizes} have no effect with code_grid, which reads feature maps"
            )
        if self.decoder_sizes != AutoencoderConfig.decoder_sizes:
            raise ValueError(f"decoder_sizes {self.decoder_sizes} have no effect with code_grid, which needs images")
        object.__setattr__(self, "latent_size", size)
        object.__setattr__(self, "hidden_sizes", ())


class VectorQuantised(Autoencoder):
    """Restores observations from a latent whose parts are replaced by their nearest codes."""

    name, Config = "autoencoder-vq", VQConfig
    config: VQConfig

    def check_target(self, target: Target) -> None:
        if self.config.code_grid and target.layout is None:
            raise ValueError(f"code_grid needs images with bounds, got {self.observation_space}")

    def backbone_of(self, generator: torch.Generator) -> nn.Module:
        backbone = super().backbone_of(generator)
        if self.config.code_grid:
            self.map_shape = map_shape(backbone, self.observation_space)
        return backbone

    def latents(self, features: int) -> dict[str, nn.Module]:
        config, side = self.config, self.config.code_grid
        self.latent_size = config.latent_size
        places = self.latent_size // config.code_size
        latent: nn.Module
        if side:
            size, init = config.code_size, config.init
            latent = ToGrid(self.map_shape, code_grid=side, code_size=size, init=init, generator=self.generator)
        else:
            latent = linear_head(features, self.latent_size, config, self.generator)
        return {
            "latent": latent,
            "quantiser": Quantiser(config.codes, config.code_size, decay=config.code_decay),
            "prior": CodePrior(
                config.codes, places, config.prior_units, columns=side, init=config.init, generator=self.generator
            ),
        }

    def decoder(self, backbone: nn.Module) -> Any:
        config = self.config
        if not config.code_grid:
            return super().decoder(backbone)
        planes, height, width = self.shape
        shape, channels = (planes, height, width), config.decoder_channels
        return GridDecoder(config.code_grid, config.code_size, shape, channels=channels, generator=self.generator)

    @property
    def tokenizer(self) -> Tokenizer:
        """Encoder, codebook and decoder as one module, which shares its weights with the network."""
        parts = (self.network.heads[name] for name in ("latent", "quantiser", "decoder", "target", "output"))
        return Tokenizer(self.network.backbone, *parts)

    def random(self, seed: np.random.SeedSequence) -> VectorQuantised:
        """The same with other initial weights, and codes that are latents drawn from the training examples."""
        made = super().random(seed)
        assert isinstance(made, VectorQuantised)
        obs = on(made.inputs(made.train[:: max(len(made.train) // INITIAL, 1)]), self.device)
        with torch.no_grad():
            vectors = made.tokenizer.parts(made.tokenizer.latents(obs))
        generator = torch.Generator(self.device).manual_seed(torch_seed(seed))
        made.network.heads["quantiser"].follow(vectors, generator)
        return made

    def encode(self, obs: Obs) -> Tensor:
        tokenizer = self.tokenizer
        return tokenizer.quantised(tokenizer.latents(obs))[0]

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        found = self.tokenizer.losses(batch.obs, generator)
        rate = self.network.heads["prior"](found.codes).mean()  # whose gradient ends at the codes' numbers
        loss = found.error + self.config.commitment * found.distance + PRIOR * rate / found.codes.shape[1]
        return loss, {"error": found.error, "distance": found.distance, "rate": rate}

    def outputs(self, batch: Observations) -> Outputs:
        index = self.tokenizer.encode(batch.obs)
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
        return self.tokenizer.restored(self.network.heads["prior"].sample(number, generator))

    def latent_shown(self, outputs: Outputs, batch: Observations) -> dict[str, Shown]:
        """Walks between pairs of examples, each step replaced by its codes, and the use of the codes."""
        tokenizer = self.tokenizer
        latent = tokenizer.latents(batch.obs)
        pairs = min(WALKS, len(latent) // 2)
        along = torch.linspace(0, 1, SHOWN, device=latent.device).unsqueeze(1)
        rows = {}
        for number, (one, other) in enumerate(zip(latent[:pairs], latent[pairs : 2 * pairs], strict=True), 1):
            rows[f"pair {number}"] = self.decode(tokenizer.quantised(one + along * (other - one))[0])
        share = self.shares(outputs).sort(descending=True).values
        return {"walk": self.grid(rows), "latent_use": Bars(share, "codes, sorted", "share")}
