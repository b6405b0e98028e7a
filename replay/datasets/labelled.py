"""Examples with targets, by name: problems that are known from the literature, to check networks on."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.replay.datasets import points, strings
from gymnast.replay.datasets.points import Mixture

LABELLED = {
    "digits": "1,797 handwritten digits as images [8, 8, 1], from scikit-learn",
    "digits-rows": "the same digits as sequences of 8 rows [8, 8]",
    "xor": "exclusive or: 4 points, for training and validation alike",
    "spirals": "two entwined spirals: 194 points for training, 194 in between for validation",
    "anbn": "the next symbol of a^n b^n: n of 1 to 10 for training, of 11 to 20 for the test",
    "copy": "2,000 sequences: reproduce 10 symbols after a delimiter",
    "reverse": "the same in reverse order",
    "gaussians": "10,000 points of eight narrow Gaussians on a circle; which of them",
    "gaussians-grid": "the same of 25 Gaussians on a grid",
}
"""Names and one line of help."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Examples with targets, in memory."""

    name: str
    space: gym.Space[Any]
    """Of one input: Box or MultiDiscrete."""
    inputs: Tensor
    """[N, ...] in the space's dtype."""
    targets: Tensor
    """Classes, int64 [N]; a class for each step, int64 [N, T], -100 where none is asked; or numbers, float32 [N, K]."""
    classes: tuple[str, ...]
    """Names of the classes; () for numbers."""
    splits: dict[str, Tensor] | None = None
    """Fixed splits (`train`, `validation`, `test`) as int64 indices; None: split by a seed, as `by_example` does."""
    mixture: Mixture | None = None
    """The distribution of the inputs, where it is such a one."""

    def __len__(self) -> int:
        return len(self.inputs)

    def about_targets(self) -> dict[str, Any]:
        """The names of the classes, and the shape of an example's targets, as a checkpoint keeps them."""
        return {"classes": list(self.classes), "shape": list(self.targets.shape[1:])}


def labelled(name: str, *, seed: int) -> Labelled:
    """Build a data set by its name; `seed` draws the sequences of `copy` and `reverse`, and the points of `gaussians`.

    Raises:
        ValueError: an unknown name, or scikit-learn, which has the digits, is missing.
    """
    if name not in LABELLED:
        found = difflib.get_close_matches(name, LABELLED, n=1)
        hint = f"; did you mean {found[0]}?" if found else ""
        raise ValueError(f"unknown data set {name!r}; choose from {', '.join(LABELLED)}{hint}")
    if name.startswith("digits"):
        return _digits(name)
    if name == "xor":
        every = torch.arange(4)
        return Labelled(name, _box(0.0, 1.0, 2), *points.xor(), ("0", "1"), {"train": every, "validation": every})
    if name == "spirals":
        inputs, targets, splits = points.spirals()
        return Labelled(name, _box(-6.5, 6.5, 2), inputs, targets, ("first", "second"), splits)
    if name == "anbn":
        inputs, targets, splits = strings.anbn()
        return Labelled(name, _box(0.0, 1.0, *inputs.shape[1:]), inputs, targets, ("a", "b", "end"), splits)
    if name.startswith("gaussians"):
        return _mixture(name, points.ring() if name == "gaussians" else points.grid(), seed)
    inputs, targets = strings.copying(seed, reverse=name == "reverse")
    classes = tuple(map(str, range(strings.ALPHABET)))
    return Labelled(name, _box(0.0, 1.0, *inputs.shape[1:]), inputs, targets, classes)


def _digits(name: str) -> Labelled:
    """The test set of UCI's optical digits: 8 x 8 counts of 0 to 16 (Alpaydin & Kaynak 1998)."""
    try:
        loaded = import_module("sklearn.datasets").load_digits()
    except ImportError:
        raise ValueError(f"the data set {name} needs scikit-learn: pip install 'gymnast[data]'") from None
    targets, classes = torch.from_numpy(loaded.target.astype(np.int64)), tuple(map(str, range(10)))
    if name == "digits-rows":
        return Labelled(name, _box(0.0, 1.0, 8, 8), torch.from_numpy(loaded.images / 16).float(), targets, classes)
    pixels = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    return Labelled(name, spaces.Box(0, 255, (8, 8, 1), np.uint8), torch.from_numpy(pixels), targets, classes)


def _mixture(name: str, mixture: Mixture, seed: int) -> Labelled:
    inputs, modes = mixture.draw(points.MIXED, seed)
    bound = float(mixture.centres.abs().max()) + 10 * mixture.deviation
    return Labelled(
        name,
        _box(-bound, bound, inputs.shape[1]),
        inputs,
        modes,
        tuple(map(str, range(len(mixture.centres)))),
        mixture=mixture,
    )


def _box(low: float, high: float, *shape: int) -> spaces.Box:
    return spaces.Box(low, high, shape, np.float32)
