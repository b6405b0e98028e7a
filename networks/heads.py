"""Heads: from features to what an agent needs."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gymnast.networks.inputs import Obs


class MakeLinear(Protocol):
    """Builds a linear layer; a noisy one fits here as well as `nn.Linear`."""

    def __call__(self, in_features: int, out_features: int) -> nn.Module: ...


class QHead(nn.Module):
    """One linear layer: features [B, F] to K outputs per action, [B, A, K]; what they mean the values object says."""

    def __init__(self, in_features: int, actions: int, outputs: int, *, linear: MakeLinear = nn.Linear) -> None:
        super().__init__()
        self.actions, self.outputs = actions, outputs
        self.output = linear(in_features, actions * outputs)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features)
        return output.view(-1, self.actions, self.outputs)


class QNetwork(nn.Module):
    """A backbone and a head on it; observations [B, ...] to [B, A, K]."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, obs: Obs) -> Tensor:
        q: Tensor = self.head(self.backbone(obs))
        return q
