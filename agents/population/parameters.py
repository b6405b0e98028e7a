"""Parameters of many agents beside those of their main networks, with an optimizer and a learning rate of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.agents.optim import optimizers
from gymnast.agents.population import optimizers as stacked_optimizers
from gymnast.agents.population.settings import MemberSettings
from gymnast.agents.schedules import ScheduleLike


class MemberParameters:
    """Rows [M, P] that learn; `rates` are the members' learning rates if they differ, else `rate` is that of all."""

    def __init__(
        self, rows: Tensor, optimizer: str, *, rate: ScheduleLike, rates: Sequence[float] | None, eps: float | None
    ) -> None:
        self.rows = nn.Parameter(rows)
        vary = {} if rates is None else {"learning_rate": rates}
        self._rate = MemberSettings({"learning_rate": rate}, vary, members=len(rows), device=rows.device)
        first = self._rate.rate(0)
        self.optimizer = stacked_optimizers.build(optimizer, self.rows, rate=first, eps=eps, captured=False)
        self._step = optimizers.stepper(self.optimizer)

    def rate(self, step: int) -> float | Tensor:
        """The learning rate of all members at an env step, or one for each, [M, 1]."""
        return self._rate.rate(step)

    def set_rate(self, step: int) -> None:
        """Set a scheduled learning rate to its value at an env step of each member."""
        rate = self._rate.rate(step)
        if not isinstance(rate, Tensor):
            optimizers.set_learning_rate(self.optimizer, rate)

    def step(self, grad: Tensor, *, max_grad_norm: float | None = None) -> None:
        """Clip the gradients [M, P], each by its own norm, and take a step of the optimizer."""
        if max_grad_norm is not None:
            grad.renorm_(2.0, 0, max_grad_norm)
        self.rows.grad = grad
        self._step()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows.detach().clone(), "optimizer": copy.deepcopy(self.optimizer.state_dict()["state"])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.rows.copy_(state["rows"])
        optimizers.load_state(self.optimizer, {"state": state["optimizer"]})
