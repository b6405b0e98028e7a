"""Observations of any space as tensors of float32, in which decisions are differentiated, and the parts of them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.step import Obs
from gymnast.explain.view import View
from gymnast.networks.layers.images import leaves
from gymnast.networks.layers.inputs import Vector


@dataclass(frozen=True)
class Part:
    """One tensor of an observation."""

    path: tuple[str, ...]
    space: gym.Space[Any]
    place: slice
    """Of its numbers in a flat observation."""

    @property
    def name(self) -> str:
        """Its keys, joined by dots; empty for an observation that has no parts."""
        return ".".join(self.path)

    @property
    def title(self) -> str:
        """The beginning of a caption of its picture."""
        return f"Part {self.name}. " if self.path else ""

    @cached_property
    def view(self) -> View:
        """How it is shown: choices as the bars of their alternatives."""
        return View(_box(self.space))

    @property
    def choices(self) -> list[slice]:
        """The places of the alternatives of each choice in a flat observation; none for numbers."""
        if not isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            return []
        sizes = np.asarray(self.space.n if isinstance(self.space, spaces.Discrete) else self.space.nvec).flatten()
        edges = [self.place.start, *(self.place.start + np.cumsum(sizes)).tolist()]
        return [slice(low, high) for low, high in itertools.pairwise(edges)]


class Form:
    """Observations of a space as x [N, ...]: those of a Box as they are, all others flat, [N, K].

    A flat observation has the numbers of its parts in their own units, one part after the other, and a number for each
    alternative of a choice: 1 for the one that was taken and 0 for the others.

    Raises:
        ValueError: a space that networks do not read.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        self.space, self.is_flat = space, not isinstance(space, spaces.Box)
        self.parts: list[Part] = []
        end = 0
        for path, part in leaves(space):
            start, end = end, end + Vector(part).out_features
            self.parts.append(Part(path, part, slice(start, end)))
        self.shape: tuple[int, ...] = (end,) if self.is_flat else tuple(space.shape or ())

    @property
    def pictures(self) -> list[Part]:
        """The parts that are shown as pictures."""
        return [part for part in self.parts if part.view.layout is not None]

    @property
    def vectors(self) -> list[Part]:
        """The parts that are shown as bars."""
        return [part for part in self.parts if part.view.layout is None]

    @property
    def has_choices(self) -> bool:
        return any(part.choices for part in self.parts)

    @property
    def is_exact(self) -> bool:
        """Whether an environment can give numbers between those that it gives: neither truth values nor choices."""
        return all(part.view.space.dtype != np.bool_ for part in self.parts)

    def of(self, x: Tensor, part: Part) -> Tensor:
        """A part [..., *shape] of x [..., *self.shape]."""
        return x[..., part.place].reshape(*x.shape[:-1], *part.view.space.shape) if self.is_flat else x

    def numbers(self, x: Tensor, parts: list[Part]) -> Tensor:
        """The numbers [..., n] of some parts of x [..., *self.shape], one part after the other."""
        if not self.is_flat:
            return x.flatten(x.dim() - len(self.shape))
        return torch.cat([x[..., part.place] for part in parts], -1)

    def floats(self, obs: Obs) -> Tensor:
        """x [N, ...] of observations [N, ...] as an environment gives them."""
        if not self.is_flat:
            assert isinstance(obs, Tensor)
            return obs.float()
        parts = []
        for part in self.parts:
            own: Any = obs
            for key in part.path:
                own = own[key]
            parts.append(Vector(part.space).to(own.device)(own) if part.choices else own.float().reshape(len(own), -1))
        return torch.cat(parts, 1)

    def obs(self, x: Tensor) -> Obs:
        """Observations of x [N, ...], float32: choices as numbers for their alternatives, [N, n]."""
        if not self.parts[0].path:
            return self.of(x, self.parts[0])
        made: dict[str, Any] = {}
        for part in self.parts:
            inner = made
            for key in part.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[part.path[-1]] = self.of(x, part)
        return made

    def bounds(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The lowest and the highest x, float32 [...]; infinite where there is no bound."""
        low, high = zip(*((part.view.space.low, part.view.space.high) for part in self.parts), strict=True)
        made = (np.concatenate([bound.flatten() for bound in side]).reshape(self.shape) for side in (low, high))
        lowest, highest = (torch.from_numpy(side.astype(np.float32)).to(device) for side in made)
        return lowest, highest

    def whole(self, device: torch.device) -> Tensor | bool:
        """Which numbers are whole, as of pixels: all or none, or bool [K] of a flat observation."""
        kinds = [part.view.space.dtype for part in self.parts]
        each = [not np.issubdtype(kind, np.floating) and kind != np.bool_ for kind in kinds]
        if not self.is_flat:
            return each[0]
        sizes = torch.tensor([part.place.stop - part.place.start for part in self.parts])
        return torch.tensor(each).repeat_interleave(sizes).to(device)

    @property
    def components(self) -> str:
        """Which part of an observation each number of `numbers` of all vectors is of, as the end of a caption."""
        if not self.is_flat:
            return ""
        found, end = [], 0
        for part in self.vectors:
            start, end = end, end + part.place.stop - part.place.start
            found.append(f"{part.name or 'the choice'} {start}" + (f" to {end - 1}" if end - start > 1 else ""))
        return f" Components: {', '.join(found)}."

    def files(self, kind: str) -> Iterator[tuple[Part, str]]:
        """The parts that are pictures, each with the name of a file of this kind."""
        clean = [re.sub(r"[^A-Za-z0-9_-]+", "-", part.name) for part in self.parts]
        times = Counter(clean)
        for place, (part, name) in enumerate(zip(self.parts, clean, strict=True)):
            if part.view.layout is not None:
                own = f"-of-{name}" + (f"-{place}" if times[name] > 1 else "")
                yield part, f"{kind}{own if part.path else ''}.png"


def _box(space: gym.Space[Any]) -> spaces.Box:
    """The space of a part as numbers; bits and choices are truth values."""
    if isinstance(space, spaces.Box):
        return space
    shape = space.shape if isinstance(space, spaces.MultiBinary) else (Vector(space).out_features,)
    return spaces.Box(0, 1, shape, np.bool_)  # type: ignore[arg-type]
