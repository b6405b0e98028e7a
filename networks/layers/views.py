"""Random views of observations, which an agent learns from, or a contrastive loss tells to be of one observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.layers.augment import random_intensity, random_shift
from gymnast.networks.layers.images import Layout, is_image, leaves
from gymnast.networks.layers.inputs import Obs

SIDE_PER_PAD = 20
"""An image is shifted by up to a twentieth of its shorter side: 4 of 84 pixels, as in DrQ."""
NOISE = 0.1
"""Standard deviation of a vector's noise, in units of its components' deviation over the batch."""


class Views:
    """Random views of observations of a space: images are shifted, other Boxes get normal noise.

    Boxes of three or four axes are images, and so are uint8 ones of two axes that are large enough. `layout` is the
    order of the axes that the network reads, by default the usual one. Discrete parts stay as they are. `intensity` is
    the deviation of a random factor of each image; with `noise` 0 only images change.

    Raises:
        ValueError: a space without a Box, or without `noise` one without an image, of which there are no views.
    """

    def __init__(
        self,
        space: gym.Space[Any],
        *,
        layout: Layout | None = None,
        noise: float = NOISE,
        intensity: float = 0.0,
    ) -> None:
        self.noise, self.intensity = noise, intensity

        def changes(part: gym.Space[Any]) -> bool:
            return isinstance(part, spaces.Box) and (noise > 0 or has_planes(part))

        if not any(changes(part) for _, part in leaves(space)):
            raise ValueError(f"random views need {'Box' if noise else 'image'} observations, got {space}")
        self.parts: dict[str, Views] = {}
        self.layout: Layout | None = None
        self.is_box = isinstance(space, spaces.Box)
        if isinstance(space, spaces.Dict | spaces.Tuple):
            named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
            boxes = ((key, part) for key, part in named if any(changes(one) for _, one in leaves(part)))
            self.parts = {str(key): Views(part, noise=noise, intensity=intensity) for key, part in boxes}
        elif has_planes(space):
            self.layout = Layout.of(space) if layout is None else layout
            assert self.layout is not None
            self.pad = max(1, min(self.layout.planes[1:]) // SIDE_PER_PAD)

    def __call__(self, obs: Obs, generator: torch.Generator) -> Obs:
        """A view of each observation [B, ...], of the same dtypes."""
        if self.parts:
            return {key: self.parts[key](part, generator) if key in self.parts else part for key, part in obs.items()}
        if self.layout is not None:
            moved = random_shift(obs, self.pad, generator, is_last=self.layout.is_last)
            return random_intensity(moved, self.intensity, generator) if self.intensity else moved
        return noisy(obs, generator, scale=self.noise)


def has_planes(space: gym.Space[Any]) -> bool:
    """Whether observations are images, or stacks of them."""
    return len(space.shape or ()) in (3, 4) or is_image(space)


def noisy(vectors: Tensor, generator: torch.Generator, *, scale: float = NOISE) -> Tensor:
    """Vectors [B, ...] with normal noise; integers are rounded and stay in range, bools stay."""
    if vectors.dtype == torch.bool:
        return vectors
    values = vectors.float()
    noise = torch.randn(values.shape, generator=generator, device=values.device)
    values = values + scale * values.std(0, correction=0) * noise
    if vectors.is_floating_point():
        return values.to(vectors.dtype)
    limits = torch.iinfo(vectors.dtype)
    return values.round().clamp(limits.min, limits.max).to(vectors.dtype)
