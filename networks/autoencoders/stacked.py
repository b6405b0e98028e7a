"""Fully connected layers that are trained one by one, and those that undo them (Bengio et al. 2007)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.layers.activations import Activate
from gymnast.networks.layers.init import initialise


class Mirror(nn.Module):
    """Undoes fully connected layers, the highest first: latents [B, L] to vectors [B, K].

    Each level but the lowest ends in the activation of the encoder's level below. With `tied` a level's weights are the
    encoder's, transposed (Vincent et al. 2010), and only its biases are its own.
    """

    def __init__(
        self,
        encoder: Sequence[nn.Linear],
        activations: Sequence[Activate],
        *,
        activation: str,
        tied: bool,
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.activations = tuple(activations)
        self.encoder = tuple(encoder)  # a tuple keeps them from being layers of the decoder too
        self.biases = nn.ParameterList(torch.zeros(layer.in_features) for layer in encoder)
        self.weights = nn.ParameterList()
        for level, layer in enumerate([] if tied else encoder):
            made = nn.Linear(layer.out_features, layer.in_features)
            initialise(made, init, activation=activation if level else None, generator=generator)
            self.weights.append(made.weight)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the biases of the output, [K]."""
        self.biases[0].copy_(mean)

    def down(self, hidden: Tensor, level: int) -> Tensor:
        """The outputs of an encoder's level as those of the level below, or as vectors at level 0."""
        weight = self.weights[level] if len(self.weights) else self.encoder[level].weight.T
        below = functional.linear(hidden, weight, self.biases[level])
        return self.activations[level - 1](below) if level else below

    def forward(self, latent: Tensor) -> Tensor:
        for level in range(len(self.encoder) - 1, -1, -1):
            latent = self.down(latent, level)
        return latent


class Seen(nn.Module):
    """Counts the examples that a network has learned from."""

    examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))
