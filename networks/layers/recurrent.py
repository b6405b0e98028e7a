"""A recurrent core between backbone and head: networks that remember the episode so far."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from gymnast.networks.layers.inputs import Obs

Cell = Literal["lstm", "gru"]


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

    def forward(self, features: Tensor, start: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """A sequence: [B, T, F], bool [B, T] and [B, M] to [B, T, units] and the memory after it.

        The memory is zero before every step that `start` marks. Between two such steps, of whichever row, one kernel
        runs over all of the time.
        """
        steps = features.shape[1]
        cuts = [0, *(start[:, 1:].any(0).nonzero().flatten() + 1).tolist(), steps]
        outputs = []
        for first, last in itertools.pairwise(cuts):
            memory = reset(memory, start[:, first])
            if last - first == 1:
                output, memory = self.step(features[:, first], memory)
                outputs.append(output.unsqueeze(1))
            else:
                output, memory = self._run(features[:, first:last], memory)
                outputs.append(output)
        return torch.cat(outputs, 1), memory

    def _run(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.layer, nn.LSTM):
            hidden, cell = (part.unsqueeze(0).contiguous() for part in memory.chunk(2, 1))
            output, (hidden, cell) = self.layer(features, (hidden, cell))
            return output, torch.cat([hidden[0], cell[0]], 1)
        output, hidden = self.layer(features, memory.unsqueeze(0))
        return output, hidden[0]


def reset(memory: Tensor, start: Tensor) -> Tensor:
    """The memory [N, M] with zeros in the rows that begin an episode, bool [N]."""
    return memory.masked_fill(start.unsqueeze(1), 0.0)


def _merged(obs: Obs) -> Obs:
    """Observations [B, T, ...] as [B * T, ...]."""
    if isinstance(obs, dict):
        return {key: _merged(part) for key, part in obs.items()}
    return obs.flatten(0, 1)
