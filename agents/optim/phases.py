"""The phases of an update, for a profile: which function does what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Phase: TypeAlias = Literal["sample", "forward", "backward", "forward+backward", "optimizer", "learn"]
"""`forward+backward`: both passes in one function, or one that belongs to both. `learn`: the rest of an update."""


class Part(NamedTuple):
    """A function of an update."""

    owner: Any
    """The object on which it is looked up in each call."""
    name: str
    """Its name there. If it is a generator, drawing its items is the phase."""
    phase: Phase


@runtime_checkable
class Divided(Protocol):
    """An agent, or a part of one, that tells the phases of its updates apart."""

    def update_parts(self) -> Iterator[Part]:
        """The functions that updates consist of; one may call another, whose time is then its own.

        `Tensor.backward` need not be named, and what is in none of them is the phase `learn`.
        """
        ...
