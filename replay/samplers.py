"""Samplers choose which transitions an update learns from, and what their losses are weighted by."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Sampler(Protocol):
    """Draws slots of a ring on the CPU."""

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        """Fill `index`, int64 [B], with `ready` slots (bool [slots], `count` of them), and `weight`."""
        ...

    def update(self, index: Tensor, error: Tensor) -> None:
        """Take in the errors [B], >= 0 and unweighted, that the sampled transitions had."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Uniform:
    """Every ready transition with the same probability, with replacement; weight 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        # Rejection: uniform slots of which the ready ones are kept are uniform over the ready ones.
        filled = 0
        while filled < len(index):
            missing = len(index) - filled
            drawn = self.rng.integers(len(ready), size=missing * len(ready) // count + missing // 8 + 1)
            kept = drawn[ready[drawn]][:missing]
            index[filled : filled + len(kept)] = kept
            filled += len(kept)
        weight[:] = 1.0

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class DeviceSampler(Protocol):
    """Draws slots of a ring on a device; nothing is read by the host."""

    def sample(self, ready: Tensor, index: Tensor, weight: Tensor) -> None: ...

    def update(self, index: Tensor, error: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class DeviceUniform:
    """`Uniform` where all tensors lie on a device: the k-th ready slot for uniform k, found in a running sum."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def sample(self, ready: Tensor, index: Tensor, weight: Tensor) -> None:
        running = ready.cumsum(0)  # int64 [slots]
        drawn = torch.randint(2**62, index.shape, generator=self.generator, device=index.device)
        rank = drawn % running[-1] + 1  # as good as uniform: 2**62 is far more than the slots of any ring
        torch.searchsorted(running, rank, out=index)
        weight.fill_(1.0)

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())
