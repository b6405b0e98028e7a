"""A recurrent core between backbone and head: networks that remember the episode so far."""

from __future__ import annotations

import itertools
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from gymnast.networks.layers.gated_transformer import GatedTransformer
from gymnast.networks.layers.segments import Segments

Cell = Literal["lstm", "gru"]
Recurrent = Literal["lstm", "gru", "transformer"]
TRANSFORMER = {"recurrent_steps": 32, "recurrent_layers": 1, "recurrent_heads": 4}
"""The options that only a transformer has, with their defaults."""
FEW_ROWS = 32
"""Sequences side by side up to which gymnast's own GRU is the faster one on the CPU."""


class RecurrentConfig(Protocol):
    """The settings of a config that describe its memory; those of a transformer are None for their defaults."""

    @property
    def recurrent(self) -> str: ...
    @property
    def memory_size(self) -> int: ...
    @property
    def recurrent_steps(self) -> int | None: ...
    @property
    def recurrent_layers(self) -> int | None: ...
    @property
    def recurrent_heads(self) -> int | None: ...


class Core(nn.Module):
    """One recurrent layer whose memory is a flat tensor [N, memory_size], zero when an episode begins.

    LSTM (Hochreiter & Schmidhuber 1997), whose memory is output and cell concatenated; or GRU (Cho et al. 2014) as
    in cuDNN, the reset gate after the matrix product.
    """

    def __init__(self, cell: Cell, in_features: int, units: int) -> None:
        super().__init__()
        layer = nn.LSTM if cell == "lstm" else nn.GRU
        self.layer: nn.LSTM | nn.GRU = layer(in_features, units, batch_first=True)
        self.out_features = units
        self.memory_size = 2 * units if cell == "lstm" else units

    def step(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: [N, F] and [N, M] to [N, units] and [N, M]."""
        weights = self.layer.all_weights[0]
        if isinstance(self.layer, nn.LSTM):
            hidden, cell = torch.lstm_cell(features, memory.chunk(2, 1), *weights)
            return hidden, torch.cat([hidden, cell], 1)
        hidden = torch.gru_cell(features, memory, *weights)
        return hidden, hidden

    def forward(self, features: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """A sequence: [B, T, F], bool [B, T] and the memory before it [B, M] to [B, T, units].

        The memory is zero before every step that `start` marks. All parts between such steps that have about the same
        length run side by side.
        """
        segments = Segments(start)
        outputs = [
            self._run(part, before)[0]
            for part, before in zip(segments.split(features), segments.memories(memory), strict=True)
        ]
        return segments.join(outputs, features.shape[1])

    def after(self, features: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M] after a sequence: of `forward`'s arguments only what follows the last starts matters."""
        steps = features.shape[1]
        last = (start * torch.arange(1, steps + 1, device=start.device)).amax(1) - 1  # [B], -1 for none
        cuts = [*sorted({0, *last.clamp(min=0).tolist()}), steps]
        for first, end in itertools.pairwise(cuts):
            memory = self._run(features[:, first:end], reset(memory, last == first))[1]
        return memory

    def _run(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[S, L, F] and the memory before them [S, M] to [S, L, units] and the memory after them."""
        if isinstance(self.layer, nn.LSTM):
            hidden, cell = (part.unsqueeze(0).contiguous() for part in memory.chunk(2, 1))
            output, (hidden, cell) = self.layer(features, (hidden, cell))
            return output, torch.cat([hidden[0], cell[0]], 1)
        if features.is_cpu and len(features) <= FEW_ROWS and features.dtype == torch.float32:
            from gymnast.networks.fast.gru import GRUSequence  # loads Numba

            output = GRUSequence.apply(features, memory, *self.layer.all_weights[0])  # type: ignore[no-untyped-call]
            return output, output[:, -1]
        output, hidden = self.layer(features, memory.unsqueeze(0))
        return output, hidden[0]


def build_core(config: RecurrentConfig, in_features: int) -> Core | GatedTransformer | None:
    """The memory that a config names, between `in_features` and the head; None without one."""
    if config.recurrent == "none":
        return None
    if config.recurrent == "transformer":
        window, layers, heads = (_option(config, name) for name in TRANSFORMER)
        return GatedTransformer(in_features, config.memory_size, window=window, layers=layers, heads=heads)
    return Core(config.recurrent, in_features, config.memory_size)  # type: ignore[arg-type]


def check_recurrent(config: RecurrentConfig) -> None:
    """Raise ValueError for a transformer's options out of range, or without a transformer."""
    given = [name for name in TRANSFORMER if getattr(config, name) is not None]
    for name in given:
        low = 2 if name == "recurrent_steps" else 1
        if getattr(config, name) < low:
            raise ValueError(f"{name} must be >= {low}, got {getattr(config, name)}")
    if given and config.recurrent != "transformer":
        raise ValueError(f"{given[0]} needs recurrent transformer, got {config.recurrent}")
    heads = _option(config, "recurrent_heads")
    if config.recurrent == "transformer" and config.memory_size % heads:
        raise ValueError(f"memory_size must be a multiple of recurrent_heads {heads}, got {config.memory_size}")


def _option(config: RecurrentConfig, name: str) -> int:
    """A transformer's option, or its default."""
    value: int | None = getattr(config, name)
    return TRANSFORMER[name] if value is None else value


def reset(memory: Tensor, start: Tensor) -> Tensor:
    """The memory [N, M] with zeros in the rows that begin an episode, bool [N]."""
    return memory.masked_fill(start.unsqueeze(1), 0.0)
