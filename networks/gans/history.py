"""What a generator made of the same latents over the course of its training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROWS = 8
"""Moments that are kept, at most."""


class History(nn.Module):
    """Values [R, N, *shape] generated from latents [N, L] at moments that lie equally far apart.

    The distance is one update at first; when there are more than `ROWS` moments every other one is dropped, and the
    distance doubles. Numbers between 0 and 1 (`unit`) are kept in eight bits.
    """

    latent: Tensor
    kept: Tensor
    seen: Tensor
    """Updates so far."""
    apart: Tensor
    """Updates from one moment to the next."""
    count: Tensor
    """Moments that are kept."""

    def __init__(self, latent: Tensor, shape: tuple[int, ...], *, unit: bool) -> None:
        super().__init__()
        self.unit = unit
        dtype = torch.uint8 if unit else torch.float32
        self.register_buffer("latent", latent)
        self.register_buffer("kept", torch.zeros((ROWS + 1, len(latent), *shape), dtype=dtype))
        for name, value in (("seen", 0), ("apart", 1), ("count", 0)):
            self.register_buffer(name, torch.tensor(value))

    @property
    def is_due(self) -> bool:
        """Whether the coming update begins at such a moment."""
        return int(self.seen) % int(self.apart) == 0

    def keep(self, values: Tensor) -> None:
        """Keep the values [N, *shape] of this moment."""
        self.kept[int(self.count)] = (values * 255).round().to(torch.uint8) if self.unit else values
        self.count += 1
        if int(self.count) > ROWS:
            every = self.kept[::2].clone()
            self.kept[: len(every)] = every
            self.count.fill_(len(every))
            self.apart *= 2

    def moments(self) -> dict[int, Tensor]:
        """Values [N, *shape] by the number of updates before them."""
        rows = self.kept[: int(self.count)]
        return {number * int(self.apart): row / 255 if self.unit else row for number, row in enumerate(rows)}

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load it, unless it is of an earlier moment of the same run: the picture is of all of its training."""
        name = f"{prefix}seen"
        if name in state and int(state[name]) < int(self.seen):
            return
        super()._load_from_state_dict(state, prefix, *rest)
