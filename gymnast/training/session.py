"""A run in progress: the loop, and what happens now and then around it: logs, evaluations, checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from gymnast.envs.env import Env
from gymnast.errors import RunError
from gymnast.evaluation.play import evaluate
from gymnast.evaluation.result import Evaluation
from gymnast.output.panel import Panel, PanelState
from gymnast.output.trackers import Writers
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About
from gymnast.storage.metrics_log import MetricsLog
from gymnast.storage.replay_blocks import ReplayFiles
from gymnast.tabular.optimal import bandit_regret
from gymnast.training.interrupts import Interrupts
from gymnast.training.loop import Loop
from gymnast.training.timing import Watch

TIMING_PERIOD = 10.0
"""Seconds between two records of timing.jsonl."""


class Session:
    """Advances the loop from one event to the next; every period counts env steps, so that no clock changes a run."""

    def __init__(
        self,
        path: Path,
        options: TrainOptions,
        loop: Loop,
        *,
        describe: Callable[[], About],
        eval_env: Callable[[], Env],
        eval_seed: int,
        panel: Panel,
    ) -> None:
        self.path = path
        self.options = options
        self.loop = loop
        self.panel = panel
        self.interrupts = Interrupts()
        self.best: float | None = None
        self.last_evaluation: Evaluation | None = None
        self.writers: Writers | None = None
        self.trained = False
        """Whether `go` has ended, and what it learned is kept."""
        self.failed_saves: dict[str, str] = {}
        """Why the newest checkpoint of a kind is missing, where it is."""
        self._describe = describe
        self._make_eval_env = eval_env
        self._eval_env: Env | None = None
        self._eval_seed = eval_seed
        self._replay_files = ReplayFiles(path / "checkpoints")
        self._metrics = MetricsLog(path / "metrics.jsonl")
        self._timing = MetricsLog(path / "timing.jsonl")
        periods = {"log": options.log_every, "eval": options.eval_every, "checkpoint": options.checkpoint_every}
        self._periods = {name: period for name, period in periods.items() if period}
        self._next = dict(self._periods)
        self._watch = Watch(loop)

    # The run.

    def go(self) -> None:
        """Train until the steps are done, the stop return is reached or a signal came; leaves a checkpoint to resume.

        Raises RunError where a loss is not finite, and KeyboardInterrupt for a second SIGINT, which may come in the
        middle of a step; the last good checkpoint is then left as it was.
        """
        self.panel.update(self._panel_state())
        self._go()
        self.panel.update(self._panel_state())
        self.save_last()
        self.trained = True

    def _go(self) -> None:
        while True:
            self._handle_events()
            if self.loop.env_step >= self.options.steps or self.solved or self.interrupts.received:
                return
            self.loop.advance(min([self.options.steps, *self._next.values()]), self._pulse)

    @property
    def solved(self) -> bool:
        """Whether the last evaluation reached the return at which the run stops."""
        goal, last = self.options.stop_return, self.last_evaluation
        return goal is not None and last is not None and last.mean_return >= goal

    def _handle_events(self) -> None:
        if self._due("log"):
            self.log()
            self._postpone("log")
        if self._due("eval"):
            try:
                self.evaluate()
            except KeyboardInterrupt:
                if self.interrupts.received is None:
                    raise
                return  # a signal in its middle: it is still due, and a resume begins it anew
            self._postpone("eval")
        if self._due("checkpoint"):
            self._postpone("checkpoint")  # before it is saved, so that a resumed run does not save it again
            self._save_periodic()

    def _due(self, event: str) -> bool:
        return event in self._next and self.loop.env_step >= self._next[event]

    def _postpone(self, event: str) -> None:
        self._next[event] = (self.loop.env_step // self._periods[event] + 1) * self._periods[event]

    def _pulse(self) -> bool:
        """Show and record what is due by the clock; whether a signal came."""
        now = perf_counter()
        if self.panel.due(now):
            self.panel.update(self._panel_state())
        if now - self._watch.recorded_at >= TIMING_PERIOD:
            self._log_timing()
        return self.interrupts.received is not None

    # Logs.

    def log(self) -> None:
        """One record of the training so far, to metrics.jsonl and the writers."""
        self._check_finite()
        loop = self.loop
        values = {**loop.episodes.means(), **self._losses(), **loop.agent.scheduled()}
        counts: dict[str, float] = {"updates": loop.agent.updates, "episodes": loop.episodes.count}
        counts |= bandit_regret(loop.agent, loop.env)
        self._metrics.write({"kind": "train", "env_step": loop.env_step, **counts, **values})
        if self.writers is not None:
            self.writers.scalars(loop.env_step, {f"train/{name}": value for name, value in (counts | values).items()})
        self._log_timing()

    def sweep(self, number: int, metrics: dict[str, float]) -> None:
        """One record of a sweep of planning, which takes no env step."""
        self._metrics.write({"kind": "plan", "env_step": 0, "sweep": number, **metrics})
        if self.writers is not None:
            self.writers.scalars(number, {f"plan/{name}": value for name, value in metrics.items()})

    def record_final(self, result: Evaluation) -> None:
        """The last record: the kept agent on evaluation seeds of its own."""
        values = result.as_json()
        self._metrics.write({"kind": "final", "env_step": self.loop.env_step, **values})
        if self.writers is not None:
            self.writers.summary({f"final/{name}": value for name, value in values.items()})

    def _log_timing(self) -> None:
        record = self._watch.record()
        self._timing.write(record)
        if self.writers is not None:
            numbers = {name: value for name, value in record.items() if name != "env_step"}
            self.writers.scalars(self.loop.env_step, {f"time/{name}": value for name, value in numbers.items()})

    def _losses(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.loop.metrics.items()}

    def _check_finite(self) -> None:
        for name, value in self._losses().items():
            if not math.isfinite(value):
                kept = self.path / "checkpoints" / "last.pt"
                left = f"; the last good checkpoint is {kept}" if kept.is_file() else ""
                raise RunError(f"{name} is {value} at env step {self.loop.env_step:,}: training stopped{left}")

    def _panel_state(self) -> PanelState:
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
            self._eval_env = self._make_eval_env()
        result = evaluate(
            self.loop.agent,
            self._eval_env,
            episodes=self.options.eval_episodes,
            seed=self._eval_seed,
            name=self._describe().agent,
            interrupted=self._pulse,
        )
        self.last_evaluation = result
        values = {name: value for name, value in result.as_json().items() if name.endswith("_return")}
        record = {"episodes": len(result.returns), "seed": result.seed, **values, **result.stamp()}
        self._metrics.write({"kind": "eval", "env_step": self.loop.env_step, **record})
        if self.writers is not None:
            self.writers.scalars(self.loop.env_step, {f"eval/{name}": value for name, value in values.items()})
        better = self.best is None or result.mean_return > self.best
        if better:
            self.best = result.mean_return
            self._save("best", score=result.mean_return)
        self.panel.message(
            f"evaluation at {self.loop.env_step:,}: {result.mean_return:.2f}{' (best)' if better else ''}"
        )
        return result

    # Checkpoints.

    def save_last(self) -> None:
        """Write the checkpoint that a resume goes on from; RunError where the agent is no longer finite."""
        self._check_finite()
        self._save("last")

    def _save_periodic(self) -> None:
        self.save_last()
        self._save(f"step-{self.loop.env_step:010d}")
        kept = sorted((self.path / "checkpoints").glob("step-*.pt"))
        for old in kept[: -self.options.keep_checkpoints or None]:
            old.unlink()

    def _save(self, name: str, *, score: float | None = None) -> None:
        """Write one checkpoint, all to go on from if it is the last; without space the run goes on with the old one."""
        state = self.loop.agent.state_dict()
        about = dataclasses.replace(
            self._describe(), score=score, score_seed=None if score is None else self._eval_seed
        )
        path, kind = self.path / "checkpoints" / f"{name}.pt", name.split("-")[0]
        try:
            if name == "last":
                self._replay_files.save(path, about, {"agent": state, **self._resume_state()})
            else:
                state.pop("replay", None)
                checkpoint.save(path, about, {"agent": state})
            self.failed_saves.pop(kind, None)
        except OSError as error:
            self.failed_saves[kind] = f"checkpoint {name} was not written: {error.strerror or error}"
            self.panel.message(f"{self.failed_saves[kind]}; the previous one is kept")

    def _resume_state(self) -> dict[str, Any]:
        loop = self.loop
        return {
            "actor": loop.actor.state_dict(),
            "env": loop.env.snapshot() if loop.exact_resume else None,
            "loop": loop.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "session": {
                "next": dict(self._next),
                "best": self.best,
                "metrics": self._metrics.position(),
                "timing": self._timing.position(),
                "seconds": self._watch.total,
                "writers": {} if self.writers is None else self.writers.state(),
            },
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what a `last` checkpoint holds beside agent and environment."""
        self._replay_files.restore(content)
        self.loop.actor.load_state_dict(content["actor"])
        self.loop.load_state_dict(content["loop"])
        torch.set_rng_state(content["torch_rng"])
        if content["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["cuda_rng"])
        state = content["session"]
        for name, period in self._periods.items():
            self._next[name] = state["next"].get(name, (self.loop.env_step // period + 1) * period)
        self.best = state["best"]
        self._metrics.truncate(state["metrics"])
        self._timing.truncate(state["timing"])
        self._watch = Watch(self.loop, total=state["seconds"])

    def close(self) -> None:
        if self._eval_env is not None:
            self._eval_env.close()
        self._metrics.close()
        self._timing.close()
