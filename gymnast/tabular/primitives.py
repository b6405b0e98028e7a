"""Building blocks of the compiled tabular loop: NumPy's PCG64, Gymnasium's sampling, and arrays without counts.

Importing this lets Numba compile the pure functions of `agents/tabular/` into the loop as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

from gymnast.agents.tabular import exploration as explore
from gymnast.agents.tabular import model, sweeping, updates

Function = TypeVar("Function", bound=Callable[..., Any])
INLINED: tuple[Any, ...] = (
    *(explore.choose, explore.best, explore.count_total, explore.score, explore.boltzmann, explore.categorical),
    *(explore.maximum, explore.optimistic_maximum, explore.expectation, explore.boltzmann_mean, explore.best_mean),
    updates.update_pair,
)
CALLED: tuple[Any, ...] = (
    *(updates.learn_window, updates.learn_oldest, updates.update_visited, updates.clear_traces),
    *(model.remember, model.list_pair, model.list_row, model.best_allowed, model.plan_step, model.expected),
    *(sweeping.push, sweeping.pop, sweeping.rise, sweeping.sink, sweeping.link, sweeping.unlink),
    *(sweeping.consider, sweeping.take_in, sweeping.sweep_step),
)
for function in INLINED + CALLED:
    register_jitable(forceinline=function in INLINED, no_cfunc_wrapper=True)(function)


def inlined(function: Function) -> Function:
    """Compile a function into what calls it; Python cannot call it, because that form takes longer to compile."""
    alone: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: Any = njit(forceinline=True, **alone)(function)
    return cast(Function, compiled)


LOW32, SHIFT32 = np.uint64(0xFFFFFFFF), np.uint64(32)
MULTIPLIER_LOW, MULTIPLIER_HIGH = np.uint64(4865540595714422341), np.uint64(2549297995355413924)
UNIT = 1.0 / 9007199254740992.0  # 2**-53


def _without_counts(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """LLVM for a value, an array or a tuple of them, whose arrays own nothing."""
    build: Any = cgutils  # untyped
    if isinstance(kind, types.Array):
        array = build.create_struct_proxy(kind)(context, builder, value=value)
        array.meminfo = build.get_null_value(array.meminfo.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for index, part in enumerate(cast(Iterable[Any], kind)):
            inner = _without_counts(context, builder, part, builder.extract_value(value, index))
            value = builder.insert_value(value, inner, index)
    return value


def _borrowed(typing_context: Any, value: Any) -> Any:
    """The same arrays without reference counts, whose upkeep costs more than the loop; the caller keeps them alive."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _without_counts(context, builder, signature.args[0], arguments[0])

    return value(value), generate


borrowed: Any = intrinsic(_borrowed)


@inlined
def uniform(words: np.ndarray, row: int) -> float:
    """`Generator(PCG64).random()` on state words (low, high, low and high of the increment) (O'Neill 2014)."""
    low, high = words[row, 0], words[row, 1]
    a, b = low & LOW32, low >> SHIFT32
    c, d = MULTIPLIER_LOW & LOW32, MULTIPLIER_LOW >> SHIFT32
    middle = ((a * c) >> SHIFT32) + ((a * d) & LOW32) + ((b * c) & LOW32)
    carry = b * d + ((a * d) >> SHIFT32) + ((b * c) >> SHIFT32) + (middle >> SHIFT32)
    high = carry + high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH
    low = low * MULTIPLIER_LOW + words[row, 2]
    high = high + words[row, 3] + np.uint64(low < words[row, 2])
    words[row, 0], words[row, 1] = low, high
    mixed, turn = high ^ low, high >> np.uint64(58)
    out = (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))
    return np.float64(out >> np.uint64(11)) * UNIT  # type: ignore[no-any-return]


@inlined
def outcome(cumulative: np.ndarray, u: float) -> int:
    """Gymnasium's `categorical_sample`: the first index whose cumulative probability exceeds u, 0 if none does."""
    for index in range(len(cumulative)):
        if cumulative[index] > u:
            return index
    return 0


@inlined
def first_state(initial: np.ndarray, words: np.ndarray, row: int, draws: bool) -> int:
    """Draw the first state of an episode: `outcome` by bisection."""
    if not draws:
        return int(np.argmax(initial))
    u, low, high = uniform(words, row), 0, len(initial)
    while low < high:  # `np.searchsorted` takes longer to compile
        middle = (low + high) // 2
        if initial[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low if low < len(initial) else 0


@inlined
def compress(mask: np.ndarray, state: int, values: np.ndarray, out: np.ndarray) -> int:
    """Write the values of the allowed actions to `out`; returns their number."""
    size = 0
    for action in range(len(values)):
        if mask[state, action]:
            out[size] = values[action]
            size += 1
    return size


@inlined
def nth_allowed(mask: np.ndarray, state: int, choice: int) -> int:
    """The allowed action with this number."""
    for action in range(mask.shape[1]):
        if mask[state, action]:
            if choice == 0:
                return action
            choice -= 1
    return 0
