"""Gymnasium spaces as JSON and back, so that a checkpoint can be loaded as a working agent without its environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def encode(space: gym.Space[Any]) -> dict[str, Any]:
    """The space in JSON values; ValueError names a space that cannot be encoded."""
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound(space.low), "high": _bound(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [encode(part) for part in space.spaces]}
    if isinstance(space, spaces.Dict):
        integers = [str(key) for key in space.spaces if not isinstance(key, str)]
        return {
            "type": "Dict",
            "spaces": {str(key): encode(part) for key, part in space.spaces.items()},
            **({"integer_keys": integers} if integers else {}),  # their order is not alphabetical
        }
    raise ValueError(f"a {type(space).__name__} space cannot be kept in a checkpoint; use Box, Discrete, Dict or Tuple")


def decode(encoded: dict[str, Any]) -> gym.Space[Any]:
    """The space that `encode` wrote; ValueError for anything else."""
    kind = encoded.get("type")
    if kind == "Discrete":
        return spaces.Discrete(encoded["n"], start=encoded["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(encoded["nvec"], start=encoded["start"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(encoded["n"])
    if kind == "Box":
        shape, dtype = tuple(encoded["shape"]), np.dtype(encoded["dtype"])
        low, high = (_bounds(encoded[name], shape, dtype) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Tuple":
        return spaces.Tuple([decode(part) for part in encoded["spaces"]])
    if kind == "Dict":
        integers = set(encoded.get("integer_keys", ()))
        parts: dict[Any, gym.Space[Any]] = {
            int(key) if key in integers else key: decode(part) for key, part in encoded["spaces"].items()
        }
        return spaces.Dict(list(parts.items()))  # of a dict Gymnasium would sort the keys
    raise ValueError(f"unknown space {kind!r}")


def _bound(values: Any) -> Any:
    """One value if all are equal, else all of them; infinities as text, because JSON has no numbers for them."""
    values = np.asarray(values)
    if values.size and (values == values.flat[0]).all():
        return _text(values.flat[0].item())
    return [_text(value) for value in values.flatten().tolist()]


def _text(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def _bounds(bound: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    if isinstance(bound, list):
        return np.array([_value(value) for value in bound], dtype).reshape(shape)
    return np.full(shape, _value(bound), dtype)


def _value(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value
