"""How a network of a task learns: its weights, optimizer and schedule, and the number of updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.optim import optimizers
from gymnast.agents.supervised.config import FitConfig, as_object
from gymnast.agents.supervised.schedules import Schedule
from gymnast.agents.supervised.task import Player, Task
from gymnast.networks.fast.flat import FlatParameters


@dataclass(frozen=True)
class Optimisation:
    """Built before a run starts, so that a value that torch refuses leaves nothing behind."""

    weights: FlatParameters
    optimizer: torch.optim.Optimizer
    schedule: Schedule

    @staticmethod
    def of(player: Player, config: FitConfig, *, updates: int, largest: bool) -> Optimisation:
        """For a run of so many updates; ValueError in one line.

        `largest` is whether a larger measure of the task is better.
        """
        weights = FlatParameters(player.network)
        more = config.optimizer_arguments
        if config.weight_decay:
            more = {"weight_decay": config.weight_decay, **more}
        try:
            optimizer = optimizers.build(config.optimizer, weights.parameter, lr=player.learning_rate, more=more)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer {config.optimizer}: {error}") from error
        schedule = Schedule(
            config.schedule,
            optimizer,
            options=as_object("schedule_options", config.schedule_options),
            updates=updates // player.every,
            largest=largest,
        )
        return Optimisation(weights, optimizer, schedule)


def total_updates(task: Task, config: FitConfig, *, epochs: int, updates: int | None) -> int:
    """Updates of passes over the training data, or at most that number."""
    total = epochs * len(batches(torch.arange(len(task.train)), config.batch_size))
    return total if updates is None else min(total, updates)


def batches(index: Tensor, size: int) -> list[Tensor]:
    """Examples int64 [N] in batches of `size`; a last one of a single row joins the batch before it."""
    parts = list(torch.split(index, size))
    if len(parts) > 1 and len(parts[-1]) == 1 and size > 1:  # batch normalisation cannot learn from one row
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
