"""The score of a trial, from the scheduled evaluations of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gymnast.reports.statistics import Pooled, iqm
from gymnast.storage import metrics_log
from gymnast.tuning.options import Score

LOG = "metrics.jsonl"
TAIL = 4
"""`last` is the mean of one in this many evaluations, at the end."""


class Evaluation(NamedTuple):
    """One scheduled evaluation of a run."""

    env_step: int
    mean_return: float


def evaluations(run: Path) -> list[Evaluation]:
    """The scheduled evaluations so far of a run that may be in progress."""
    log = run / LOG
    rows = metrics_log.read(log) if log.is_file() else []
    return [
        Evaluation(row["env_step"], row["mean_return"])
        for row in rows
        if row["kind"] == "eval" and row["mean_return"] is not None
    ]


def log_size(run: Path) -> int:
    """Bytes of a run's records so far."""
    log = run / LOG
    return log.stat().st_size if log.is_file() else 0


def of_run(returns: Sequence[float], score: Score) -> float:
    """The score of a run from its evaluations so far, of which there is at least one."""
    if score == "best":
        return max(returns)
    kept = returns if score == "mean" else returns[-max(1, len(returns) // TAIL) :]
    return float(np.mean(kept))


def of_trial(runs: Sequence[Sequence[float]], score: Score) -> float:
    """The interquartile mean over runs of their scores (Agarwal et al. 2021), each with at least one evaluation."""
    pooled = Pooled.of([np.array([of_run(returns, score) for returns in runs])])
    return float(iqm(pooled.scores, pooled))
