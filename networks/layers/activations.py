"""Activations by name, each built for a layer of a given number of units.

Most are functions of single numbers. The others have parameters, or as many inputs per unit or outputs per unit as they
need, so that a layer asks for `in_features` before it is made, and `out_features` after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Activate: TypeAlias = Callable[[Tensor], Tensor]


def _same(features: Tensor) -> Tensor:
    return features


FUNCTIONS: dict[str, Activate] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "leaky-relu": functional.leaky_relu,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "identity": _same,
}
"""Elementwise functions (SELU: Klambauer et al. 2017; GELU: Hendrycks & Gimpel 2016; SiLU: Elfwing et al. 2018)."""
ACTIVATIONS = (*FUNCTIONS, "crelu", "prelu", "maxout", "maxout:K")
"""The names of all activations; K pieces per unit, `maxout` has two."""
SLOPE = 0.25
"""Initial slope of PReLU (He et al. 2015, section 2.1)."""
GAINS = {
    "relu": math.sqrt(2.0),
    "tanh": 5.0 / 3.0,
    "elu": math.sqrt(2.0),
    "gelu": math.sqrt(2.0),
    "silu": math.sqrt(2.0),
    "leaky-relu": math.sqrt(2.0 / (1 + 0.01**2)),
    "selu": 1.0,
    "sigmoid": 1.0,
    "softplus": math.sqrt(2.0),
    "identity": 1.0,
    "crelu": math.sqrt(2.0),
    "prelu": math.sqrt(2.0 / (1 + SLOPE**2)),
}
"""Factors of orthogonal and Xavier weights by the activation that follows (He et al. 2015); SELU keeps variances."""


class Activation(NamedTuple):
    """An activation of one layer."""

    in_features: int
    """Features that it takes from the layer: those that are normalised, and units of the linear map."""
    out_features: int
    function: Activate
    """A module if it has parameters or another width, else a plain function, which costs less to call."""


class PReLU(nn.Module):
    """max(0, x) + a min(0, x) with a learned slope a for each unit or channel (He et al. 2015, eq. 1); [B, U, ...]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((units,), SLOPE))

    def forward(self, features: Tensor) -> Tensor:
        return torch.prelu(features, self.slope.to(features.dtype))


class CReLU(nn.Module):
    """The positive parts of x and of -x side by side (Shang et al. 2016, eq. 2); [B, U, ...] to [B, 2 U, ...]."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(torch.cat([features, -features], 1))


class Maxout(nn.Module):
    """The maximum of the K pieces of each unit (Goodfellow et al. 2013, section 3); [B, K U, ...] to [B, U, ...].

    Piece k of unit u is feature k U + u.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, features: Tensor) -> Tensor:
        return torch.unflatten(features, 1, (self.pieces, -1)).amax(1)


def activation(name: str, units: int) -> Activation:
    """The activation of a layer of `units`, which are the second axis of its input.

    Raises:
        ValueError: an unknown name.
    """
    check_activation(name)
    if name in FUNCTIONS:
        return Activation(units, units, FUNCTIONS[name])
    if name == "crelu":
        return Activation(units, 2 * units, CReLU())
    if name == "prelu":
        return Activation(units, units, PReLU(units))
    return Activation(_pieces(name) * units, units, Maxout(_pieces(name)))


def functions(activations: Sequence[Activation]) -> Sequence[Activate]:
    """Their functions, in a `ModuleList` if they are modules, which registers their parameters."""
    modules = [one.function for one in activations if isinstance(one.function, nn.Module)]
    return nn.ModuleList(modules) if modules else [one.function for one in activations]  # type: ignore[return-value]


def check_activation(name: str) -> None:
    """Raise ValueError for an unknown name."""
    if name not in FUNCTIONS and name not in ("crelu", "prelu") and _pieces(name) < 2:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} (K >= 2), got {name!r}")


def gain_of(name: str) -> float:
    """The factor of initial weights before an activation; see `GAINS`. Maxout's keeps the mean square."""
    return GAINS[name] if name in GAINS else 1.0 / math.sqrt(_mean_square_of_maximum(_pieces(name)))


def _pieces(name: str) -> int:
    """K of `maxout:K`; 0 for another name."""
    if name == "maxout":
        return 2
    kind, _, count = name.partition(":")
    return int(count) if kind == "maxout" and count.isascii() and count.isdigit() else 0


def _mean_square_of_maximum(count: int) -> float:
    """The mean square of the largest of `count` independent standard normal numbers, by the midpoint rule."""
    width = 1e-3
    values = torch.arange(-9.0, 9.0, width, dtype=torch.float64) + width / 2
    density = torch.exp(-values.square() / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(values) ** (count - 1)
    return float((values.square() * count * density * below).sum() * width)
