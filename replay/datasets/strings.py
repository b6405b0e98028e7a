"""Sequences of symbols with a target for each step: a^n b^n, and copying.

A symbol is one-hot, padding is all zeros, and -100 marks steps that have no target.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NO_TARGET = -100
"""What PyTorch's losses ignore."""
TRAINED_N, TESTED_N = range(1, 11), range(11, 21)
COPIED, ALPHABET, EXAMPLES = 10, 8, 2_000
"""Of the copying tasks: symbols to remember, different symbols, sequences."""


def anbn() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The strings # a^n b^n # of n = 1 to 20, each once: inputs [20, 41, 3], targets [20, 41], splits.

    The symbols are a, b and # (which begins and ends a string). The target is the next symbol where it is determined:
    `a` after the first #, `b` after each `b` but the last, # after that; after an `a` both may follow. The training
    split is n = 1 to 10, the test split n = 11 to 20 (Gers & Schmidhuber 2001).
    """
    lengths = [*TRAINED_N, *TESTED_N]
    steps = 2 * lengths[-1] + 1
    inputs = torch.zeros((len(lengths), steps, 3))
    targets = torch.full((len(lengths), steps), NO_TARGET)
    a, b, end = range(3)
    for row, n in enumerate(lengths):
        string = torch.tensor([end, *[a] * n, *[b] * n])
        inputs[row, : len(string)] = functional.one_hot(string, 3).float()
        targets[row, : len(string)] = torch.tensor([a, *[NO_TARGET] * n, *[b] * (n - 1), end])
    trained = len(TRAINED_N)
    return inputs, targets, {"train": torch.arange(trained), "test": torch.arange(trained, len(lengths))}


def copying(seed: int, *, reverse: bool) -> tuple[Tensor, Tensor]:
    """Ten symbols of eight, a delimiter, and ten blanks at which to reproduce the symbols, from the last if `reverse`.

    Returns inputs [2000, 21, 10] (eight symbols, delimiter, blank) and targets [2000, 21], which are symbols at the
    blanks (Hochreiter & Schmidhuber 1997; Graves et al. 2014, section 4.1).
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    symbols = torch.from_numpy(generator.integers(ALPHABET, size=(EXAMPLES, COPIED)))
    delimiter, blank = ALPHABET, ALPHABET + 1
    shown = [symbols, torch.full((EXAMPLES, 1), delimiter), torch.full((EXAMPLES, COPIED), blank)]
    asked = [torch.full((EXAMPLES, COPIED + 1), NO_TARGET), symbols.flip(1) if reverse else symbols]
    return functional.one_hot(torch.cat(shown, 1), ALPHABET + 2).float(), torch.cat(asked, 1)
