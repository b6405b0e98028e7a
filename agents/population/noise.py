"""Random numbers of many agents at once, with a leading axis of members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from gymnast.agents.base import restore_generator


class Noise(Protocol):
    """A stream of numbers for each of M members; a member's draws do not depend on the others."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators that a recorded graph must know."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [M, *shape]."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 [M, *shape]."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the streams; those of another kind of device, whose state differs, keep their own."""
        ...


MakeNoise: TypeAlias = Callable[[Sequence[int], torch.device], Noise]
"""Makes the streams of M members from their seeds."""


class OwnGenerators:
    """A generator for each member, seeded as in its single run: the same numbers, one call per member."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        drawn = torch.empty((len(self.generators), *shape), device=self.device)
        for row, generator in zip(drawn.unbind(0), self.generators, strict=True):
            torch.rand(shape, generator=generator, out=row)
        return drawn

    def normal(self, *shape: int) -> Tensor:
        drawn = torch.empty((len(self.generators), *shape), device=self.device)
        for row, generator in zip(drawn.unbind(0), self.generators, strict=True):
            torch.randn(shape, generator=generator, out=row)
        return drawn

    def state_dict(self) -> dict[str, Any]:
        return {"generators": torch.stack([generator.get_state() for generator in self.generators])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "generators" in state:
            for generator, kept in zip(self.generators, state["generators"], strict=True):
                restore_generator(generator, kept.clone())  # a state has to have a storage of its own
