"""The parts of an observation as a model reads and predicts them: inputs, losses of outputs, and the way back."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.networks.layers.images import Layout, is_image, leaves
from gymnast.networks.layers.inputs import DTYPES, Obs, Vector
from gymnast.networks.layers.restored import from_vector
from gymnast.networks.world_models.symlog import symexp, symlog

SMALLEST = 8
"""Pixels of the shorter side from which a part with the axes of an image is read by convolutions."""


class Part:
    """One tensor of an observation [..., *shape] as numbers for a network, and from a network's outputs.

    Images become planes [..., C, H, W], everything else vectors [..., K]: real numbers their symmetric logarithms,
    bytes numbers in [0, 1], bits 0 or 1, choices one-hot vectors. Floats of a Box from 0 to 1 are shares: they stay as
    they are, and their loss is the cross-entropy of bits, which weighs a cell of a board as much as it tells.

    Raises:
        ValueError: a space of another kind.
    """

    def __init__(self, path: tuple[str, ...], space: gym.Space[Any], *, device: torch.device) -> None:
        self._vector = Vector(space).to(device)
        self.path, self.space = path, space
        self.shape: tuple[int, ...] = tuple(space.shape or ())
        layout = Layout.of(space)
        pictured = layout is not None and (len(layout.shape) > 2 or is_image(space))
        self.layout = layout if layout and pictured and min(layout.planes[1:]) >= SMALLEST else None
        self.kind = _kind(space)
        self.dtype = torch.from_numpy(np.empty(0, DTYPES.get(str(space.dtype), space.dtype))).dtype
        self.size = self._vector.out_features
        """Numbers of the network's input and output."""
        self.choices: list[int] = []
        """Alternatives of each choice."""
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            self.choices = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec).flatten().tolist()
        elif isinstance(space, spaces.Box):
            self.low, self.high = (torch.from_numpy(np.float32(b)).to(device) for b in (space.low, space.high))

    @property
    def planes(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        assert self.layout is not None
        return self.layout.planes

    def of(self, obs: Obs) -> Tensor:
        """This part of an observation."""
        for key in self.path:
            obs = obs[key]
        assert isinstance(obs, Tensor)
        return obs

    def inputs(self, obs: Obs) -> Tensor:
        """The part of observations [B, ...] as float32 [B, C, H, W] or [B, K]."""
        part = self.of(obs)
        if self.layout is not None:
            planes = self.layout.to_planes(part).to(torch.float32, memory_format=torch.channels_last)
            if self.kind != "bytes":
                return planes
            return planes / 255.0 if part.is_floating_point() else planes.div_(255.0)  # a float may not be a copy
        vector: Tensor = self._vector(part)
        return symlog(vector) if self.kind == "real" else vector

    def loss(self, output: Tensor, inputs: Tensor) -> Tensor:
        """Loss [B] of outputs for inputs of the same shape, summed over their numbers."""
        if self.kind == "choices":
            parts = zip(torch.split(output, self.choices, 1), torch.split(inputs, self.choices, 1), strict=True)
            return torch.stack([functional.cross_entropy(a, b, reduction="none") for a, b in parts]).sum(0)
        if self.kind in ("bits", "shares"):
            loss = functional.binary_cross_entropy_with_logits(output, inputs, reduction="none")
        else:
            loss = functional.mse_loss(output.sigmoid() if self.kind == "bytes" else output, inputs, reduction="none")
        return loss.flatten(1).sum(1)

    def predicted(self, output: Tensor) -> Tensor:
        """The most probable observations [B, *shape] of outputs, in the space's dtype and range."""
        if self.kind == "choices":
            chosen: Tensor = from_vector(self.space, output)
            return chosen.to(self.dtype)
        rows = output if self.layout is None else self._from_planes(output)
        rows = rows.reshape(-1, *self.shape)
        if self.kind == "bits":
            return (rows > 0).to(self.dtype)
        if self.kind == "bytes":
            return (rows.sigmoid() * 255.0).round().to(self.dtype)
        if self.kind == "shares":
            return rows.sigmoid().to(self.dtype)
        real = rows if self.layout is not None else symexp(rows)
        return real.clamp(self.low, self.high).to(self.dtype)

    def _from_planes(self, planes: Tensor) -> Tensor:
        """[B, C, H, W] in the order of the space's axes."""
        layout = self.layout
        assert layout is not None
        if not layout.is_last:
            return planes
        channels = layout.shape[-1]
        frames = planes.view(len(planes), -1, channels, *planes.shape[2:])
        return frames.movedim(2, -1)


def parts_of(space: gym.Space[Any], *, device: torch.device) -> list[Part]:
    """The parts of a space, a Dict's or Tuple's one after the other."""
    return [Part(path, part, device=device) for path, part in leaves(space)]


def joined(parts: list[Part], tensors: list[Tensor]) -> Obs:
    """The observation of these parts."""
    if not parts[0].path:
        return tensors[0]
    obs: dict[str, Obs] = {}
    for part, tensor in zip(parts, tensors, strict=True):
        inner = obs
        for key in part.path[:-1]:
            inner = inner.setdefault(key, {})
        inner[part.path[-1]] = tensor
    return obs


def _kind(space: gym.Space[Any]) -> str:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return "choices"
    if isinstance(space, spaces.MultiBinary) or space.dtype == np.bool_:
        return "bits"
    if space.dtype == np.uint8:
        return "bytes"
    assert isinstance(space, spaces.Box)
    return "shares" if (space.low == 0.0).all() and (space.high == 1.0).all() else "real"
