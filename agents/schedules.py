"""Schedules: functions of the env step, never generators, so that they do not change across a resume or with N.

A config field that follows a schedule takes a number, or a name and its numbers with colons: `linear:1:0.05:10000`.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

ScheduleLike: TypeAlias = float | str
"""A constant, or a schedule such as `linear:1.0:0.05:10000` (name, start, end, steps)."""
Schedule: TypeAlias = Callable[[int], float]
FOREVER = 10**20
"""A step that no run reaches, at which schedules must still be finite and within their limits."""


def constant(step: int, *, value: float) -> float:
    """The same value at every step."""
    return value


def linear(step: int, *, start: float, end: float, steps: float) -> float:
    """From start to end in a straight line over `steps`, then end."""
    return start + (end - start) * min(step / steps, 1.0)


def exponential(step: int, *, start: float, end: float, decay: float) -> float:
    """start * decay**step, but not below (or, growing, above) end; `decay` is the factor of one env step."""
    try:
        value = start * math.pow(decay, step)
    except OverflowError:  # far beyond the end
        value = math.inf if start else 0.0
    return max(value, end) if end <= start else min(value, end)


def power(step: int, *, start: float, end: float, steps: float, exponent: float) -> float:
    """Polynomial decay end + (start - end) * (1 - step/steps)**exponent, then end."""
    return end + (start - end) * math.pow(1.0 - min(step / steps, 1.0), exponent)


def inverse(step: int, *, start: float, steps: float) -> float:
    """start / (1 + step/steps): its sum diverges and its squares' does not, as stochastic approximation requires."""
    return start / (1.0 + step / steps)


def piecewise(step: int, *points: float) -> float:
    """Straight lines through (step, value) pairs: `piecewise:0:1:10000:0.1:50000:0.01`; constant outside them."""
    steps, values = points[0::2], points[1::2]
    if step <= steps[0]:
        return values[0]
    for left, right, low, high in zip(steps, steps[1:], values, values[1:], strict=False):
        if step < right:
            return low + (high - low) * (step - left) / (right - left)
    return values[-1]


def cosine(step: int, *, start: float, end: float, steps: float, factor: float = 1.0) -> float:
    """Cosine annealing with warm restarts; each period is `factor` times the last (Loshchilov & Hutter 2017, eq. 5).

    Shrinking periods all fit into steps / (1 - factor) env steps; after that the value is `end`.
    """
    fraction = (step % steps) / steps if factor == 1.0 else _of_period(step, steps, factor)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * fraction))


def _of_period(step: int, steps: float, factor: float) -> float:
    """A step's position within its period, as a fraction; each period is `factor` times as long as the last."""
    passed = 1.0 + step / steps * (factor - 1.0)  # factor**cycle at the first step of a period
    if passed <= 0.0:
        return 1.0  # periods have shrunk to nothing
    try:
        cycle = math.floor(math.log(passed, factor) + 1e-12)
        begun = steps * (factor**cycle - 1.0) / (factor - 1.0)
        return (step - begun) / (steps * factor**cycle)
    except OverflowError:
        return 0.0  # a period longer than any run has begun


def one_cycle(step: int, *, peak: float, steps: float, warmup: float = 0.3, divide: float = 25.0) -> float:
    """Up from peak/divide over `warmup` of the steps, down to peak/divide/1e4, both by cosine (Smith & Topin 2018)."""
    start, end, fraction = peak / divide, peak / divide / 1e4, min(step / steps, 1.0)
    if fraction < warmup:
        return peak + (start - peak) * 0.5 * (1.0 + math.cos(math.pi * fraction / warmup))
    return end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * (fraction - warmup) / (1.0 - warmup)))


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "linear": linear,
    "exponential": exponential,
    "power": power,
    "inverse": inverse,
    "piecewise": piecewise,
    "cosine": cosine,
    "one-cycle": one_cycle,
}


def schedule(like: ScheduleLike, *, name: str, low: float = 0.0, high: float = math.inf) -> Schedule:
    """The schedule that a config field describes, checked; ValueError in one line that starts with the field's name."""
    if not isinstance(like, str):
        _check(name, like, [float(like)], low, high)
        return partial(constant, value=float(like))
    kind, *texts = like.split(":")
    if kind not in SCHEDULES:
        try:
            value = float(like)
        except ValueError:
            near = difflib.get_close_matches(kind, SCHEDULES, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name} must be a number or one of {', '.join(SCHEDULES)}, got {like!r}{hint}") from None
        return schedule(value, name=name, low=low, high=high)
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        raise ValueError(f"{name} takes numbers after {kind}:, got {like!r}") from None
    return _bind(kind, numbers, like, name=name, low=low, high=high)


def _bind(kind: str, numbers: list[float], like: str, *, name: str, low: float, high: float) -> Schedule:
    function = SCHEDULES[kind]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} takes finite numbers, got {like!r}")
    if kind == "piecewise":
        steps = numbers[0::2]
        if len(numbers) < 2 or len(numbers) % 2 or steps != sorted(set(steps)):
            raise ValueError(f"{name} takes piecewise:step:value:step:value… with rising steps, got {like!r}")
        _check(name, like, numbers[1::2], low, high)
        return lambda step: piecewise(step, *numbers)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    needed = sum(parameter.default is inspect.Parameter.empty for parameter in parameters)
    if not needed <= len(numbers) <= len(parameters):
        form = ":".join([kind, *(parameter.name for parameter in parameters)])
        raise ValueError(f"{name} takes {form}, got {like!r}")
    bound = {parameter.name: number for parameter, number in zip(parameters, numbers, strict=False)}
    _check(name, like, [bound[key] for key in ("value", "start", "end", "peak") if key in bound], low, high)
    positive = [
        key for key in ("steps", "factor", "divide", "decay", "exponent") if key in bound and not bound[key] > 0
    ]
    if positive:
        raise ValueError(f"{name}: {positive[0]} must be > 0, got {like!r}")
    if not 0.0 < bound.get("warmup", 0.3) < 1.0:
        raise ValueError(f"{name}: warmup must be between 0 and 1, got {like!r}")
    _check_direction(name, like, bound if kind == "exponential" else {})
    made = partial(function, **bound)
    _check(name, like, [made(0), made(FOREVER)], low, high)
    return made


def _check_direction(name: str, like: ScheduleLike, bound: dict[str, float]) -> None:
    """ValueError for an exponential that moves away from its end, which it would never reach."""
    if not bound:
        return
    start, end, decay = bound["start"], bound["end"], bound["decay"]
    if (end < start and decay > 1) or (end > start and decay < 1):
        word = "< 1 to fall" if end < start else "> 1 to rise"
        raise ValueError(f"{name}: decay must be {word} from {start:g} to {end:g}, got {like!r}")


def _check(name: str, like: ScheduleLike, values: list[float], low: float, high: float) -> None:
    for value in values:
        if not math.isfinite(value) or not low <= value <= high:
            limits = f">= {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise ValueError(f"{name} must be {limits}, got {like}")
