"""Whether data are those of an earlier run."""

from __future__ import annotations

import zlib

import torch

from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.labelled import Labelled


def digest(data: Labelled | EpisodeData) -> int:
    """A number that other data hardly share: of all examples, or of the episodes' lengths, actions and rewards."""
    if isinstance(data, Labelled):
        parts = [data.inputs, data.targets]
    else:
        parts = [data.starts, data.actions(torch.arange(len(data))), data.rewards]
    found = 0
    for part in parts:
        found = zlib.crc32(part.contiguous().numpy().data, found)
    return found
