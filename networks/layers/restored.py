"""The way back of `Vector`: observations from vectors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.layers.inputs import Obs, Vector


def from_vector(space: gym.Space[Any], vector: Tensor) -> Obs:
    """What `Vector(space)` made a vector [B, K] of: a tensor [B, ...], or a dict of them.

    Numbers of a Box or MultiBinary are float32 in their own units, neither rounded nor clipped, with the gradient of
    `vector`. Of Discrete and MultiDiscrete the largest number of each choice decides, int64.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        inner = {str(key): part for key, part in named}
        split = torch.split(vector, [Vector(part).out_features for part in inner.values()], 1)
        return {key: from_vector(part, own) for (key, part), own in zip(inner.items(), split, strict=True)}
    if isinstance(space, spaces.Discrete):
        return vector.argmax(1) + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        split = torch.split(vector, space.nvec.flatten().tolist(), 1)
        first = torch.from_numpy(space.start.flatten().astype(np.int64)).to(vector.device)
        return (torch.stack([own.argmax(1) for own in split], 1) + first).view(-1, *space.shape)
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        vector = vector * 255.0
    return vector.view(-1, *(space.shape or ()))


def within(space: gym.Space[Any], values: Tensor) -> Tensor:
    """The observations of a space that are nearest to values [B, ...]: integers are rounded, and bounds are kept.

    A number of a MultiBinary, or of a Box of bools, is 1 above 0.5. The result is on the CPU.
    """
    values = values.detach().cpu()
    if not isinstance(space, spaces.Box):
        return (values > 0.5).to(torch.int8) if isinstance(space, spaces.MultiBinary) else values
    if space.dtype == np.bool_:
        return values > 0.5
    numbers = (values.double() if space.dtype.itemsize > 2 else values.float()).numpy()  # exact in the space's dtype
    if np.issubdtype(space.dtype, np.integer):
        numbers = np.rint(numbers)
    return torch.from_numpy(np.clip(numbers, space.low, space.high))
