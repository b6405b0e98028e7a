"""The logs of a population: metrics.jsonl, evaluations.jsonl and the trackers.

metrics.jsonl has statistics over the members. evaluations.jsonl has the evaluations of each member, one line each
time all were evaluated:

    {"env_step":2000,"returns":[21.5,9.25,null]}

`env_step` counts the steps of each member, and `returns` are the members' mean returns in the order of members.csv,
null if one is not finite. A line of 4,096 members takes 20 to 80 kB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnast.output.trackers import Writers
from gymnast.storage.metrics_log import MetricsLog


class PopulationLog:
    """Writes every record of a population's run; none depends on the clock."""

    def __init__(self, path: Path, writers: Writers) -> None:
        self.metrics = MetricsLog(path / "metrics.jsonl")
        self.evaluations = MetricsLog(path / "evaluations.jsonl")
        self.writers = writers

    def train(self, env_step: int, values: Mapping[str, float]) -> None:
        """One record of the training so far."""
        self._record("train", env_step, values)

    def evaluation(self, env_step: int, values: Mapping[str, float], returns: Sequence[float]) -> None:
        """One record of an evaluation: statistics, and the mean return of each member."""
        self._record("eval", env_step, values)
        self.evaluations.write({"env_step": env_step, "returns": returns})

    def final(self, env_step: int, values: Mapping[str, Any]) -> None:
        """The last record: the kept members on their own test seeds."""
        self.metrics.write({"kind": "final", "env_step": env_step, **values})
        self.writers.summary({f"final/{name}": value for name, value in values.items()})

    def restore(self, *, metrics: int, evaluations: int) -> None:
        """Delete every record after these positions: the resumed run writes them again."""
        self.metrics.truncate(metrics)
        self.evaluations.truncate(evaluations)

    def close(self) -> None:
        self.metrics.close()
        self.evaluations.close()

    def _record(self, kind: str, env_step: int, values: Mapping[str, float]) -> None:
        self.metrics.write({"kind": kind, "env_step": env_step, **values})
        self.writers.scalars(env_step, {f"{kind}/{name}": value for name, value in values.items()})
