"""Lives that are lost: what an agent with `life_loss` learns from as from an end, while the episode goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.base import LearningError
from gymnast.envs.step import Step


class Lives:
    """Remembers the lives of N rows from one step to the next."""

    def __init__(self) -> None:
        self.left: Tensor | None = None
        """After the last step, int64 [N], 0 where an episode ended; None before the first one."""

    def lost(self, step: Step) -> Tensor:
        """Rows that have fewer lives than before, bool [N]; none in the first step.

        Raises:
            LearningError: the environment does not tell lives.
        """
        if step.lives is None:
            raise LearningError(
                "life_loss needs an environment that reports lives, as Atari's do; set life_loss to False"
            )
        before, self.left = self.left, torch.where(step.ended, 0, step.lives)
        return torch.zeros_like(step.terminated) if before is None else step.lives < before
