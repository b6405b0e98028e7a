"""Recurrent cells that torch does not have, run step by step: peepholes, clipped cells, zoneout, other gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

State: TypeAlias = tuple[Tensor, ...]


class Zoneout(nn.Module):
    """Keep a random part of a state as it was (Krueger et al. 2017); in evaluation the expectation is taken."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        if not self.share:
            return after
        if not self.training:
            return torch.lerp(after, before, self.share)
        return torch.where(torch.rand_like(after) < self.share, before, after)


class VariationalDropout(nn.Module):
    """Dropout of sequences [B, T, F] with one mask for all steps (Gal & Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or not self.share:
            return features
        return features * functional.dropout(torch.ones_like(features[:, :1]), self.share)


class Cell(nn.Module, ABC):
    """One step of a recurrent layer; a state is a tuple of [B, units], the output first."""

    units: int
    input: nn.Linear
    """From the inputs to what `forward` takes of them."""

    def initial(self, rows: int, like: Tensor) -> State:
        """The state before the first step."""
        return (like.new_zeros(rows, self.units),)

    @abstractmethod
    def forward(self, projected: Tensor, state: State) -> State:
        """The next state, from inputs after `input`, [B, ...], and the state."""


class LSTMCell(Cell):
    """A long short-term memory (Hochreiter & Schmidhuber 1997) with options that torch's lacks.

    The gates are in torch's order: input, forget, cell, output. `peepholes` let the gates see the cell (Gers et al.
    2002); `clip` bounds the cell (Sak et al. 2014), 0 does not; `zoneout` keeps parts of cell and output.
    """

    def __init__(
        self, in_features: int, units: int, *, peepholes: bool = False, clip: float = 0.0, zoneout: float = 0.0
    ) -> None:
        super().__init__()
        self.units, self.clip = units, clip
        self.input, self.hidden = nn.Linear(in_features, 4 * units), nn.Linear(units, 4 * units, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, units)) if peepholes else None
        self.zoneout = Zoneout(zoneout)

    def open_forget_gate(self) -> None:
        """Set the bias of the forget gate to 1 (Jozefowicz et al. 2015)."""
        with torch.no_grad():
            self.input.bias[self.units : 2 * self.units] = 1.0

    def initial(self, rows: int, like: Tensor) -> State:
        return super().initial(rows, like) * 2  # output and cell

    def forward(self, projected: Tensor, state: State) -> State:
        output, cell = state
        gate_in, forget, fresh, gate_out = (projected + self.hidden(output)).chunk(4, 1)
        if self.peepholes is not None:
            gate_in, forget = gate_in + self.peepholes[0] * cell, forget + self.peepholes[1] * cell
        after = torch.sigmoid(forget) * cell + torch.sigmoid(gate_in) * torch.tanh(fresh)
        if self.clip:
            after = after.clamp(-self.clip, self.clip)
        if self.peepholes is not None:
            gate_out = gate_out + self.peepholes[2] * after
        shown = torch.sigmoid(gate_out) * torch.tanh(after)
        return self.zoneout(output, shown), self.zoneout(cell, after)


class GRUCell(Cell):
    """A gated recurrent unit whose reset gate acts on the state before the product (Cho et al. 2014, eq. 8).

    torch's, and cuDNN's, acts after it. The gates are in torch's order: reset, update, new.
    """

    def __init__(self, in_features: int, units: int, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.units = units
        self.input, self.gates = nn.Linear(in_features, 3 * units), nn.Linear(units, 2 * units)
        self.fresh = nn.Linear(units, units, bias=False)
        self.zoneout = Zoneout(zoneout)

    def forward(self, projected: Tensor, state: State) -> State:
        (output,) = state
        gates, fresh = projected.tensor_split([2 * self.units], 1)
        reset, update = torch.sigmoid(gates + self.gates(output)).chunk(2, 1)
        candidate = torch.tanh(fresh + self.fresh(reset * output))
        return (self.zoneout(output, torch.lerp(candidate, output, update)),)


class ElmanCell(Cell):
    """A simple recurrent unit, tanh(W x + U h) (Elman 1990)."""

    def __init__(self, in_features: int, units: int, *, zoneout: float = 0.0) -> None:
        super().__init__()
        self.units = units
        self.input, self.hidden = nn.Linear(in_features, units), nn.Linear(units, units, bias=False)
        self.zoneout = Zoneout(zoneout)

    def forward(self, projected: Tensor, state: State) -> State:
        (output,) = state
        return (self.zoneout(output, torch.tanh(projected + self.hidden(output))),)


class Unrolled(nn.Module):
    """A cell over a whole sequence, in both directions if asked; [B, T, F] to [B, T, units or 2 * units]."""

    def __init__(self, ahead: Cell, back: Cell | None) -> None:
        super().__init__()
        self.ahead, self.back = ahead, back

    def forward(self, features: Tensor) -> Tensor:
        outputs = _run(self.ahead, features)
        return outputs if self.back is None else torch.cat([outputs, _run(self.back, features.flip(1)).flip(1)], 2)


def _run(cell: Cell, features: Tensor) -> Tensor:
    projected = cell.input(features)  # one product for all steps
    state = cell.initial(features.shape[0], features)
    outputs = []
    for step in range(features.shape[1]):
        state = cell(projected[:, step], state)
        outputs.append(state[0])
    return torch.stack(outputs, 1)
