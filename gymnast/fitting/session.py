"""A fitting run in progress: epochs of updates, and between them evaluations, logs and checkpoints."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Metrics, torch_seed
from gymnast.errors import RunError
from gymnast.fitting import state as last_state
from gymnast.fitting.learner import Learner
from gymnast.fitting.measured import measured
from gymnast.fitting.optimisation import batches
from gymnast.fitting.parts import Parts
from gymnast.fitting.state import FitState
from gymnast.output.fit_panel import FitProgress
from gymnast.output.panel import Panel
from gymnast.output.trackers import Writers
from gymnast.storage import checkpoint
from gymnast.storage.metrics_log import MetricsLog
from gymnast.storage.network import network_state
from gymnast.training.interrupts import Interrupts
from gymnast.training.saves import Saves

SAVE_PERIOD = 30.0
"""Seconds between two checkpoints to resume from; they never change a run."""


class FitSession:
    """Fits the network of a task, and logs, evaluates and saves it according to the options."""

    def __init__(self, parts: Parts, path: Path, *, panel: Panel, writers: Writers) -> None:
        self.parts, self.task, self.path, self.panel, self.writers = parts, parts.task, path, panel, writers
        self.interrupts = Interrupts()
        self.saves = Saves(panel)
        self.metrics = MetricsLog(path / "metrics.jsonl")
        self.timing = MetricsLog(path / "timing.jsonl")
        self.total = parts.total
        self.generator = torch.Generator(parts.device).manual_seed(torch_seed(parts.noise))
        players = self.task.players()
        self.learners = [
            Learner(
                player,
                made,
                parts.config,
                generator=self.generator,
                prefix="" if len(players) == 1 else f"{player.name}_",
            )
            for player, made in zip(players, parts.optimisations, strict=True)
        ]
        self.epoch = self.position = self.updates = self.since_best = 0
        self.best: float | None = None
        self.tie = math.inf
        """Loss of the best evaluation."""
        self.evaluation: dict[str, float] = {}
        self.shown: dict[str, float] = {}
        self.seconds = {"data": 0.0, "learn": 0.0, "evaluate": 0.0}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._before = 0.0
        self._saved_at = -math.inf

    @property
    def finished(self) -> bool:
        """Whether all updates are done, or no evaluation has been better for `patience` of them."""
        patience = self.parts.options.patience
        return self.updates >= self.total or (patience > 0 and self.since_best >= patience)

    def go(self) -> None:
        """Fit until the run is finished or interrupted; a last checkpoint is then written."""
        if self.updates == 0:
            self.save_last()
        while not self.finished and self.interrupts.received is None:
            self._run_epoch()
        self._check_finite()
        self.save_last()
        self.panel.update(self.progress())

    def _run_epoch(self) -> None:
        """The rest of an epoch, and the evaluation after it if one is due."""
        every = self._order()
        for index in every[self.position :]:
            began = perf_counter()
            batch = self.task.batch(index)
            got = perf_counter()
            metrics: Metrics = {}
            for learner in self.learners:
                metrics |= learner.learn(batch, self.updates + 1)
            self._after_update(metrics)
            ended = perf_counter()
            self.seconds["data"] += got - began
            self.seconds["learn"] += ended - got
            if self.panel.due(ended):
                self.panel.update(self.progress())
            if self.interrupts.received is not None or self.updates >= self.total:
                break
        if self.position == len(every):
            self.epoch, self.position = self.epoch + 1, 0
        last = self.updates >= self.total
        if last or (self.position == 0 and self.epoch % self.parts.options.eval_every == 0):
            self.evaluate()

    def _after_update(self, metrics: Metrics) -> None:
        self.updates += 1
        self.position += 1
        for name, value in metrics.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        if self.updates % self.parts.options.log_every == 0:
            self.log()

    def _order(self) -> list[Tensor]:
        """The batches of the current epoch: an order of its own, the same in a resumed run."""
        train = self.task.train
        seed = np.random.SeedSequence(
            entropy=self.parts.order.entropy, spawn_key=(*self.parts.order.spawn_key, self.epoch)
        )
        generator = torch.Generator().manual_seed(torch_seed(seed))
        return batches(train[torch.randperm(len(train), generator=generator)], self.parts.config.batch_size)

    def log(self) -> None:
        """One record of the losses since the last one, if there were updates."""
        self._check_finite()
        if not self._sums:
            return
        self.shown = {name: value.item() / self._counts[name] for name, value in self._sums.items()}
        values = {**self.shown, **{f"{one.prefix}learning_rate": one.learning_rate for one in self.learners}}
        self.metrics.write({"kind": "fit", "update": self.updates, "epoch": self.epoch, **values})
        self.writers.scalars(self.updates, {f"fit/{name}": value for name, value in values.items()})
        self._sums, self._counts = {}, {}

    def _check_finite(self) -> None:
        """RunError if a loss or a weight is infinite or not a number; the last checkpoint is an earlier one."""
        for name, value in self._sums.items():
            if not bool(torch.isfinite(value).all()):
                raise RunError(f"{name} is not finite by update {self.updates:,}; the last checkpoint is kept")
        if not all(bool(torch.isfinite(one.weights.data).all()) for one in self.learners):
            raise RunError(f"weights are not finite by update {self.updates:,}; the last checkpoint is kept")

    def evaluate(self) -> None:
        """Measure the network on the validation examples, keep it if it is the best one, and save the run."""
        began = perf_counter()
        self.log()
        with ExitStack() as stack:
            for learner in self.learners:
                stack.enter_context(learner.kept_weights())
            values, _ = measured(self.task, self.task.validation, self.parts.config.batch_size)
            score = values[self.task.metric]
            if self._is_better(score, values.get("loss", 0.0)):
                self.best, self.tie, self.since_best = score, values.get("loss", 0.0), 0
                self.save_best()
            else:
                self.since_best += 1
        self.evaluation = values
        for learner in self.learners:
            learner.schedule.evaluation(score)
        self.metrics.write({"kind": "eval", "update": self.updates, "epoch": self.epoch, **values})
        self.writers.scalars(self.updates, {f"eval/{name}": value for name, value in values.items()})
        self.seconds["evaluate"] += perf_counter() - began
        self._write_timing()
        if perf_counter() - self._saved_at >= SAVE_PERIOD:
            self.save_last()

    def _is_better(self, score: float, loss: float) -> bool:
        """Whether an evaluation beats the best one; of equal scores the lower loss does, and NaN never."""
        if self.best is None:
            return not math.isnan(score)
        if score == self.best:
            return loss < self.tie
        return score > self.best if self.task.largest else score < self.best

    def save_best(self) -> None:
        """Write best.pt."""
        about, content = self.parts.describe_kept(self.updates)
        path = self.path / "checkpoints" / "best.pt"
        self.saves.attempt("best", lambda: checkpoint.save(path, about, content), what="the best checkpoint")

    def save_last(self) -> None:
        """Write last.pt."""
        about, state = self.parts.describe(self.updates), self.state()
        path = self.path / "checkpoints" / "last.pt"
        self.saves.attempt("last", lambda: last_state.save(path, about, state), what="the last checkpoint")
        self._saved_at = perf_counter()

    def state(self) -> FitState:
        """Everything that a resumed run needs."""
        return FitState(
            network=network_state(self.task),
            learners=[learner.state() for learner in self.learners],
            generator=self.generator.get_state(),
            epoch=self.epoch,
            position=self.position,
            updates=self.updates,
            best=self.best,
            tie=self.tie,
            since_best=self.since_best,
            sums={name: value.clone() for name, value in self._sums.items()},
            counts=dict(self._counts),
            metrics=self.metrics.position(),
            timing=self.timing.position(),
            seconds=self._before + sum(self.seconds.values()),
            writers=self.writers.state(),
            torch_rng=torch.get_rng_state(),
            cuda_rng=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        )

    def restore(self, state: FitState) -> None:
        """Continue from a checkpoint whose network, optimizers and schedules the parts have already."""
        for learner, kept in zip(self.learners, state.learners, strict=True):
            learner.restore(kept)
        self.generator.set_state(state.generator)
        self.epoch, self.position, self.updates = state.epoch, state.position, state.updates
        self.best, self.tie, self.since_best = state.best, state.tie, state.since_best
        self._sums = {name: value.to(self.parts.device) for name, value in state.sums.items()}
        self._counts, self._before = dict(state.counts), state.seconds
        self.metrics.truncate(state.metrics)
        self.timing.truncate(state.timing)
        self._saved_at = perf_counter()
        state.restore_generators()

    def progress(self) -> FitProgress:
        """The run at this moment, for the panel."""
        return FitProgress(
            updates=self.updates,
            total_updates=self.total,
            epoch=self.epoch,
            epochs=self.parts.epochs,
            batch_size=self.parts.config.batch_size,
            seconds=dict(self.seconds),
            losses=self.shown,
            evaluation=self.evaluation,
            metric=self.task.metric,
            best=self.best,
        )

    def final(self, values: dict[str, float]) -> None:
        """The last record: the kept network on the test examples."""
        self.metrics.write({"kind": "final", "update": self.updates, **values})
        self.writers.summary({f"final/{name}": value for name, value in values.items()})

    def _write_timing(self) -> None:
        seconds = self._before + sum(self.seconds.values())
        self.timing.write({"update": self.updates, "seconds": round(seconds, 3), **self.seconds})

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()
