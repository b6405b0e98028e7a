"""A population in training: the loop and its periodic work: logs, evaluations, kept weights, checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.population.base import Population, Weights
from gymnast.envs.native.adapter import NativeEnv
from gymnast.errors import RunError
from gymnast.output.panel import Panel, PanelState
from gymnast.populations.environment import evaluation_env, play
from gymnast.populations.files import Members
from gymnast.populations.log import PopulationLog
from gymnast.reports import statistics
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage.last import LastCheckpoint, RunState, SessionState
from gymnast.training.events import Event, Events
from gymnast.training.loop import Loop
from gymnast.training.saves import Saves

Array = NDArray[np.float64]


class PopulationSession:
    """Trains all members at once, logs, evaluates and keeps them; every period counts the env steps of each member.

    The parameters of each member's best evaluation so far are kept, as a single run keeps its best checkpoint.
    """

    def __init__(
        self,
        members: Members,
        options: TrainOptions,
        loop: Loop,
        *,
        seeds: Sequence[Seeds],
        last: LastCheckpoint,
        records: PopulationLog,
        panel: Panel,
    ) -> None:
        self.members, self.options, self.loop, self.panel = members, options, loop, panel
        self.records = records
        self.population: Population = members.population
        self.seeds = seeds
        self.kept = self.population.weights()
        """All [M, ...]."""
        count = self.population.members
        self.scores: Array = np.full(count, -np.inf)
        """Mean returns of the evaluations that chose them, [M]; minus infinity if there was none."""
        self.returns: Array = np.full(count, np.nan)
        """Mean returns of the last logged training episodes, [M]; nan before a member's first one."""
        self.summary: dict[str, float] = {}
        """Summary of the last evaluation over the members."""
        self.saves = Saves(panel)
        self.trained = False
        """Whether `go` has ended and its result is saved."""
        self._last = last
        self._env: NativeEnv | None = None
        events = (
            Event("log", options.log_every, self.log),
            Event("eval", options.eval_every, self.evaluate, repeatable=True),
            Event("checkpoint", options.checkpoint_every, self.save_last),
        )
        self._events = Events(self, events, steps=options.steps, panel=panel)
        self.interrupts = self._events.interrupts

    def go(self) -> None:
        """Train until the steps are done, all members reached the stop return, or a signal arrives; then keep them.

        It leaves a checkpoint to resume. Raises RunError once no member is finite, KeyboardInterrupt for a second
        SIGINT; the last checkpoint then stays unchanged.
        """
        self._events.go()
        self.save()
        self.save_last()
        self.trained = True

    @property
    def env_step(self) -> int:
        """The env step of each member."""
        return self.population.member_step

    @property
    def solved(self) -> bool:
        """Whether every member has had an evaluation that reached the stop return."""
        goal = self.options.stop_return
        return goal is not None and bool((self.scores >= goal).all())

    def advance(self, until: int) -> None:
        self.loop.advance(until * self.population.members, self._events.pulse)

    def log(self) -> None:
        """One record of the training so far: statistics over the members, means of their losses."""
        population = self.population
        count, total = population.ended.cpu().clone().numpy()
        population.ended.zero_()
        self.returns = np.where(count > 0, total / np.maximum(count, 1), self.returns)
        record = {"updates": population.updates, **self._losses(), **population.scheduled()}
        record |= {f"return_{name}": value for name, value in summary(self.returns).items()}
        self.records.train(population.member_step, record)

    def _losses(self) -> dict[str, float]:
        """Means over the members whose loss is finite, and how many are not."""
        metrics = self.loop.metrics
        if not metrics:
            return {}
        finite = torch.isfinite(metrics["loss"])
        lost = int((~finite).sum())
        if lost == len(finite):
            left = f"; the last good checkpoint is {self._last.path}" if self._last.path.is_file() else ""
            step = self.population.member_step
            raise RunError(f"no member has a finite loss at env step {step:,}: training stopped{left}")
        means = {name: float(value[finite].mean()) for name, value in metrics.items()}
        return {**means, "diverged": lost} if lost else means

    def evaluate(self) -> None:
        """Evaluate all members on their evaluation seeds, keep each that is better than before, and log it."""
        now = self.population.weights()
        returns, _ = self.played(now, [seed.eval for seed in self.seeds])
        means: Array = returns.mean(1).numpy()
        scores: Array = np.where(np.isfinite(means), means, -np.inf)
        better = (scores > self.scores) | np.isneginf(self.scores)
        if better.any():
            rows = torch.from_numpy(better).to(self.population.device)
            for name, kept in self.kept.items():
                kept[rows] = now[name][rows]
            self.scores = np.where(better, scores, self.scores)
        self.summary = {f"{name}_return": value for name, value in summary(scores).items()}
        record = {"episodes": returns.shape[1], **self.summary}
        self.records.evaluation(self.population.member_step, record, means.tolist())
        self.save()
        self.panel.message(f"evaluation at {self.population.member_step:,}: {shown(summary(scores))}")

    def played(self, weights: Weights, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns and lengths [M, E] of the members' greedy policies with these weights."""
        if self._env is None:
            self._env = evaluation_env(self.options, self.population.members, device=str(self.population.device))
        sequences = [np.random.SeedSequence(seed) for seed in seeds]
        actor = self.population.actor(self._env.num_envs, explore=False, seed=sequences, weights=weights)
        return play(actor, self._env, seeds, interrupted=self._events.pulse)

    @property
    def evaluated(self) -> bool:
        return bool(np.isfinite(self.scores).any())

    def save(self, **columns: Sequence[float | None]) -> None:
        """Write members.csv with further columns, all weights, and the best member's checkpoint if there is one."""
        if not self.evaluated:
            self.kept = self.population.weights()
        known: dict[str, Sequence[float | None]] = {"train_return": plain(self.returns)}
        known["eval_return"] = plain(self.scores)
        self.saves.attempt("table", lambda: self.members.write_table({**known, **columns}), what="members.csv")
        self.saves.attempt("all", lambda: self.members.write_all(self.kept), what="checkpoint members")
        if self.evaluated:
            best = int(self.scores.argmax())
            score = float(self.scores[best])
            self.saves.attempt("best", lambda: self.members.write_best(best, self.kept, score), what="checkpoint best")

    def save_last(self) -> None:
        """Write the checkpoint for resuming; RunError if no member is finite any more."""
        self._losses()
        self.saves.attempt("last", lambda: self._last.save(self.members.about(), self._state()), what="checkpoint last")

    def _state(self) -> RunState:
        loop, records = self.loop, self.records
        return RunState.taken(
            agent=self.population.state_dict(),
            actor=loop.actor.state_dict(),
            env=loop.env.snapshot(),
            loop=loop.state_dict(),
            session=SessionState(
                next=self._events.state(),
                best=None,
                metrics=records.metrics.position(),
                timing=0,
                seconds=0.0,
                writers=records.writers.state(),
            ),
            population={
                **self.members.described(self.kept),
                "scores": torch.from_numpy(self.scores),
                "returns": torch.from_numpy(self.returns),
                "summary": self.summary,
                "evaluations": records.evaluations.position(),
            },
        )

    def restore(self, state: RunState) -> None:
        """Continue from a `last` checkpoint, from which population, actor, environment and loop are restored."""
        own = state.population
        state.restore_generators()
        self._events.restore(state.session.next)
        self.kept = {name: part.to(self.population.device) for name, part in own["weights"].items()}
        self.scores, self.returns = own["scores"].numpy(), own["returns"].numpy()
        self.summary = own["summary"]
        self.records.restore(metrics=state.session.metrics, evaluations=own["evaluations"])

    def panel_state(self) -> PanelState:
        loop, population = self.loop, self.population
        return PanelState(
            env_step=population.env_step,
            total_steps=self.options.steps * population.members,
            seconds=dataclasses.asdict(loop.seconds),
            episodes=loop.episodes.count,
            returns=tuple(loop.episodes.returns),
            lengths=tuple(loop.episodes.lengths),
            losses={name: float(value.nanmean()) for name, value in loop.metrics.items()},
            scheduled=population.scheduled(),
            evaluation=self.summary.get("median_return"),
            best=self.summary.get("best_return"),
        )

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self.records.close()


def summary(scores: Array) -> dict[str, float]:
    """Best, interquartile mean, median, mean and worst of the members' scores that are finite; empty without one."""
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return {}
    middle = float(statistics.iqm(scores, statistics.Pooled.of([scores])))
    numbers = {"best": scores.max(), "iqm": middle, "median": np.median(scores), "mean": scores.mean()}
    return {name: float(value) for name, value in {**numbers, "worst": scores.min()}.items()}


def shown(numbers: dict[str, float]) -> str:
    """A summary in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in numbers.items())


def plain(values: Array) -> list[float | None]:
    """Numbers of a table; None, an empty cell, for unknown ones."""
    return [float(value) if np.isfinite(value) else None for value in values]
