"""Observations as numbers of codes, and back: an encoder, a codebook and a decoder (van den Oord et al. 2017)."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.autoencoders.grid import GridDecoder, Maps, ToGrid
from gymnast.networks.autoencoders.outputs import Output
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.restored import within
from gymnast.networks.own import observations


class Losses(NamedTuple):
    """What a tokenizer learns from, of B observations."""

    error: Tensor
    """Of what is restored, the mean over the batch."""
    distance: Tensor
    """Mean squared distance of the latents from their codes, which only the encoder learns from."""
    codes: Tensor
    """int64 [B, K]."""


class Tokenizer(nn.Module):
    """K codes of each observation, one codebook for all of them; in a grid they are in raster order.

    `backbone` and `latent` make K * D numbers of an observation, `decoder` restores what `target` makes of it from the
    codes' K * D numbers, and `output` says what that means. With a `ToGrid` the latent reads the backbone's feature
    map, else its features. The codebook has no values before the first batch of `losses`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        latent: nn.Module,
        quantiser: Quantiser,
        decoder: nn.Module,
        target: Target,
        output: Output,
    ) -> None:
        super().__init__()
        self.backbone, self.latent, self.quantiser, self.decoder = backbone, latent, quantiser, decoder
        self.target, self.output = target, output

    @torch.no_grad()
    def start_at(self, obs: Obs) -> None:
        """Let the decoder start at the mean of observations [B, ...], and count errors of `mse` in their variance."""
        mean, spread = self.target.moments(obs)
        decoder: Any = self.decoder
        decoder.start_at(self.output.raw(mean))
        if self.output.kind == "mse":
            self.output.count_in(spread)

    def latents(self, obs: Obs) -> Tensor:
        """Numbers [B, K * D] of observations [B, ...], before the codes take their place."""
        backbone: Any = self.backbone
        found: Tensor = self.latent(backbone.mapped(obs) if isinstance(self.latent, ToGrid) else backbone(obs))
        return found

    def quantised(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, K * D] as those of their codes, and the codes, int64 [B, K]."""
        vectors, index = self.quantiser(self.parts(latent))
        return vectors.view_as(latent), index.view(len(latent), -1)

    def parts(self, latent: Tensor) -> Tensor:
        """Latents [B, K * D] as vectors [B * K, D]."""
        return latent.reshape(-1, self.quantiser.codes.shape[1])

    def embedded(self, codes: Tensor) -> Tensor:
        """The numbers [B, K * D] of codes int64 [B, K]."""
        return self.quantiser.codes[codes].flatten(1)

    def encode(self, obs: Obs) -> Tensor:
        """Codes int64 [B, K] of observations [B, ...]."""
        return self.quantised(self.latents(obs))[1]

    def restored(self, codes: Tensor) -> Tensor:
        """What codes int64 [B, K] are restored to, [B, *target.shape]: images as planes between 0 and 1."""
        return self.restored_from(self.embedded(codes))

    def restored_from(self, embedded: Tensor) -> Tensor:
        """The same of the codes' numbers [B, K * D], with their gradient."""
        return self.output.mean(self.decoder(embedded))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Observations [B, ...] of codes int64 [B, K]: in the dtype of the space, rounded and within its bounds."""
        values = within(self.target.space, self.target.back(self.restored(codes)))
        return values.to(codes.device, observations(self.target.space, codes.device).dtype)

    def losses(self, obs: Obs, generator: torch.Generator) -> Losses:
        """What to minimise: error + commitment * distance (eq. 3), 0.25 in the paper. The codebook follows the batch.

        `generator` draws the vectors that replace dead codes.
        """
        latent = self.latents(obs)
        self.quantiser.follow(self.parts(latent.detach()), generator)
        codes, index = self.quantised(latent)
        error = self.output.error(self.decoder(codes), self.target(obs)).mean()
        return Losses(error, (latent - codes.detach()).square().mean(), index)


def map_shape(backbone: nn.Module, space: gym.Space[Any]) -> tuple[int, int, int]:
    """Channels, height and width of the last feature map of a backbone.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(backbone, Maps):
        name = getattr(backbone, "name", type(backbone).__name__)
        raise ValueError(
            f"code_grid needs a network with convolutions over images, or with a method mapped; got {name}"
        )
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    training = backbone.training
    with torch.no_grad():
        maps = backbone.eval().mapped(observations(space, device))
    backbone.train(training)
    channels, height, width = maps.shape[1:]
    return channels, height, width


def grid_tokenizer(
    backbone: nn.Module,
    space: gym.Space[Any],
    *,
    code_grid: int,
    codes: int,
    code_size: int,
    decoder_channels: int = 16,
    code_decay: float = 0.99,
    init: str = "he",
    generator: torch.Generator,
) -> Tokenizer:
    """A tokenizer of images with a grid of `code_grid` x `code_grid` codes over the feature map of a backbone.

    Its options are those of `gymnast pretrain autoencoder --kind vq`. Call `start_at` with some observations before it
    learns.

    Raises:
        ValueError: observations that are no images with bounds, a backbone without a feature map, or one that is
            smaller than the grid.
    """
    target = Target(space, lambda: observations(space, torch.device("cpu")))
    if target.layout is None:
        raise ValueError(f"code_grid needs images with bounds, got {space}")
    shape = map_shape(backbone, space)
    latent = ToGrid(shape, code_grid=code_grid, code_size=code_size, init=init, generator=generator)
    planes, height, width = target.shape
    decoder = GridDecoder(code_grid, code_size, (planes, height, width), channels=decoder_channels, generator=generator)
    quantiser = Quantiser(codes, code_size, decay=code_decay)
    return Tokenizer(backbone, latent, quantiser, decoder, target, Output("mse", spread=1.0))
