"""Linear probes of the latents of an autoencoder, beside those of random weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import torch_seed
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.task import Task
from gymnast.fitting.measured import LARGE
from gymnast.fitting.probes import Probes, Split
from gymnast.replay.datasets.labelled import Labelled

CHOOSING = 5
"""One of so many training examples chooses a probe's strength."""


def accuracies(task: Task) -> dict[str, float]:
    """Shares of the test examples whose class a linear classifier tells from their latents; {} without classes.

    `probe_accuracy` is of the task's network, `random_probe_accuracy` of one with other initial weights that has
    learned nothing.
    """
    if not isinstance(task, Autoencoder) or not task.config.linear_probe:
        return {}
    data = task.data
    if not isinstance(data, Labelled) or not data.classes or data.targets.dim() > 1:
        return {}
    chooses = torch.arange(len(task.train)) % CHOOSING == 0
    every = torch.cat([task.train[~chooses], task.train[chooses], task.test])
    sizes = [int((~chooses).sum()), int(chooses.sum()), len(task.test)]
    parts = torch.split(torch.arange(len(every)), sizes)
    seed = task.source.seed
    other = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(other))  # for layers of your own
        random = task.random(other)
    return {
        name: Probes(_latents(one, every), Split(*parts)).classify(data.targets[every], len(data.classes))
        for name, one in (("probe_accuracy", task), ("random_probe_accuracy", random))
    }


@torch.no_grad()
def _latents(task: Autoencoder, index: Tensor) -> Tensor:
    """Latents [N, L] of the examples int64 [N], on the host."""
    return torch.cat([task.encode(task.batch(part).obs).cpu() for part in torch.split(index, LARGE)])
