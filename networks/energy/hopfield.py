"""A Hopfield network: patterns as the minima of an energy, and recall as descent to the nearest of them."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

Rule = Literal["hebb", "pseudo-inverse"]
RULES: tuple[str, ...] = get_args(Rule)
Order = Literal["asynchronous", "synchronous"]
ORDERS: tuple[str, ...] = get_args(Order)


class Hopfield(nn.Module):
    """N units of -1 or 1 with symmetric weights and the energy -s W s / 2 (Hopfield 1982).

    Args:
        units: N.
        dtype: of the weights; states have it too.
    """

    weight: Tensor

    def __init__(self, units: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"units must be >= 1, got {units}")
        self.register_buffer("weight", torch.zeros(units, units, dtype=dtype))

    @torch.no_grad()
    def store(self, patterns: Tensor, rule: Rule = "hebb") -> None:
        """Store patterns [P, N] of -1 and 1, in place of earlier ones.

        `hebb` sums the products of the units (Hebb 1949) and recalls random patterns up to about 0.138 N (Amit et al.
        1985). `pseudo-inverse` projects onto the patterns, and keeps up to N of them that are linearly independent as
        fixed points (Personnaz et al. 1986). No unit has a weight to itself.

        Raises:
            ValueError: patterns of another shape or other values, or an unknown rule.
        """
        self._check(patterns)
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
        patterns = patterns.to(self.weight)
        if rule == "hebb":
            self.weight.copy_(patterns.T @ patterns / patterns.shape[1])
        else:  # in float64: almost dependent patterns, such as frames, have small singular values
            exact = patterns.double()
            self.weight.copy_(torch.linalg.pinv(exact) @ exact)
        self.weight.copy_((self.weight + self.weight.T) / 2)
        self.weight.fill_diagonal_(0.0)

    def energy(self, states: Tensor) -> Tensor:
        """-s W s / 2 of states [B, N], [B]."""
        return -((states @ self.weight) * states).sum(1) / 2

    @torch.no_grad()
    def recall(
        self, states: Tensor, generator: torch.Generator, *, order: Order = "asynchronous", sweeps: int = 100
    ) -> Tensor:
        """States [B, N] after updates of all units, until none changes or `sweeps` of them are done.

        `asynchronous` updates one unit at a time, in a new random order in each sweep, so that the energy never rises.
        `synchronous` updates all at once, which may end in a cycle of two states. A unit with an input of 0 stays.

        Raises:
            ValueError: states of another shape or other values, an unknown order, or no sweeps.
        """
        self._check(states)
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        if sweeps < 1:
            raise ValueError(f"sweeps must be >= 1, got {sweeps}")
        states = states.to(self.weight)
        for _ in range(sweeps):
            before = states
            states = self._together(states) if order == "synchronous" else self._in_turn(states, generator)
            if torch.equal(before, states):
                break
        return states

    def _together(self, states: Tensor) -> Tensor:
        field = states @ self.weight
        return torch.where(field == 0, states, field.sign())

    def _in_turn(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """One sweep; the rows have one order."""
        states = states.clone()
        for unit in torch.randperm(states.shape[1], generator=generator).tolist():
            field = states @ self.weight[unit]
            states[:, unit] = torch.where(field == 0, states[:, unit], field.sign())
        return states

    def _check(self, states: Tensor) -> None:
        width = len(self.weight)
        if states.dim() != 2 or states.shape[1] != width:
            raise ValueError(f"states must be [B, {width}], got {list(states.shape)}")
        if not bool((states.abs() == 1).all()):
            raise ValueError("states must be -1 or 1")


def binarised(vectors: Tensor) -> Tensor:
    """Vectors [B, N] as states: 1 where a number is above its mean over the vectors, else -1.

    A number that never changes is -1.
    """
    return torch.where(vectors > vectors.mean(0), 1.0, -1.0)


def corrupted(states: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """States with `share` of the units of each, rounded, chosen at random and flipped.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    chosen = torch.rand(states.shape, generator=generator).argsort(1)[:, : round(share * states.shape[1])]
    return states.scatter(1, chosen, -states.gather(1, chosen))


class Recall(NamedTuple):
    """Patterns and what a network made of corrupted ones, each [P, N] of -1 and 1."""

    stored: Tensor
    corrupted: Tensor
    recalled: Tensor

    @property
    def error(self) -> float:
        """Share of wrong units after recall."""
        return float((self.recalled != self.stored).double().mean())

    @property
    def exact(self) -> float:
        """Share of patterns without a wrong unit after recall."""
        return float((self.recalled == self.stored).all(1).double().mean())


def recall(
    patterns: Tensor,
    generator: torch.Generator,
    *,
    rule: Rule = "hebb",
    order: Order = "asynchronous",
    noise: float = 0.0,
    sweeps: int = 100,
) -> Recall:
    """Store patterns [P, N] in a network, flip the share `noise` of the units of each, and recall them.

    Of P random patterns up to about 0.138 N can be recalled by Hebb's rule, with 1.6% of wrong units at that limit and
    many more above it (Amit, Gutfreund & Sompolinsky 1985). Raises ValueError as `Hopfield` does.
    """
    network = Hopfield(patterns.shape[1])
    network.store(patterns, rule)
    start = corrupted(patterns, noise, generator)
    return Recall(patterns, start, network.recall(start, generator, order=order, sweeps=sweeps))


def random_patterns(number: int, units: int, generator: torch.Generator) -> Tensor:
    """Patterns [number, units] of independent units, -1 or 1 with equal chance."""
    return torch.randint(2, (number, units), generator=generator).float() * 2 - 1
