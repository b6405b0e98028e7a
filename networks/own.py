"""A user's own backbone, checked before use on two observations of the space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.layers.inputs import DTYPES, Obs


def checked(module: object, name: str, space: gym.Space[Any]) -> nn.Module:
    """The module, if it is a backbone; its lazy layers get their sizes here.

    Raises:
        ValueError: its features of observations [B, ...] are not float32 [B, out_features].
    """
    if not isinstance(module, nn.Module) or not _counts(getattr(module, "out_features", None)):
        raise ValueError(f"network {name} must be an nn.Module with an integer attribute out_features >= 1")
    obs, before = observations(space, _device(module)), observations(space, _device(module))
    module.eval()
    try:
        with torch.no_grad():
            features = module(obs)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ValueError(
            f"network {name} failed on 2 observations of {space}: {type(error).__name__}: {text}"
        ) from error
    wanted = f"features must be a float32 tensor [2, {module.out_features}] for 2 observations (out_features)"
    if not isinstance(features, Tensor):
        raise ValueError(f"network {name} returned a {type(features).__name__}; its {wanted}")
    if features.dtype != torch.float32 or features.shape != (2, module.out_features) or features.is_meta:
        found = f"{str(features.dtype)[6:]} {list(features.shape)}{' on the device meta' * features.is_meta}"
        raise ValueError(f"network {name} returned {found}; its {wanted}")
    if not features.isfinite().all():
        raise ValueError(f"network {name} returned features that are infinite or not a number")
    if not _same(obs, before):
        raise ValueError(f"network {name} writes to its observations, which others read too; copy them first")
    return module


def observations(space: gym.Space[Any], device: torch.device) -> Obs:
    """Two observations of a space, its lowest ones: tensors as environments give them."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return {str(key): observations(part, device) for key, part in parts}
    dtype = "int64" if isinstance(space, spaces.Discrete) else np.dtype(space.dtype).name
    lowest: Any = getattr(space, "start", 0)
    if isinstance(space, spaces.Box):
        lowest = np.where(np.isfinite(space.low), space.low, 0)
    array = np.broadcast_to(lowest, (2, *(space.shape or ()))).astype(DTYPES.get(dtype, dtype), order="C")
    return torch.from_numpy(array).to(device)


def _counts(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def _device(module: nn.Module) -> torch.device:
    """The device of its first weights; meta weights have no data, so observations cannot move there."""
    weights = next(module.parameters(), None)
    return torch.device("cpu") if weights is None or weights.is_meta else weights.device


def _same(left: Obs, right: Obs) -> bool:
    if isinstance(left, dict):
        return all(_same(left[key], right[key]) for key in left)
    return bool(torch.equal(left, right))
