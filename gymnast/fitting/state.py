"""`last.pt` of a run that fits a network: everything that a resumed run needs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gymnast.errors import UsageError, first_line
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About

LEARNER = ("optimizer", "schedule", "average")


@dataclass(frozen=True)
class FitState:
    """Where a run is. The field names are the keys of the file."""

    network: dict[str, Any]
    """Backbone and heads, or the network of the agent that the task fits."""
    learners: list[dict[str, Any]]
    """Optimizer, schedule and average of each network that learns from a loss of its own."""
    generator: Tensor
    """Of augmentation."""
    epoch: int
    """Whole epochs so far."""
    position: int
    """Batches of the epoch after them."""
    updates: int
    best: float | None
    tie: float
    """Loss of the best evaluation."""
    since_best: int
    """Evaluations since the best one."""
    sums: dict[str, Tensor]
    """Sums of the losses since the last record of the log."""
    counts: dict[str, int]
    """How many losses each is a sum of."""
    metrics: int
    """Bytes of metrics.jsonl."""
    timing: int
    """Bytes of timing.jsonl."""
    seconds: float
    writers: dict[str, Any]
    torch_rng: Tensor
    cuda_rng: list[Tensor]

    def restore_generators(self) -> None:
        """Restore torch's own generators."""
        torch.set_rng_state(self.torch_rng)
        if self.cuda_rng and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self.cuda_rng)


def save(path: Path, about: About, state: FitState) -> None:
    """Write the file; OSError leaves the previous one untouched."""
    parts = {item.name: getattr(state, item.name) for item in fields(FitState)}
    checkpoint.save(path, about, {"agent": state.network, "fit": parts})


def read(path: Path) -> tuple[About, FitState]:
    """The content of the file; UsageError names a damaged or an unrelated one."""
    about, content = checkpoint.read(path)
    try:
        return about, FitState(**_renamed(content["fit"]))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} does not hold the state of a fitted network: {first_line(error)}") from None


def _renamed(kept: dict[str, Any]) -> dict[str, Any]:
    """The parts of a state; earlier builds kept those of one network by their names."""
    if "learners" in kept:
        return kept
    one = {name: kept[name] for name in LEARNER}
    rest = {name: value for name, value in kept.items() if name not in (*LEARNER, "summed")}
    return {**rest, "learners": [one], "counts": dict.fromkeys(kept["sums"], kept["summed"])}
