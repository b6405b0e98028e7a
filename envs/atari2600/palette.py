"""The NTSC palette: the colours and gray levels of the 128 even palette indices, from `palette.csv`."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np


def _columns(*names: str) -> np.ndarray:
    """Columns of the table by palette index, uint8 [256, columns]; odd indices are never drawn."""
    values = np.zeros((256, len(names)), np.uint8)
    text = resources.files(__package__).joinpath("palette.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        values[int(line["index"])] = [int(line[name]) for name in names]
    return values


RGB = _columns("r", "g", "b")
GRAY = _columns("gray")[:, 0]
