"""Observations as vectors: the input of a fully connected network for each kind of space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    import torch
    from torch import nn

Obs = Any  # a tensor or a nested dict of them; `envs.step.Obs`, which networks do not import
DTYPES = {"float64": "float32", "longdouble": "float32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}
"""Dtypes of a space that differ as tensors."""
UNBOUNDED = 1e18
"""Bounds beyond it say nothing: some spaces have the largest float as a bound."""


class Vector(nn.Module):
    """Any observation as one float32 vector [B, out_features].

    Box and MultiBinary are flattened, uint8 scaled by 1/255; Discrete and MultiDiscrete become one-hot; the parts of
    a Dict (in the space's order) or Tuple (keys "0", "1", …) follow each other. Floats [B, n] in place of choices are
    read as they are, so that a network can be differentiated by them. With `scale` the other numbers of a Box are
    scaled from their bounds to [-1, 1]; those without two finite bounds stay as they are.

    Raises:
        ValueError: a space of another kind.
    """

    def __init__(self, space: gym.Space[Any], *, scale: bool = False) -> None:
        super().__init__()
        self.is_identity = False  # the observation is its own vector
        self.out_features = 0
        self.parts, self.keys = nn.ModuleList(), list[str]()
        if isinstance(space, spaces.Dict | spaces.Tuple):
            named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
            vectors = {str(key): Vector(part, scale=scale) for key, part in named}
            self.parts, self.keys = nn.ModuleList(vectors.values()), list(vectors)
            self.out_features, self.kind = sum(part.out_features for part in vectors.values()), "parts"
        elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec).flatten()
            offset = np.cumsum(sizes) - sizes - np.asarray(space.start).flatten()
            self.register_buffer("offset", torch.from_numpy(offset.astype(np.int64)), persistent=False)
            self.out_features, self.kind = int(sizes.sum()), "one-hot"
        elif isinstance(space, spaces.Box | spaces.MultiBinary):
            self.out_features = int(np.prod(space.shape))
            self.kind = "image" if space.dtype == np.uint8 and isinstance(space, spaces.Box) else "flat"
            floats = np.issubdtype(space.dtype, np.floating) and space.dtype != np.float16  # as tensors float32
            self.is_identity = len(space.shape) == 1 and floats
            if scale and self.kind == "flat" and isinstance(space, spaces.Box):
                self._scale_from(space)
        else:
            raise ValueError(
                f"a network cannot read a {type(space).__name__} observation; "
                "use Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them"
            )

    def _scale_from(self, space: spaces.Box) -> None:
        """Map the bounds of a Box to -1 and 1."""
        low, high = (bound.astype(np.float64).flatten() for bound in (space.low, space.high))
        bounded = (np.abs(low) < UNBOUNDED) & (np.abs(high) < UNBOUNDED) & (low < high)
        middle, reach = np.where(bounded, (low + high) / 2, 0.0), np.where(bounded, (high - low) / 2, 1.0)
        self.register_buffer("middle", torch.from_numpy(middle.astype(np.float32)), persistent=False)
        self.register_buffer("reach", torch.from_numpy(reach.astype(np.float32)), persistent=False)
        self.is_identity, self.kind = False, "scaled"

    def forward(self, obs: Obs) -> Tensor:
        vector: Tensor
        if self.kind == "flat":
            vector = obs.reshape(obs.shape[0], -1).float()
        elif self.kind == "scaled":
            vector = (obs.reshape(obs.shape[0], -1).float() - self.middle) / self.reach
        elif self.kind == "image":
            vector = obs.reshape(obs.shape[0], -1) * (1 / 255)
        elif self.kind == "one-hot" and obs.is_floating_point():
            vector = obs
        elif self.kind == "one-hot":
            index = obs.reshape(obs.shape[0], -1) + self.offset  # [B, parts]
            vector = functional.one_hot(index, self.out_features).sum(1).float()
        else:
            vector = torch.cat([part(obs[key]) for key, part in zip(self.keys, self.parts, strict=True)], 1)
        return vector
