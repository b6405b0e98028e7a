"""Every stream of a run, from its one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seeds:
    """Every stream of a run, spawned from its one seed."""

    env: np.random.SeedSequence
    agent: np.random.SeedSequence
    actor: np.random.SeedSequence
    torch: int
    eval: int
    """Of the evaluations during training, the same each time so that they compare."""
    test: int
    """Of the final evaluation: not the seeds for which the best checkpoint was chosen."""

    @staticmethod
    def of(seed: int) -> Seeds:
        env, agent, actor, *rest = np.random.SeedSequence(seed).spawn(6)
        return Seeds(env, agent, actor, *(int(sequence.generate_state(1)[0]) for sequence in rest))
