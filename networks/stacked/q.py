"""Many Q networks of one form at once: each has its own row of parameters, every layer is one batched product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.heads.q import SHARED, DuelingHead, ImplicitHead, QHead, QNetwork, Stream
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.noisy import NoisyLinear
from gymnast.networks.stacked.layers import Parts, StackedParameters, check_plain, linear, mlp, noisy_linear


class StackedQNetwork(StackedParameters):
    """Computes a `QNetwork` of fully connected layers with M rows of parameters.

    `noise_size` and `fractions` are those of the network.

    Raises:
        ValueError: for a backbone that is not a plain MLP.
    """

    def __init__(self, network: QNetwork) -> None:
        if type(network.backbone) is not MLP:
            raise ValueError("a population needs a fully connected network: use backbone mlp")
        check_plain(network.backbone)
        super().__init__(network)
        self.backbone, self.head = network.backbone, network.head
        self.noise_size, self.fractions = network.noise_size, network.fractions

    def __call__(self, parameters: Tensor, obs: Obs, noise: Tensor | None = None) -> Tensor:
        """Outputs [M, B, A, K] of observations [M * B, ...], grouped by member.

        Of the noise [M, R, C] each row is shared by B / R successive rows of its member; see `QNetwork`.
        """
        parts = self.split(parameters)
        return _head(parts, "head", self.head, mlp(parts, "backbone", self.backbone, obs), noise)


def _head(parts: Parts, name: str, head: nn.Module, features: Tensor, noise: Tensor | None) -> Tensor:
    """Features [M, B, F] to the output of the named head, [M, B, A, K]."""
    if isinstance(head, ImplicitHead):
        return _implicit(parts, name, head, features, noise)
    assert isinstance(head, QHead | DuelingHead)
    shape = (*features.shape[:2], head.actions, head.outputs)
    if isinstance(head, QHead):
        return _stream(parts, f"{name}.stream", head.stream, features, noise).view(shape)
    features = torch.lerp(features.detach(), features, SHARED)  # as in `DuelingHead`
    value = _stream(parts, f"{name}.value", head.value, features, noise).unsqueeze(2)  # [M, B, 1, K]
    advantage = _stream(parts, f"{name}.advantage", head.advantage, features, noise).view(shape)
    if head.aggregation == "mean":
        return value + advantage - advantage.mean(2, keepdim=True)
    return value + advantage - advantage.amax(2, keepdim=True)


def _implicit(parts: Parts, name: str, head: ImplicitHead, features: Tensor, noise: Tensor | None) -> Tensor:
    """Quantiles and their fractions, [M, B, A, 2K], as `ImplicitHead` gives them."""
    (members, rows, size), count = features.shape, head.quantiles
    if noise is None:
        tau = head.midpoints.expand(members, rows, count)
    else:
        tau = noise[..., head.offset :].reshape(members, rows, count)
    cosines = torch.cos(tau.unsqueeze(3) * head.frequencies).flatten(1, 2)  # [M, B * K, cosines]
    phi = torch.relu(linear(parts, f"{name}.embedding", cosines)).view(members, rows, count, size)
    values = _head(parts, f"{name}.head", head.head, (features.unsqueeze(2) * phi).flatten(1, 2), noise)
    values = values.view(members, rows, count, -1).transpose(2, 3)  # [M, B, A, K]
    return torch.cat([values, tau.unsqueeze(2).expand_as(values)], 3)


def _stream(parts: Parts, name: str, stream: Stream, features: Tensor, noise: Tensor | None) -> Tensor:
    """Features [M, B, F] to the output of a stream, [M, B, out_features]."""
    activate = FUNCTIONS[stream.activation]
    for number, layer in enumerate(stream.hidden):
        features = activate(_layer(parts, f"{name}.hidden.{number}", layer, features, noise))
    return _layer(parts, f"{name}.output", stream.output, features, noise)


def _layer(parts: Parts, name: str, layer: nn.Module, features: Tensor, noise: Tensor | None) -> Tensor:
    if noise is None or not isinstance(layer, NoisyLinear):
        return linear(parts, name, features)
    return noisy_linear(parts, name, layer, features, noise)
