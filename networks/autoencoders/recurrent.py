"""Sequences as one latent, and back (Srivastava et al. 2015)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gymnast.networks.autoencoders.decoders import ImageDecoder, VectorDecoder
from gymnast.networks.layers.init import initialise

Cell = Literal["gru", "lstm"]
CELLS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class SequenceEncoder(nn.Module):
    """Features [B, T, F] through a recurrent layer, whose last output becomes the latent [B, L] by a linear map."""

    def __init__(
        self, features: int, units: int, latent: int, *, cell: Cell, init: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.layer = CELLS[cell](features, units, batch_first=True)
        self.output = nn.Linear(units, latent)
        initialise(self, init, activation=None, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        latent: Tensor = self.output(self.layer(features)[0][:, -1])
        return latent


class SequenceDecoder(nn.Module):
    """Latents [B, L] to T steps [B, T, ...] by a recurrent layer, the last one first.

    The latent gives the layer's first state and is its input at every step; the layer never sees what it restored
    before, so that all it knows comes from the latent. `step` decodes an output [B, units] to one step.
    """

    def __init__(
        self,
        latent: int,
        units: int,
        steps: int,
        step: VectorDecoder | ImageDecoder,
        *,
        cell: Cell,
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.layer = CELLS[cell](latent, units, batch_first=True)
        self.state = nn.Linear(latent, units * (2 if cell == "lstm" else 1))
        initialise(self.layer, init, activation=None, generator=generator)
        initialise(self.state, init, activation=None, generator=generator)
        self.step = step

    def start_at(self, mean: Tensor) -> None:
        """Set the biases of a step."""
        self.step.start_at(mean)

    def forward(self, latent: Tensor) -> Tensor:
        state = self.state(latent).tanh().unsqueeze(0)
        if isinstance(self.layer, nn.LSTM):
            hidden, cell = (part.contiguous() for part in state.chunk(2, 2))
            outputs = self.layer(self._inputs(latent), (hidden, cell))[0]
        else:
            outputs = self.layer(self._inputs(latent), state)[0]
        restored: Tensor = self.step(outputs.flip(1).flatten(0, 1))
        return restored.view(-1, self.steps, *restored.shape[1:])

    def _inputs(self, latent: Tensor) -> Tensor:
        return latent.unsqueeze(1).expand(-1, self.steps, -1).contiguous()
