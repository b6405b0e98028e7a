"""Measures of a task's network over examples."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.agents.supervised.task import Outputs, Task

LARGE = 256
"""Examples of a batch of an evaluation, at least."""


@torch.no_grad()
def measured(task: Task, index: Tensor, batch_size: int) -> tuple[dict[str, float], Outputs]:
    """The measures over the examples int64 [N], and everything that was kept of their batches; torch's generator stays.

    The network is in evaluation mode, as it always is between updates.
    """
    kept: dict[str, list[Tensor]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the passes with dropout
        for part in torch.split(index, max(batch_size, LARGE)):
            for name, value in task.outputs(task.batch(part)).items():
                kept.setdefault(name, []).append(value.detach().cpu())
    outputs = {name: torch.cat(parts) for name, parts in kept.items()}
    return task.measures(outputs), outputs
