"""One of the networks of a run as it learns: its updates, schedule and average."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.regularise import regulariser
from gymnast.agents.optim.update import Update
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.task import Player
from gymnast.errors import first_line
from gymnast.fitting.average import Average
from gymnast.fitting.optimisation import Optimisation


class Learner:
    """Fits a player's network by its loss.

    `prefix` stands before the names of its numbers in the log, for the players of a task that has several.
    """

    def __init__(
        self, player: Player, made: Optimisation, config: FitConfig, *, generator: torch.Generator, prefix: str
    ) -> None:
        self.every, self.prefix, self._generator, self._player = player.every, prefix, generator, player
        self.weights, self.optimizer, self.schedule = made.weights, made.optimizer, made.schedule
        self.update = Update(
            self._loss,
            self.weights,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=None,
            regulariser=regulariser(config, self.weights),
        )
        self.average = Average(self.weights, config.average) if config.average else None

    def _loss(self, batch: object, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        loss, metrics = self._player.loss(batch, self._generator)
        return loss, loss, {f"{self.prefix}loss": loss, **metrics}

    def learn(self, batch: object, updates: int) -> Metrics:
        """The run's update number `updates`, if it is one of the player's."""
        if updates % self.every:
            return {}
        _, metrics = self.update(batch, None)
        if self._player.constrain is not None:
            self._player.constrain()
        self.schedule.update(updates // self.every)
        if self.average is not None:
            self.average.follow()
        return metrics

    @property
    def learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def kept_weights(self) -> AbstractContextManager[None]:
        """The averaged weights in place of the current ones, if the config asks for them."""
        return nullcontext() if self.average is None else self.average.in_place()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights."""
        return {
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`; the average is that of a network which has its weights already."""
        if self.average is not None and state["average"] is not None:
            self.average.restore(state["average"])


def restore(made: Optimisation, state: dict[str, Any]) -> None:
    """Restore an optimizer and a schedule; ValueError if the state is of another network."""
    try:
        optimizers.load_state(made.optimizer, state["optimizer"], made.weights)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"the checkpoint's optimizer does not fit the network: {first_line(error)}") from error
    if state["schedule"]:
        made.schedule.load_state_dict(state["schedule"])
