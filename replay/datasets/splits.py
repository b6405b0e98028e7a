"""Training and validation splits drawn by a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from gymnast.replay.datasets.episodes import EpisodeData


def by_example(n: int, *, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split `n` examples: indices for training and for validation, int64, each in ascending order.

    `validation` is the part of the examples for validation, rounded to whole ones.

    Raises:
        ValueError: `validation` is not between 0 and 1, or a split is empty.
    """
    return _drawn(n, "examples", validation=validation, seed=seed)


def by_episode(data: EpisodeData, *, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split whole episodes, so that no episode has transitions in both: indices of transitions, int64, ascending.

    `validation` is the part of the episodes for validation, rounded to whole ones.

    Raises:
        ValueError: `validation` is not between 0 and 1, or a split is empty.
    """
    _, chosen = _drawn(data.episodes, "episodes", validation=validation, seed=seed)
    held_out = torch.zeros(data.episodes, dtype=torch.bool)
    held_out[chosen] = True
    mask = held_out[data.episode]
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def _drawn(n: int, what: str, *, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation must be between 0 and 1, got {validation}")
    count = round(n * validation)
    if not 0 < count < n:
        empty = "validation" if count == 0 else "training"
        raise ValueError(f"validation {validation:g} of {n:,} {what} leaves none for {empty}")
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).permutation(n)
    parts = (torch.from_numpy(np.sort(part).astype(np.int64)) for part in (order[count:], order[:count]))
    training, held_out = parts
    return training, held_out
