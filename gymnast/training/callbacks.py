"""Callbacks with which a script can watch and stop a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gymnast.agents.base import Agent
from gymnast.evaluation.result import Evaluation

OnEvaluation = Callable[[Evaluation], object]
"""Called with each evaluation during training."""
OnStep = Callable[[Agent], object]
"""Called with the agent whenever the loop pauses for a log, an evaluation or a checkpoint, and at the end."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that are called while a run trains; one that returns True stops it as if its steps were done."""

    on_evaluation: OnEvaluation | None = None
    on_step: OnStep | None = None

    def evaluation(self, result: Evaluation) -> bool:
        """Report an evaluation; returns whether to stop."""
        return self.on_evaluation is not None and _is_true(self.on_evaluation(result))

    def step(self, agent: Agent) -> bool:
        """Report a pause of the loop; returns whether to stop."""
        return self.on_step is not None and _is_true(self.on_step(agent))


def _is_true(answer: object) -> bool:
    """Whether a function returned True; other results do not stop the run."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)
