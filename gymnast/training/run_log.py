"""The logs of a run: metrics.jsonl, timing.jsonl and the trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from gymnast.evaluation.result import Evaluation
from gymnast.output.trackers import Writers
from gymnast.storage.last import SessionState
from gymnast.storage.metrics_log import MetricsLog
from gymnast.training.loop import Loop
from gymnast.training.timing import TIMING_PERIOD, Watch


class RunLog:
    """Writes every record of a run; those of metrics.jsonl do not depend on the clock."""

    def __init__(self, path: Path, loop: Loop, writers: Writers) -> None:
        self.metrics = MetricsLog(path / "metrics.jsonl")
        self.timing = MetricsLog(path / "timing.jsonl")
        self.watch = Watch(loop)
        self.writers = writers
        self._loop = loop
        if writers.take_episodes:
            loop.episodes.kept = []

    def train(self, values: Mapping[str, float]) -> None:
        """One record of the training so far."""
        self.metrics.write({"kind": "train", "env_step": self._loop.env_step, **values})
        self.episodes()
        self._track("train", self._loop.env_step, values)
        self._write_timing()

    def episodes(self) -> None:
        """Pass single episodes to the trackers that need them."""
        ended = self._loop.episodes.take()
        if ended:
            self.writers.episodes(ended)

    def sweep(self, number: int, values: Mapping[str, float]) -> None:
        """One record of a sweep of planning, which takes no env step."""
        self.metrics.write({"kind": "plan", "env_step": 0, "sweep": number, **values})
        self._track("plan", number, values)

    def evaluation(self, result: Evaluation) -> None:
        """One record of an evaluation during training."""
        values = {name: value for name, value in result.as_json().items() if name.endswith("_return")}
        record = {"episodes": len(result.returns), "seed": result.seed, **values, **result.stamp()}
        self.metrics.write({"kind": "eval", "env_step": self._loop.env_step, **record})
        self._track("eval", self._loop.env_step, values)

    def final(self, result: Evaluation, outside: Evaluation | None = None) -> None:
        """The last record: the kept agent on its own evaluation seeds, and after a dream in the real environment."""
        values = result.as_json()
        if outside is not None:
            values["outside"] = outside.as_json()
        self.metrics.write({"kind": "final", "env_step": self._loop.env_step, **values})
        self.writers.summary({f"final/{name}": value for name, value in values.items()})

    def pulse(self) -> None:
        """A record of timing.jsonl, if one is due by the clock."""
        if perf_counter() - self.watch.recorded_at >= TIMING_PERIOD:
            self._write_timing()

    def restore(self, state: SessionState) -> None:
        """Delete every record after a checkpoint: the resumed run writes them again."""
        self.metrics.truncate(state.metrics)
        self.timing.truncate(state.timing)
        self.watch = Watch(self._loop, total=state.seconds)

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()

    def _write_timing(self) -> None:
        record = self.watch.record()
        self.timing.write(record)
        self._track("time", self._loop.env_step, {name: record[name] for name in record if name != "env_step"})

    def _track(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self.writers.scalars(step, {f"{kind}/{name}": value for name, value in values.items()})
