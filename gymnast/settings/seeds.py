"""All random streams of a run, from one seed."""

from __future__ import annotations

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
