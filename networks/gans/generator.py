"""The generator: latents to observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gymnast.networks.autoencoders.decoders import decoder
from gymnast.networks.autoencoders.target import Target

GeneratorNorm = Literal["none", "batch"]
GAIN = 0.01
"""Of an image generator's last layer: it starts near grey, and its first images differ from each other."""


class Generator(nn.Module):
    """Latents [B, L] to values [B, *shape] of a `Target`: pixels between 0 and 1, or a vector in deviations.

    Numbers between 0 and 1 come out of a sigmoid (the tanh of Radford et al. 2016 on another scale). `norm` normalises
    every layer but the last.
    """

    def __init__(
        self,
        latent: int,
        target: Target,
        *,
        hidden_sizes: Sequence[int],
        channels: int,
        norm: GeneratorNorm,
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.unit = target.unit
        self.decoder = decoder(
            latent,
            target.shape,
            hidden_sizes=hidden_sizes,
            channels=channels,
            activation="relu",
            norm=norm,
            gain=GAIN,
            init=init,
            generator=generator,
        )

    def forward(self, latent: Tensor) -> Tensor:
        values: Tensor = self.decoder(latent)
        return values.sigmoid() if self.unit else values
