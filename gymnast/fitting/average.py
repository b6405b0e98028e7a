"""An average of a network's weights over the updates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gymnast.networks.fast.flat import FlatParameters


class Average:
    """An exponential average of the weights (Polyak & Juditsky 1992).

    The running statistics of batch normalisation are averaged too: those of the current weights do not belong to the
    averaged ones.
    """

    def __init__(self, weights: FlatParameters, decay: float) -> None:
        self.decay = decay
        self._current = [weights.data, *statistics(weights.module)]
        self._averages = [tensor.clone() for tensor in self._current]

    @torch.no_grad()
    def follow(self) -> None:
        """Move a step towards the current weights."""
        torch._foreach_lerp_(self._averages, self._current, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the averages in place of its current weights."""
        kept = [tensor.clone() for tensor in self._current]
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(kept)

    def state(self) -> Tensor:
        """A copy of all averages, flat: the weights first."""
        return torch.cat([tensor.flatten() for tensor in self._averages])

    def restore(self, state: Tensor) -> None:
        """Continue from a `state`; ValueError if it is of another network."""
        sizes = [tensor.numel() for tensor in self._averages]
        if len(state) != sum(sizes):
            raise ValueError(f"the checkpoint has an average of {len(state):,} numbers, and the network {sum(sizes):,}")
        for tensor, part in zip(self._averages, torch.split(state, sizes), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def _put(self, values: list[Tensor]) -> None:
        for tensor, value in zip(self._current, values, strict=True):
            tensor.copy_(value)


def statistics(network: nn.Module) -> list[Tensor]:
    """Running means and variances of the network's batch normalisation, those of its frozen parts left out."""
    frozen = {id(part) for module in network.modules() if getattr(module, "frozen", False) for part in module.modules()}
    found = []
    for module in network.modules():
        if isinstance(module, _BatchNorm) and id(module) not in frozen:
            found += [tensor for tensor in (module.running_mean, module.running_var) if tensor is not None]
    return found
