"""A stack of restricted Boltzmann machines, each of which models the hidden units of the one below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gymnast.networks.energy.rbm import RBM


class Stack(nn.Module):
    """RBMs that are trained from the lowest to the highest (Hinton, Osindero & Teh 2006): a deep belief network.

    Raises:
        ValueError: none, or sizes that do not follow each other.
    """

    def __init__(self, rbms: Sequence[RBM]) -> None:
        super().__init__()
        if not rbms:
            raise ValueError("a stack needs at least one RBM")
        for below, above in pairwise(rbms):
            if below.layer.out_features != above.layer.in_features:
                raise ValueError(
                    f"an RBM over {below.layer.out_features} hidden units must have as many visible ones, "
                    f"got {above.layer.in_features}"
                )
        self.rbms = nn.ModuleList(rbms)

    def __getitem__(self, level: int) -> RBM:
        found = self.rbms[level]
        assert isinstance(found, RBM)
        return found

    def __len__(self) -> int:
        return len(self.rbms)

    @torch.no_grad()
    def up(self, inputs: Tensor, level: int) -> Tensor:
        """Inputs [B, V] as the visible units of an RBM: probabilities of the hidden units of the one below it."""
        for below in range(level):
            inputs = self[below].layer(inputs).sigmoid()
        return self[level].visible(inputs)

    @torch.no_grad()
    def down(self, visible: Tensor, level: int, generator: torch.Generator) -> Tensor:
        """Visible units of an RBM as inputs [B, V]: units drawn on the way, means at the lowest."""
        for below in range(level - 1, -1, -1):
            rbm = self[below]
            visible = rbm.sample_visible(visible, generator) if below else rbm.visible_mean(visible)
        return self[0].inputs(visible)

    @torch.no_grad()
    def sample(self, start: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Inputs [B, V] of so many Gibbs steps in the highest RBM, from inputs [B, V].

        The last step of the lowest RBM gives means, not drawn units.
        """
        top = len(self) - 1
        rbm = self[top]
        visible = rbm.gibbs(self.up(start, top), steps, generator)
        if top:
            return self.down(visible, top, generator)
        return rbm.inputs(rbm.visible_mean(rbm.sample_hidden(visible, generator)))
