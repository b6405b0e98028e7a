"""Checks an environment's values as they come in: rewards, flags, observations, masks. No torch: workers use it.

A value with one element means that element, regardless of its type. Anything that would have to be cut, wrapped or
cast into another value is a `BadValue`; the caller, which knows row, episode and step, adds where it came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

STEP = "(observation, reward, terminated, truncated, info)"
SPACES = ("observation_space", "action_space")
SHOWN = 80
"""Characters of a value that a message shows."""


class BadValue(ValueError):  # noqa: N818 - becomes an EnvError once the value's origin is known
    """A problem with a value, in words that follow the name of the environment."""


def number(value: Any, name: str) -> float:
    """A reward as a float: any number, or an array or tensor of one element."""
    if isinstance(value, (int, float, np.integer, np.floating, Real, Decimal)):  # the first ones are checked faster
        try:
            return float(value)
        except OverflowError:
            raise BadValue(f"gave the {name} {shown(value)}, which is too large for a float") from None
    array = as_array(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise BadValue(f"gave the {name} {shown(value)}, which is not one number")
    return float(array.reshape(-1)[0])


def count(value: Any, name: str) -> int:
    """A count, such as lives; BadValue for a fraction."""
    found = number(value, name)
    if not found.is_integer():
        raise BadValue(f"gave the {name} {shown(value)}, which is not a whole number")
    return int(found)


def pair(answer: Any) -> tuple[Any, dict[str, Any]]:
    """Observation and info, as `reset` must return them; BadValue for anything else, such as only the observation."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise BadValue(
            f"returned {shown(answer)} from reset, which must return (observation, info), where info is a dict"
        )
    return answer[0], answer[1]


def check_step(answer: Any) -> None:
    """BadValue unless `step` returned five values."""
    if not isinstance(answer, (tuple, list)):
        raise BadValue(f"returned {shown(answer)} from step, which must return {STEP}")
    if len(answer) != 5:
        raise BadValue(f"returned {len(answer)} values from step, which must return {STEP}")


def check_spaces(env: Any, before: Sequence[tuple[str, gym.Space[Any]]]) -> None:
    """BadValue where an environment's spaces, by name, are no longer what they were when it was made."""
    for name, space in before:
        now = getattr(env, name)
        if now is not space and now != space:  # properties may make an equal one at each call
            raise BadValue(f"changed its {name} from {shown(space)} to {shown(now)}: agents are made for one space")


def flag(value: Any, name: str) -> bool:
    """`terminated` or `truncated` as a bool: true or false, 0 or 1, or an array or tensor of one of them."""
    if isinstance(value, np.bool_):
        return bool(value)
    array = as_array(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.reshape(-1)[0] not in (0, 1):
        raise BadValue(f"gave {name} as {shown(value)}, which is neither true nor false")
    return bool(array.reshape(-1)[0])


def numbers(values: Any, rows: int) -> np.ndarray:
    """The rewards of a vector environment, a new float64 [N]; an array [N, 1] has one number per row."""
    if type(values) is np.ndarray and values.shape == (rows,) and values.dtype.kind == "f":
        return np.array(values, np.float64)  # the usual case, in which `flags`, `fitted` and this cost next to nothing
    array = as_array(values)
    if array.size != rows or array.dtype.kind not in "biuf":
        raise BadValue(f"gave rewards of shape {array.shape} for {rows} rows: each row needs one number")
    return array.reshape(rows).astype(np.float64)


def flags(values: Any, rows: int, name: str) -> np.ndarray:
    """`terminated` or `truncated` of a vector environment, a new bool [N]."""
    if type(values) is np.ndarray and values.shape == (rows,) and values.dtype.kind == "b":
        return np.array(values)
    array = as_array(values)
    if array.size != rows or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise BadValue(f"gave {name} as {shown(values)} for {rows} rows: each row needs true or false")
    return array.reshape(rows).astype(np.bool_)


def mask(value: Any, action_space: gym.Space[Any]) -> np.ndarray:
    """A mask of allowed actions, bool [A]; one array for each part of a MultiDiscrete space is joined to [sum of A]."""
    parts = mask_sizes(action_space)
    if isinstance(value, (list, tuple)) and len(value) == len(parts) and all(np.ndim(part) == 1 for part in value):
        sizes = tuple(len(part) for part in value)
        joined = np.concatenate([np.asarray(part) for part in value])
    else:
        joined = as_array(value)
        sizes = joined.shape
    if joined.shape != (sum(parts),) or sizes not in ((sum(parts),), parts) or joined.dtype.kind not in "biuf":
        raise BadValue(f"gave the action mask {shown(value)}, but its actions need one of shape {(sum(parts),)}")
    return bits(joined)


def bits(masks: np.ndarray) -> np.ndarray:
    """Masks as bools; BadValue for any number but 0 and 1: logits and lists of actions are not masks."""
    if masks.dtype == np.bool_:
        return masks
    allowed, kind = masks.astype(np.bool_), masks.dtype.kind
    if (masks >> 1).any() if kind in "iu" else kind != "f" or not np.array_equal(allowed, masks):
        raise BadValue(f"gave the action mask {shown(masks)}, but a mask has True or 1 for each allowed action, else 0")
    return allowed


def allows_none(allowed: np.ndarray, action_space: gym.Space[Any]) -> bool:
    """Whether a mask [A] leaves an action, or a part of it, without a choice."""
    if isinstance(action_space, spaces.Discrete):
        return not allowed.any()
    if not isinstance(action_space, spaces.MultiDiscrete):
        return False  # a bit that may not be 1 is 0
    return any(not part.any() for part in np.split(allowed, np.cumsum(mask_sizes(action_space))[:-1]))


def mask_sizes(action_space: gym.Space[Any]) -> tuple[int, ...]:
    """Choices of each part of an action: (n,) of Discrete, nvec of MultiDiscrete, the bits of MultiBinary."""
    if isinstance(action_space, spaces.Discrete):
        return (int(action_space.n),)
    if isinstance(action_space, spaces.MultiDiscrete):
        return tuple(int(choices) for choices in action_space.nvec.flatten())
    if isinstance(action_space, spaces.MultiBinary):
        return (int(np.prod(action_space.shape)),)
    return ()


def fitted(batch: np.ndarray, space: gym.Space[Any]) -> np.ndarray:
    """Observations [N, ...] in the shape and dtype of their array space; BadValue if a value would change.

    float64 may become float32, and integers floats: everything else must keep its value.
    """
    if batch.dtype == space.dtype and batch.shape[1:] == space.shape:
        return batch
    shape, dtype = (len(batch), *(space.shape or ())), np.dtype(space.dtype)
    if batch.dtype.kind not in "biuf":
        raise BadValue("gave an observation that is not an array of numbers")
    if batch.shape != shape:
        if not isinstance(space, spaces.Discrete) or batch.size != len(batch):
            raise BadValue(f"gave an observation of shape {batch.shape[1:]} but its space says {shape[1:]}")
        batch = batch.reshape(shape)
    if batch.dtype == dtype:
        return batch
    if dtype.kind == "f":
        return narrowed(batch, dtype)
    with np.errstate(invalid="ignore"):  # a NaN that becomes an integer is caught below
        cast = batch.astype(dtype)
    if not np.array_equal(cast, batch):
        wrong = batch[cast != batch][0]
        raise BadValue(f"gave {wrong} in an observation of {batch.dtype} but its space says {dtype}")
    return cast


def narrowed(batch: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Observations in a dtype that at most rounds them; BadValue for a number out of its range, as 1e300 in float32."""
    try:
        with np.errstate(over="raise"):
            cast = batch.astype(dtype)
    except FloatingPointError:
        largest = np.nanmax(np.abs(np.where(np.isinf(batch), 0.0, batch)))
        raise BadValue(f"gave {largest:g} (or its negative) in an observation, which {dtype} cannot hold") from None
    if batch.dtype == np.uint64 and dtype == np.int64 and (cast < 0).any():
        raise BadValue(f"gave {batch.max()} in an observation, which {dtype} cannot hold")
    return cast


def check_finite(batch: np.ndarray) -> None:
    """BadValue where floats hold NaN or an infinity, which no network takes and no cell of a table has a place for.

    The sum of squares is finite where all are: one call of BLAS, and a second look only where it overflows.
    """
    if not math.isfinite(np.vdot(batch, batch)):
        wrong = ~np.isfinite(batch)
        if wrong.any():
            row = f" of row {np.argwhere(wrong)[0, 0]}" if len(batch) > 1 else ""
            raise BadValue(f"gave {batch[wrong][0]} in an observation{row}, whose numbers have to be finite")


def check_range(batch: np.ndarray, space: gym.Space[Any]) -> None:
    """BadValue if a number is outside its Discrete, MultiDiscrete or MultiBinary space [N, ...]."""
    if isinstance(space, spaces.Discrete):
        low, high = int(space.start), int(space.start) + int(space.n) - 1
        for value in batch.tolist():  # faster than an array's reductions up to some hundred rows
            if not low <= value <= high:
                raise BadValue(f"gave the observation {value} but its space says {low} to {high}")
    elif isinstance(space, spaces.MultiDiscrete):
        last = space.start + space.nvec - 1
        beyond = (batch < space.start) | (batch > last)
        if beyond.any():
            row = batch[beyond.reshape(len(batch), -1).any(1)][0]
            raise BadValue(f"gave the observation {row.tolist()} but its space says up to {last.tolist()}")
    elif isinstance(space, spaces.MultiBinary) and (batch & ~1).any():
        raise BadValue(f"gave {batch[(batch & ~1) != 0].flat[0]} in an observation of bits")


def problem(observation: Any, space: gym.Space[Any]) -> str | None:
    """The problem with one observation, including Dict and Tuple parts; None if it is valid."""
    try:
        if isinstance(space, (spaces.Dict, spaces.Tuple)):
            return _problem_of_parts(observation, space)
        array = as_array(observation)
        if array.dtype.kind not in "biuf":
            return f"gave the observation {shown(observation)}, which is not an array of numbers"
        batch = fitted(array[None], space)
        check_range(batch, space)
        if batch.dtype.kind == "f":
            check_finite(batch)
    except BadValue as error:
        return str(error)
    return None


def _problem_of_parts(observation: Any, space: spaces.Dict | spaces.Tuple[Any]) -> str | None:
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
    for key, part in parts:
        try:
            value = observation[key]
        except (KeyError, IndexError, TypeError):
            return f"gave an observation without the part {key!r} of its space"
        if found := problem(value, part):
            return f"{found} (part {key!r})"
    return None


def outside(observation: Any, space: gym.Space[Any]) -> str | None:
    """How an observation leaves the bounds of its Box, apart from rounding; None if it does not.

    Also if a Dict or Tuple has more parts than its space. Neither changes anything, so a run can continue;
    but networks that scale by the bounds may be affected.
    """
    if isinstance(space, spaces.Dict):
        more = [key for key in observation if key not in space.spaces]
        if more:
            return f"gave the part {more[0]!r} of an observation, which its space does not have: it is ignored"
        found = (outside(observation[key], part) for key, part in space.spaces.items())
        return next((text for text in found if text), None)
    if isinstance(space, spaces.Tuple):
        if len(observation) > len(space):
            many = f"{len(observation)} parts of an observation, but its space has {len(space)}"
            return f"gave {many}: the others are ignored"
        found = (outside(value, part) for value, part in zip(observation, space.spaces, strict=True))
        return next((text for text in found if text), None)
    if not isinstance(space, spaces.Box):
        return None
    value = as_array(observation).astype(np.float64)
    slack = 1e-5 * np.maximum(1.0, np.abs(value))
    wrong = (value < space.low - slack) | (value > space.high + slack)
    if not wrong.any():
        return None
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    low, high = space.low[place], space.high[place]
    return f"gave {value[place]:g} at {list(place)} of an observation but its space says {low:g} to {high:g}"


def shown(value: Any) -> str:
    """A value on one line, shortened if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def as_array(value: Any) -> np.ndarray:
    """A value as an array; a tensor is copied from its device."""
    if hasattr(value, "detach"):  # torch, without importing it
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # for example parts of unequal lengths
        return np.empty((), object)
