"""Critics and a policy with memories of their own: recurrent layers between an encoder and the layers of each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.heads.members import Members
from gymnast.networks.layers.recurrent import Core


class History(nn.Module):
    """A recurrent core that reads an encoder's features [F] and the action before them [D].

    Its output, `out_features` numbers, is the core's with the features beside it: what is seen now need not pass
    through the memory.
    """

    def __init__(self, core: Core, features: int) -> None:
        super().__init__()
        self.core = core
        self.out_features, self.memory_size = core.out_features + features, core.memory_size

    def step(self, features: Tensor, before: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step: features [N, F], actions before them [N, D], memory [N, M]; the output and the memory after it."""
        output, memory = self.core.step(torch.cat([features, before], 1), memory)
        return torch.cat([output, features], 1), memory

    def forward(self, features: Tensor, before: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """Sequences [B, T, F] with [B, T, D], bool [B, T] and the memory before them [B, M] to [B, T, out_features].

        The memory is zero before each step that `start` marks.
        """
        output: Tensor = self.core(torch.cat([features, before], 2), start, memory)
        return torch.cat([output, features], 2)

    def after(self, features: Tensor, before: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M] after the sequences that `forward` takes."""
        return self.core.after(torch.cat([features, before], 2), start, memory)


class RecurrentCriticNetwork(CriticNetwork):
    """A `CriticNetwork` whose critics read what `history` makes of the encoder's features."""

    def __init__(self, encoder: nn.Module, history: History, critics: Members, *, choices: int, outputs: int) -> None:
        super().__init__(encoder, critics, choices=choices, outputs=outputs)
        self.history = history


class RecurrentPolicyNetwork(PolicyNetwork):
    """A `PolicyNetwork` whose layers read what `history` makes of the encoder's features."""

    def __init__(self, history: History, layers: Members) -> None:
        super().__init__(layers)
        self.history = history
