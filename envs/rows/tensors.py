"""Gymnasium's observations and actions to tensors and back; the results never share memory with an environment."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows import incoming
from gymnast.envs.step import Obs, children, map_obs, tensor_dtype, to_tensor

Batcher = Callable[[Sequence[Any]], Obs]
"""Copies N single observations into one batched observation."""


def batcher(space: gym.Space[Any], device: torch.device) -> Batcher:
    """The function that copies observations of a space into tensors; ValueError names an unsupported space."""
    if isinstance(space, (spaces.Discrete, spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        return _stacker(space, device)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        _check_keys(space)
        parts = [(name, key, batcher(part, device)) for name, key, part in children(space)]
        return lambda observations: {
            name: part([observation[key] for observation in observations]) for name, key, part in parts
        }
    raise ValueError(
        f"observations in a {type(space).__name__} space are not supported: wrap the environment with "
        "gymnasium.wrappers.TransformObservation to give Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
    )


def without_text(space: gym.Space[Any], name: str) -> gym.Space[Any]:
    """An observation space without the text in its Dicts, such as MiniGrid's mission; a warning names it."""
    if not isinstance(space, spaces.Dict):
        return space
    text = [key for key, part in space.spaces.items() if part.dtype is not None and part.dtype.kind == "U"]
    if text:
        warnings.warn(f"{name}: the text {', '.join(map(repr, text))} of its observations is ignored", EnvWarning, 2)
    parts = {key: without_text(part, name) for key, part in space.spaces.items() if key not in text}
    changed = text or any(parts[key] is not space.spaces[key] for key in parts)
    return spaces.Dict(parts) if changed and parts else space


def check_observations(space: gym.Space[Any], name: str) -> None:
    """ValueError for a space whose observations are empty."""
    if not any(_size(part) for part in _parts(space)):
        raise ValueError(f"{name} has observations in {space}, which have no numbers to learn from")


def _parts(space: gym.Space[Any]) -> Iterator[gym.Space[Any]]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        for _, _, part in children(space):
            yield from _parts(part)
    else:
        yield space


def _size(space: gym.Space[Any]) -> int:
    """Numbers of an observation of an array space."""
    return int(np.prod(space.shape or ()))


def _check_keys(space: spaces.Dict | spaces.Tuple[Any]) -> None:
    """ValueError if two keys of a Dict have the same text, by which the parts are named."""
    names: set[str] = set()
    for name, key, _ in children(space):
        if not isinstance(key, (str, int, np.integer)) or isinstance(key, bool):
            raise ValueError(f"a Dict observation has the key {key!r}, which is not supported: use texts or integers")
        if name in names:
            raise ValueError(f"a Dict observation has the keys {name!r} and {name}, which cannot be told apart")
        names.add(name)


def _stacker(space: gym.Space[Any], device: torch.device) -> Batcher:
    """Of an array space. Raises ValueError if observations do not match it; `problem` gives the details."""
    on_cpu = device.type == "cpu"
    given, shape, dtype = np.dtype(space.dtype), space.shape or (), tensor_dtype(space)
    numbered = not isinstance(space, spaces.Box)
    floats = dtype.kind == "f"

    def stack(observations: Sequence[Any]) -> Tensor:
        batch = np.array(observations)  # copies
        if batch.dtype is not given or batch.shape[1:] != shape:
            batch = incoming.fitted(batch, space)
        if numbered:
            incoming.check_range(batch, space)
        if dtype is not given:
            batch = incoming.narrowed(batch, dtype)
        if floats:
            incoming.check_finite(batch)
        return torch.from_numpy(batch) if on_cpu else to_tensor(batch, device)

    return stack


def row_actions(space: gym.Space[Any]) -> Callable[[Tensor], list[Any]]:
    """The function that takes a batch of actions apart: ints for Discrete, else one array per row, all copies."""
    if isinstance(space, spaces.Discrete):
        return lambda action: action.tolist()
    return lambda action: list(np.array(action.detach().cpu().numpy(), space.dtype))


def check_actions(space: gym.Space[Any], name: str) -> None:
    """ValueError for a space whose actions are not a single tensor."""
    if not isinstance(space, (spaces.Discrete, spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise ValueError(
            f"{name} has actions in a {type(space).__name__} space, which is not supported: wrap the environment with "
            "gymnasium.wrappers.TransformAction to take Discrete, MultiDiscrete, MultiBinary or Box actions"
        )
    if not _size(space):
        raise ValueError(f"{name} has actions in {space}, which have no numbers to choose")


def select_rows(obs: Obs, rows: np.ndarray) -> Obs:
    """A copy of these rows."""
    return map_obs(lambda tensor: tensor[rows], obs)


def replace_rows(obs: Obs, rows: np.ndarray, values: Obs) -> Obs:
    """A copy of the batch in which these rows are `values`, in order."""
    if isinstance(obs, dict) and isinstance(values, dict):
        return {key: replace_rows(obs[key], rows, values[key]) for key in obs}
    assert isinstance(obs, Tensor)
    assert isinstance(values, Tensor)
    replaced = obs.clone()
    replaced[rows] = values
    return replaced


def leaves(obs: Obs) -> Iterator[Tensor]:
    """The tensors of an observation."""
    if isinstance(obs, dict):
        for part in obs.values():
            yield from leaves(part)
    else:
        yield obs


def equal(left: Obs, right: Obs) -> bool:
    """Whether two batches are the same bit for bit, NaN included."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    assert isinstance(left, Tensor)
    assert isinstance(right, Tensor)
    return left.cpu().numpy().tobytes() == right.cpu().numpy().tobytes()


def arrays_to_tensors(value: Any) -> Any:
    """The same nesting of dicts and lists with tensors instead of arrays, as in snapshots."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: arrays_to_tensors(part) for key, part in value.items()}
    return [arrays_to_tensors(part) for part in value] if isinstance(value, list) else value


def tensors_to_arrays(value: Any) -> Any:
    """Undo `arrays_to_tensors`."""
    if isinstance(value, Tensor):
        return value.cpu().numpy().copy()
    if isinstance(value, dict):
        return {key: tensors_to_arrays(part) for key, part in value.items()}
    return [tensors_to_arrays(part) for part in value] if isinstance(value, list) else value
