"""What every part of an explanation starts from, and what it gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import torch_seed
from gymnast.explain.form import Form
from gymnast.explain.played import Played, Range
from gymnast.explain.subject import Subject
from gymnast.settings.explain_options import PARTS, ExplainOptions


@dataclass(frozen=True)
class Shown:
    """A picture or video."""

    file: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of an explanation."""

    title: str
    text: str
    """What it shows, in a few sentences."""
    shown: tuple[Shown, ...]
    numbers: dict[str, Any]
    """For explain.json."""
    table: tuple[tuple[str, ...], ...] = ()
    """Rows for the page, the first one the heading."""


@dataclass(frozen=True)
class Context:
    """A network, the steps it is looked at in, and where the files go."""

    options: ExplainOptions
    subject: Subject
    action_space: gym.Space[Any]
    fps: float
    layer: str
    """The layer of features and weights."""
    played: Played
    out: Path
    told: Callable[[str], None] = field(default=lambda _: None)

    @property
    def form(self) -> Form:
        """Of the observations."""
        return self.subject.form

    @cached_property
    def range(self) -> Range:
        return Range.of(self.form, self.played.x)

    @cached_property
    def baseline(self) -> Tensor:
        """[...]"""
        middle = self.range.middle
        return middle if self.options.baseline == "median" else torch.zeros_like(middle)

    def generator(self, part: str) -> torch.Generator:
        """Random numbers of a part, the same whichever other parts are made."""
        seeds = np.random.SeedSequence(self.options.seed, spawn_key=(2 + PARTS.index(part),))
        return torch.Generator(self.subject.device).manual_seed(torch_seed(seeds))

    @cached_property
    def frames(self) -> list[int]:
        """The steps that are explained: the most decisive one of each of as many equal parts of those played.

        That is the one with the largest spread of preferences, if its observation is not chosen already. For an encoder
        it is the one in the middle.
        """
        count = min(self.options.frames, len(self.played.x))
        edges = np.linspace(0, len(self.played.x), count + 1).astype(int)
        parts = list(itertools.pairwise(edges.tolist()))
        preference = self.played.preference
        if preference is None:
            return [(low + high) // 2 for low, high in parts]
        spread = self.spread(preference)
        found: list[int] = []
        for low, high in parts:
            steps = [low + place for place in spread[low:high].argsort(descending=True, stable=True).tolist()]
            fresh = (step for step in steps if not any(self._same(step, other) for other in found))
            found.append(next(fresh, steps[0]))
        return found

    def spread(self, preference: Tensor) -> Tensor:
        """The largest less the smallest preference of an allowed choice, [N]: how much is at stake."""
        seen = self.allowed(preference)
        low, high = torch.where(seen, preference, torch.inf), torch.where(seen, preference, -torch.inf)
        return high.amax(1) - low.amin(1)

    def _same(self, step: int, other: int) -> bool:
        return torch.equal(self.played.x[step], self.played.x[other])

    @staticmethod
    def allowed(preference: Tensor) -> Tensor:
        """bool [N, P], the choices that are not forbidden."""
        return preference > -1e7

    def action_name(self, step: int) -> str:
        """The action taken, in words."""
        action = self.played.action[step].cpu()
        if isinstance(self.action_space, spaces.Box):
            return "action " + " ".join(f"{number:.2f}" for number in action.flatten().tolist())
        return f"action {' '.join(str(number) for number in action.flatten().tolist())}"

    def file(self, name: str) -> Path:
        return self.out / name

    def save(self, figure: Any, name: str, caption: str) -> Shown:
        """Write a figure."""
        path = self.file(name)
        figure.savefig(path)
        return Shown(path, caption)
