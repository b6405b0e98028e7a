"""Lost lives, which an agent with `life_loss` treats as ends in learning, while the episode continues."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.base import LearningError
from gymnast.envs.step import Step


class Lives:
    """Remembers the lives of N rows from one step to the next."""

    def __init__(self) -> None:
        self.left: Tensor | None = None
        """Lives after the last step, int64 [N], 0 if the episode ended; None before the first one."""

    def lost(self, step: Step) -> Tensor:
        """Rows that have fewer lives than before, bool [N]; none in the first step.

        Raises:
            LearningError: the environment does not report lives.
        """
        if step.lives is None:
            raise LearningError(
                "life_loss needs an environment that reports lives, as Atari's do; set life_loss to False"
            )
        before, self.left = self.left, torch.where(step.ended, 0, step.lives)
        return torch.zeros_like(step.terminated) if before is None else step.lives < before
