"""Many Q networks of one form at once: each has its own row of parameters, every layer is one batched product."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.heads.q import SHARED, DuelingHead, QHead, QNetwork, Stream
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.stacked.layers import Parts, StackedParameters, linear, mlp


class StackedQNetwork(StackedParameters):
    """Computes a `QNetwork` of fully connected layers with M rows of parameters.

    Raises:
        ValueError: for a backbone that is not an MLP, or a network with noise.
    """

    def __init__(self, network: QNetwork) -> None:
        if type(network.backbone) is not MLP:
            raise ValueError("a population needs a fully connected network: use backbone mlp")
        if not isinstance(network.head, QHead | DuelingHead) or network.noise_size:
            raise ValueError("a population needs a plain or a dueling head without noise")
        super().__init__(network)
        self.backbone, self.head = network.backbone, network.head

    def __call__(self, parameters: Tensor, obs: Obs) -> Tensor:
        """Outputs [M, B, A, K] of observations [M * B, ...], grouped by member."""
        parts, head = self.split(parameters), self.head
        features = mlp(parts, "backbone", self.backbone, obs)
        shape = (*features.shape[:2], head.actions, head.outputs)
        if isinstance(head, QHead):
            return _stream(parts, "head.stream", head.stream, features).view(shape)
        features = torch.lerp(features.detach(), features, SHARED)  # as in `DuelingHead`
        value = _stream(parts, "head.value", head.value, features).unsqueeze(2)  # [M, B, 1, K]
        advantage = _stream(parts, "head.advantage", head.advantage, features).view(shape)
        if head.aggregation == "mean":
            return value + advantage - advantage.mean(2, keepdim=True)
        return value + advantage - advantage.amax(2, keepdim=True)


def _stream(parts: Parts, name: str, stream: Stream, features: Tensor) -> Tensor:
    """Features [M, B, F] to what a stream gives, [M, B, out_features]."""
    for number in range(len(stream.hidden)):
        features = ACTIVATIONS[stream.activation](linear(parts, f"{name}.hidden.{number}", features))
    return linear(parts, f"{name}.output", features)
