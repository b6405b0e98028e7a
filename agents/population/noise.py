"""Random numbers of many agents at once, with a leading axis of members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import restore_generator, seed_sequence, torch_seed
from gymnast.networks.layers import noisy


class Noise(Protocol):
    """A stream of numbers for each of M members; a member's draws do not depend on the others."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators that a recorded graph must know."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [M, *shape]."""
        ...

    def double(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float64 [M, *shape]: the draws of agents that act in NumPy on the CPU."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 [M, *shape]."""
        ...

    def fill(self, noise: Tensor, kind: noisy.Noise, *, weights: int) -> None:
        """`draw_noise` for each member, [M, ..., C]."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the streams; those of another kind of device, whose state differs, keep their own."""
        ...


MemberSeeds: TypeAlias = Sequence[int | np.random.SeedSequence]
MakeNoise: TypeAlias = Callable[[MemberSeeds, torch.device], Noise]
"""Makes the streams of M members from their seeds."""


class OwnGenerators:
    """A generator for each member, seeded as in its single run: the same numbers, one call per member.

    Single agents draw some numbers by torch and others by NumPy; each generator is made on first use.
    """

    def __init__(self, seeds: MemberSeeds, device: torch.device) -> None:
        self.device = device
        self._seeds = [seed_sequence(seed) for seed in seeds]

    @cached_property
    def generators(self) -> Sequence[torch.Generator]:
        return [torch.Generator(self.device).manual_seed(torch_seed(seed)) for seed in self._seeds]

    @cached_property
    def _numpy(self) -> list[np.random.Generator]:
        return [np.random.Generator(np.random.PCG64(seed)) for seed in self._seeds]

    def uniform(self, *shape: int) -> Tensor:
        drawn = torch.empty((len(self._seeds), *shape), device=self.device)
        for row, generator in zip(drawn.unbind(0), self.generators, strict=True):
            torch.rand(shape, generator=generator, out=row)
        return drawn

    def double(self, *shape: int) -> Tensor:
        drawn = np.empty((len(self._seeds), *shape))
        for row, generator in zip(drawn, self._numpy, strict=True):
            generator.random(out=row)
        return torch.from_numpy(drawn).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        drawn = torch.empty((len(self._seeds), *shape), device=self.device)
        for row, generator in zip(drawn.unbind(0), self.generators, strict=True):
            torch.randn(shape, generator=generator, out=row)
        return drawn

    def fill(self, noise: Tensor, kind: noisy.Noise, *, weights: int) -> None:
        for row, generator in zip(noise.unbind(0), self.generators, strict=True):
            noisy.draw_noise(row, kind, generator, weights=weights)

    def state_dict(self) -> dict[str, Any]:
        return {
            "generators": torch.stack([generator.get_state() for generator in self.generators]),
            "numpy": [generator.bit_generator.state for generator in self._numpy],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "generators" in state:
            for generator, kept in zip(self.generators, state["generators"], strict=True):
                restore_generator(generator, kept.clone())  # a state needs its own storage
            for one, known in zip(self._numpy, state["numpy"], strict=True):
                one.bit_generator.state = known
