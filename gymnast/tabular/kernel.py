"""Act, step and learn over a known transition table, compiled for `gymnast/tabular/loop.py`.

The functions of `exploration.py`, `updates.py`, `model.py` and `sweeping.py` in `agents/tabular/` are compiled as they
are; only the order of operations in a step of N rows (`gymnast/tabular/row_step.py`) and the drawing of random numbers
(`gymnast/tabular/primitives.py`) are rewritten.

Three things make it fast: a loop for each combination of options, from which the compiler prunes unused branches,
inlining everywhere, and arrays without reference counts.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from gymnast.agents.tabular import exploration as explore
from gymnast.agents.tabular import model, sweeping, updates
from gymnast.agents.tabular.updates import Rates
from gymnast.tabular import layout, primitives, row_step
from gymnast.tabular.layout import DYNA_Q, SARSA, SWEEPING, Kind, Learner, Numbers, Parts, Plan, World
from gymnast.tabular.primitives import borrowed
from gymnast.tabular.row_step import act, learn_dyna, learn_once, learn_sarsa, learn_sweeping, move, moved

Loop = Callable[[World, Learner, Plan, Numbers], tuple[int, int]]


def _compile(
    algorithm: int,
    exploration: int,
    random_ties: bool,
    masked: bool,
    finite: bool,
    renewal: bool,
    draws: bool,
    traced: bool,
    replacing: bool,
    cut: bool,
    stamp: int,
) -> Loop:
    """A loop for the fields of a `Kind`, which the compiler sees as constants of a closure; cached on disk.

    Numba's cache does not notice changes in compiled-in functions from other files: `stamp` is a checksum of those.
    """

    @njit(cache=True)
    def advance(world: World, learner: Learner, plan: Plan, given: Numbers) -> tuple[int, int]:
        kind = Kind(algorithm, exploration, random_ties, masked, finite, renewal, draws, traced, replacing, cut)
        parts = Parts(kind, borrowed(world), borrowed(learner), borrowed(plan), given)
        varying_alpha, varying_strength = int(len(plan.alpha) > 1), int(len(plan.strength) > 1)
        average, decay = given.average if renewal else 0.0, given.decay if traced else 0.0
        error_sum, updated, rows = 0.0, 0, len(world.state)
        finished = np.int64(0)  # a literal would be a type of its own, for which `move` were compiled again
        for step in range(plan.steps):
            strength = plan.strength[step * varying_strength]
            rates = Rates(plan.alpha[step * varying_alpha], average, decay, replacing, cut)
            for row in range(rows):
                act(parts, strength, row)
            for row in range(rows):
                finished = move(parts, step, row, finished)
            error_sum, updated = 0.0, 0
            for row in range(rows):
                # Conditions on constants of the closure are decided before types are: the other branches, which would
                # double the time of compiling, are dropped unseen. Inside inlined functions they are not.
                if algorithm == SARSA:
                    errors, done = learn_sarsa(parts, strength, rates, row, moved(parts, row))
                elif algorithm == DYNA_Q:
                    errors, done = learn_dyna(parts, strength, rates, row, moved(parts, row))
                elif algorithm == SWEEPING:
                    errors, done = learn_sweeping(parts, strength, rates, row, moved(parts, row))
                else:
                    errors, done = learn_once(parts, strength, rates, row, moved(parts, row))
                error_sum += errors
                updated += done
        plan.error[0] = error_sum / max(updated, 1)
        return finished, stamp

    return advance


_COMPILED_IN = (explore, updates, model, sweeping, layout, primitives, row_step)
_STAMP = zlib.crc32("".join(inspect.getsource(module) for module in _COMPILED_IN).encode())


@cache
def loop(kind: Kind) -> Loop:
    """The compiled loop for a combination of options; returns the number of ended episodes (and the stamp)."""
    return _compile(*kind, _STAMP)
