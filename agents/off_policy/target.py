"""Target networks: copies that follow the networks which learn."""

from __future__ import annotations

from torch import nn

from gymnast.networks.fast.flat import FlatParameters


class Target:
    """A copy of a network of the same form, with parameters of its own that do not learn."""

    def __init__(self, network: nn.Module, source: nn.Module, weights: FlatParameters) -> None:
        self.source, self.weights = weights, FlatParameters(network).freeze()
        self._buffers = list(zip(network.buffers(), source.buffers(), strict=True))

    def follow(self, tau: float) -> None:
        """Move a fraction `tau` towards the source; running statistics are copied."""
        self.weights.follow(self.source, tau)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
