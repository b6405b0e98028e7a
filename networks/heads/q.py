"""Heads: from features to action values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from gymnast.networks.heads.shared_bias import SharedBias
from gymnast.networks.layers import activations
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.noisy import Linear

Aggregation = Literal["mean", "max"]
SHARED = 1.0 / math.sqrt(2.0)
"""Factor of a dueling network's gradient at the point where its two streams join."""


class MakeLinear(Protocol):
    """Builds a linear layer that is called with features and the network's noise (or None)."""

    def __call__(self, in_features: int, out_features: int) -> nn.Module: ...


class Stream(nn.Module):
    """Fully connected layers, with an activation after each except the last: features [B, F] to [B, out_features]."""

    def __init__(
        self, in_features: int, hidden: Sequence[int], out_features: int, *, activation: str, linear: MakeLinear
    ) -> None:
        super().__init__()
        made = [activations.activation(activation, units) for units in hidden]
        widths = [in_features, *(one.out_features for one in made)]
        self.hidden = nn.ModuleList(linear(low, one.in_features) for low, one in zip(widths, made, strict=False))
        self.output = linear(widths[-1], out_features)
        self.activation, self.activations = activation, activations.functions(made)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        for layer, activate in zip(self.hidden, self.activations, strict=True):
            features = activate(layer(features, noise))
        output: Tensor = self.output(features, noise)
        return output


class QHead(nn.Module):
    """Features [B, F] to K outputs per action, [B, A, K]; the values object interprets them.

    With `shared_bias` the last layer is a `SharedBias`, which has no noise.
    """

    gradient_scale = 1.0
    """Factor of the gradient that enters the features."""

    def __init__(
        self,
        in_features: int,
        actions: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        linear: MakeLinear = Linear,
        shared_bias: bool = False,
    ) -> None:
        super().__init__()
        self.actions, self.outputs = actions, outputs
        self.stream = Stream(in_features, hidden, actions * outputs, activation=activation, linear=linear)
        if shared_bias:
            self.stream.output = SharedBias(int(self.stream.output.in_features), actions, outputs)  # type: ignore[arg-type]

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        output: Tensor = self.stream(features, noise)
        return output.view(-1, self.actions, self.outputs)


class DuelingHead(nn.Module):
    """Two streams, the state's value and the actions' advantages (Wang et al. 2016); [B, F] to [B, A, K].

    `aggregation` is subtracted from the advantages to make them unique: their mean over actions (eq. 9) or
    their maximum (eq. 8); with K > 1 per output. The two streams' gradients enter the features scaled by 1/sqrt(2), as
    in section 4.2.
    """

    gradient_scale = SHARED

    def __init__(
        self,
        in_features: int,
        actions: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        linear: MakeLinear = Linear,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        self.actions, self.outputs, self.aggregation = actions, outputs, aggregation
        self.value = Stream(in_features, hidden, outputs, activation=activation, linear=linear)
        self.advantage = Stream(in_features, hidden, actions * outputs, activation=activation, linear=linear)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        features = torch.lerp(features.detach(), features, SHARED)  # the same numbers
        value = self.value(features, noise).unsqueeze(1)  # [B, 1, K]
        advantage = self.advantage(features, noise).view(-1, self.actions, self.outputs)
        if self.aggregation == "mean":
            return value + advantage - advantage.mean(1, keepdim=True)  # type: ignore[no-any-return]
        return value + advantage - advantage.amax(1, keepdim=True)  # type: ignore[no-any-return]


class ImplicitHead(nn.Module):
    """Quantiles at fractions tau that are drawn again each time (IQN, Dabney et al. 2018b, eq. 4); [B, A, 2K].

    The first K outputs of an action are its quantile values, the other K their fractions. The fractions are the columns
    of the noise from `offset` on, K for each of the B / R rows that share a row of it; without noise they are the K
    midpoints.
    """

    frequencies: Tensor
    midpoints: Tensor

    def __init__(
        self, in_features: int, head: QHead | DuelingHead, *, quantiles: int, offset: int = 0, cosines: int = 64
    ) -> None:
        super().__init__()
        self.head, self.quantiles, self.offset = head, quantiles, offset
        self.embedding = nn.Linear(cosines, in_features)
        self.register_buffer("frequencies", math.pi * torch.arange(cosines), persistent=False)
        self.register_buffer("midpoints", (torch.arange(quantiles) + 0.5).view(1, -1) / quantiles, persistent=False)

    @property
    def gradient_scale(self) -> float:
        """That of the head inside."""
        return self.head.gradient_scale

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        rows, count = features.shape[0], self.quantiles  # a batch's length stays symbolic when it is exported
        tau = self.midpoints.expand(rows, count) if noise is None else noise[:, self.offset :].reshape(rows, count)
        phi = torch.relu(self.embedding(torch.cos(tau.unsqueeze(2) * self.frequencies)))  # [B, K, F]
        values = self.head((features.unsqueeze(1) * phi).flatten(0, 1), noise)  # [B * K, A, 1]
        values = values.view(rows, count, -1).transpose(1, 2)  # [B, A, K]
        return torch.cat([values, tau.unsqueeze(1).expand_as(values)], 2)


class QNetwork(nn.Module):
    """A backbone and a head on it; observations [B, ...] to [B, A, K].

    `noise` [R, C] feeds its random parts, None for their means: the first `noise_size` columns are the noise of
    weights, shared by B / R successive rows, the others are `fractions` for each of those rows.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, *, noise_size: int = 0, fractions: int = 0) -> None:
        super().__init__()
        self.backbone, self.head, self.noise_size, self.fractions = backbone, head, noise_size, fractions

    def forward(self, obs: Obs, noise: Tensor | None = None) -> Tensor:
        return self.outputs(obs, self.backbone(obs), noise)

    def outputs(self, obs: Obs, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """`forward`, from the backbone's features of the observations [B, F]."""
        q: Tensor = self.head(features, noise)
        return q
