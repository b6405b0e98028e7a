"""A run in progress: the loop, and its events: logs, evaluations, checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.errors import RunError, first_line
from gymnast.evaluation.play import evaluate
from gymnast.evaluation.result import Evaluation
from gymnast.output.panel import Panel, PanelState
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About
from gymnast.storage.last import LastCheckpoint, RunState, SessionState
from gymnast.training.callbacks import Callbacks
from gymnast.training.events import Event, Events
from gymnast.training.loop import Loop
from gymnast.training.parts import Parts
from gymnast.training.run_log import RunLog
from gymnast.training.saves import Saves


class Session:
    """Trains one agent, and logs, evaluates and saves it according to the options."""

    def __init__(
        self,
        parts: Parts,
        loop: Loop,
        *,
        last: LastCheckpoint,
        records: RunLog,
        panel: Panel,
        callbacks: Callbacks,
    ) -> None:
        self.options = parts.options
        self.loop = loop
        self.records = records
        self.panel = panel
        self.best: float | None = None
        self.last_evaluation: Evaluation | None = None
        self.trained = False
        """Whether `go` has ended and its result is saved."""
        self.saves = Saves(panel)
        self._parts = parts
        self._last = last
        self._callbacks = callbacks
        self._stopped = False
        self._checkpoints = last.path.parent
        self._eval_env: Env | None = None
        self._odd_said = self._state_said = False
        self._env_failed = False
        """Whether the environment raised in training: its state is then unusable."""
        events = (
            Event("log", self.options.log_every, self.log),
            Event("eval", self.options.eval_every, self.evaluate, repeatable=True),
            Event("checkpoint", self.options.checkpoint_every, self._save_periodic),
        )
        self._events = Events(self, events, steps=self.options.steps, panel=panel)
        self.interrupts = self._events.interrupts

    # The run.

    def go(self) -> None:
        """Train until steps are done, the stop return is reached or a signal arrives; leaves a checkpoint to resume.

        Raises RunError if a loss is not finite, and KeyboardInterrupt for a second SIGINT, which may come in the middle
        of a step; the last good checkpoint then stays unchanged.
        """
        self._events.go()
        self._say_not_finite()
        self.save_last()
        self.trained = True

    @property
    def env_step(self) -> int:
        return self.loop.env_step

    @property
    def solved(self) -> bool:
        """Whether the last evaluation reached the return at which the run stops, or a callback stopped it."""
        goal, last = self.options.stop_return, self.last_evaluation
        return self._stopped or (goal is not None and last is not None and _rank(last.mean_return) >= goal)

    def advance(self, until: int) -> None:
        try:
            self.loop.advance(until, self._pulse)
        except EnvError:
            self._env_failed = True
            raise
        if self._callbacks.step(self.loop.agent):
            self._stop("on_step")

    def _stop(self, callback: str) -> None:
        self._stopped = True
        self.panel.message(f"stopped by {callback} at env step {self.loop.env_step:,}")

    def begin(self) -> None:
        """Begin the first episodes; EnvError if the environment fails."""
        try:
            self.loop.env.reset()
        except EnvError:
            self._env_failed = True
            raise

    def save_after_failure(self) -> bool:
        """Write a checkpoint after an EnvError in training; keeps the agent if it is finite.

        Returns whether there is a checkpoint, this or an earlier one.
        """
        if not self.trained:  # or it failed in the final evaluation, before which everything was saved
            if self._env_failed:
                self.loop.close()
            try:
                self._save_whole()
            except (RunError, EnvError) as error:
                self.panel.message(str(error))
        return self._last.path.is_file()

    def _save_whole(self) -> None:
        """Write a checkpoint, unless a part of the run is lost: then the previous one is kept."""
        if self.loop.whole:
            self.save_last()

    def _pulse(self) -> bool:
        """Show and record time-based output; returns whether a signal arrived."""
        self.records.pulse()
        return self._events.pulse()

    # Logs.

    def log(self) -> None:
        """One record of the training so far, to metrics.jsonl and the writers."""
        self._say_not_finite()
        self._check_finite()
        loop = self.loop
        values = {**loop.episodes.means(), **self._losses(), **loop.agent.scheduled()}
        counts: dict[str, float] = {"updates": loop.agent.updates, "episodes": loop.episodes.count}
        counts |= self._parts.measured() | loop.counts()
        self.records.train(counts | values)

    def _losses(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.loop.metrics.items()}

    def _check_finite(self) -> None:
        for name, value in self._losses().items():
            if not math.isfinite(value):
                kept = self._last.path
                left = f"; the last good checkpoint is {kept}" if kept.is_file() else ""
                raise RunError(f"{name} is {value} at env step {self.loop.env_step:,}: training stopped{left}")

    def panel_state(self) -> PanelState:
        loop, last = self.loop, self.last_evaluation
        return PanelState(
            env_step=loop.env_step,
            total_steps=self.options.steps,
            seconds=dataclasses.asdict(loop.seconds),
            episodes=loop.episodes.count,
            returns=tuple(loop.episodes.returns),
            lengths=tuple(loop.episodes.lengths),
            losses=self._losses(),
            scheduled=loop.agent.scheduled(),
            evaluation=None if last is None else last.mean_return,
            best=self.best,
        )

    # Evaluations.

    def evaluate(self) -> Evaluation:
        """Evaluate on the run's evaluation seeds, log it, and keep the best agent so far as `best.pt`."""
        if self._eval_env is None:
            self._eval_env = self._parts.eval_env()
        result = evaluate(
            self.loop.agent,
            self._eval_env,
            episodes=self.options.eval_episodes,
            seed=self._parts.seeds.eval,
            name=self._parts.name,
            interrupted=self._pulse,
        )
        self.last_evaluation = result
        self.records.evaluation(result)
        better = self.best is None or _rank(result.mean_return) > _rank(self.best)
        if better:
            self.best = result.mean_return
            score = self.best if math.isfinite(self.best) else None
            about = dataclasses.replace(self._parts.describe(), score=score, score_seed=self._parts.seeds.eval)
            self._save_agent("best", about)
        if not result.finite:
            odd = sum(not math.isfinite(value) for value in result.returns)
            self.panel.message(f"{odd} of {len(result.returns)} evaluation episodes have a return that is not finite")
        self.panel.message(
            f"evaluation at {self.loop.env_step:,}: {result.mean_return:.2f}{' (best)' if better else ''}"
        )
        if self._callbacks.evaluation(result):
            self._stop("on_evaluation")
        return result

    # Checkpoints.

    def save_last(self) -> None:
        """Write the checkpoint for resuming; RunError if the agent is no longer finite."""
        self._check_finite()
        self.saves.attempt(
            "last", lambda: self._last.save(self._parts.describe(), self._state()), what="checkpoint last"
        )

    def _save_periodic(self) -> None:
        self.save_last()
        self._save_agent(f"step-{self.loop.env_step:010d}", self._parts.describe())
        kept = sorted(self._checkpoints.glob("step-*.pt"))
        for old in kept[: -self.options.keep_checkpoints or None]:
            old.unlink()

    def _save_agent(self, name: str, about: About) -> None:
        path = self._checkpoints / f"{name}.pt"
        self.saves.attempt(
            name.split("-")[0],
            lambda: checkpoint.save_agent(path, about, self.loop.agent.state_dict()),
            what=f"checkpoint {name}",
        )

    def _state(self) -> RunState:
        loop, records = self.loop, self.records
        records.episodes()  # a resumed run starts after them
        return RunState.taken(
            agent=loop.agent.state_dict(),
            actor=loop.actor.state_dict(),
            env=self._env_state(loop.env.snapshot) if loop.exact_resume and not self._env_failed else None,
            lasting=self._env_state(loop.env.lasting),
            learners=loop.others(),
            loop=loop.state_dict(),
            session=SessionState(
                next=self._events.state(),
                best=self.best,
                metrics=records.metrics.position(),
                timing=records.timing.position(),
                seconds=records.watch.total,
                writers=records.writers.state(),
            ),
        )

    def _env_state(self, take: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The environment's state; None, reported once, if it is not available."""
        try:
            return take()
        except (EnvError, ValueError, AttributeError, TypeError) as error:
            if not self._env_failed and not self._state_said:
                self._state_said = True
                self.panel.message(f"checkpoints hold no state of the environment: {first_line(error)}")
            return None

    def restore(self, state: RunState) -> None:
        """Continue from a `last` checkpoint, from which agent, actor, environment and loop are already restored."""
        state.restore_generators()
        self._events.restore(state.session.next)
        self.best = state.session.best
        self.records.restore(state.session)

    def _say_not_finite(self) -> None:
        """Report once that returns of training episodes are infinite or not a number."""
        if not self._odd_said and not all(map(math.isfinite, self.loop.episodes.returns)):
            self._odd_said = True
            self.panel.message(
                f"returns of training episodes are infinite or not a number by env step {self.loop.env_step:,}"
            )

    def close(self) -> None:
        if self._eval_env is not None:
            self._eval_env.close()
        self.records.close()


def _rank(mean_return: float) -> float:
    """The key by which evaluations are compared: a return that is not finite is worse than any other."""
    return mean_return if math.isfinite(mean_return) else -math.inf
