"""All random streams of a run, from one seed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seeds:
    """All random streams of a run, spawned from one seed."""

    env: np.random.SeedSequence
    agent: np.random.SeedSequence
    actor: np.random.SeedSequence
    torch: int
    eval: int
    """Seed of the evaluations during training; the same each time, so that they are comparable."""
    test: int
    """Seed of the final evaluation; differs from the seeds that chose the best checkpoint."""

    @staticmethod
    def of(seed: int) -> Seeds:
        env, agent, actor, *rest = np.random.SeedSequence(seed).spawn(6)
        return Seeds(env, agent, actor, *(int(sequence.generate_state(1)[0]) for sequence in rest))


def seed_range(text: str) -> range:
    """Seeds A:B, from A to B - 1; ValueError in one line."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise ValueError(f"seeds must be A:B, the seeds from A to B - 1, got {text!r}")
    first, end = int(found[1]), int(found[2])
    if end <= first:
        raise ValueError(f"seeds A:B needs A < B, got {text}")
    return range(first, end)
