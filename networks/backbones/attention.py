"""Backbones that read sequences without recurrence: attention, transformer, WaveNet; and learned vectors of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.backbones.sequence import SequenceBackbone
from gymnast.networks.layers.inputs import Obs

SCORES = ("dot", "general", "additive")


class Attention(nn.Module):
    """A weighted mean of the steps, by their scores against the last one; [B, T, F] to [B, F].

    Scores are q . k (`dot`, scaled by 1/sqrt(F)) or q . W k (`general`; both Luong et al. 2015), or v . tanh(W q + U k)
    (`additive`, Bahdanau et al. 2015).
    """

    def __init__(self, features: int, score: str) -> None:
        super().__init__()
        self.score = score
        if score == "general":
            self.bilinear = nn.Linear(features, features, bias=False)
        elif score == "additive":
            self.query, self.key = nn.Linear(features, features), nn.Linear(features, features, bias=False)
            self.energy = nn.Linear(features, 1, bias=False)

    def forward(self, steps: Tensor) -> Tensor:
        query = steps[:, -1:]
        if self.score == "additive":
            scores = self.energy(torch.tanh(self.query(query) + self.key(steps))).squeeze(2)
        else:
            keys = self.bilinear(steps) if self.score == "general" else steps / math.sqrt(steps.shape[2])
            scores = (query * keys).sum(2)
        mean: Tensor = (scores.softmax(1).unsqueeze(2) * steps).sum(1)
        return mean


@dataclass(frozen=True)
class AttentionOptions:
    """Attention over the steps of a GRU."""

    score: Literal["dot", "general", "additive"] = "additive"
    """How a step is compared with the last one."""
    units: int = 128
    """Units of the GRU whose outputs are attended to."""

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}, got {self.score!r}")
        if self.units < 1:
            raise ValueError(f"units must be >= 1, got {self.units}")


class AttentionNet(SequenceBackbone):
    """The outputs of a GRU, their last one beside their mean by attention."""

    name, Options = "attention", AttentionOptions
    options: AttentionOptions

    def make(self, features: int) -> tuple[nn.Module, int]:
        self.attention = Attention(self.options.units, self.options.score)
        self.recurrent = nn.GRU(features, self.options.units, batch_first=True)
        return nn.Identity(), 2 * self.options.units

    def outputs(self, obs: Obs) -> Tensor:
        outputs: Tensor = self.recurrent(self.steps(obs))[0]
        return outputs

    def summary(self, outputs: Tensor) -> Tensor:
        return torch.cat([outputs[:, -1], self.attention(outputs)], 1)


class SinusoidalPositions(nn.Module):
    """Add sines and cosines of the position (Vaswani et al. 2017, section 3.5); [B, T, F]."""

    waves: Tensor

    def __init__(self, steps: int, features: int) -> None:
        super().__init__()
        position = torch.arange(steps).unsqueeze(1)
        rate = torch.exp(torch.arange(0, features, 2) * (-math.log(10_000.0) / features))
        waves = torch.zeros(steps, features)
        waves[:, 0::2] = torch.sin(position * rate)
        waves[:, 1::2] = torch.cos(position * rate)[:, : features // 2]
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.waves[: features.shape[1]]


class LearnedPositions(nn.Module):
    """Add a learned vector for each position; [B, T, F]."""

    def __init__(self, steps: int, features: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(steps, features)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.vectors.weight[: features.shape[1]]


@dataclass(frozen=True)
class TransformerOptions:
    """Transformer encoder (Vaswani et al. 2017)."""

    width: int = 64
    """Features of each step, a multiple of heads."""
    heads: int = 4
    """Attention heads."""
    layers: int = 2
    """Layers on top of each other."""
    feedforward: int = 128
    """Units of the layers between."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """How a step knows its position."""
    causal: bool = False
    """Let each step attend only to those before it and to itself."""
    dropout: float = 0.0
    """Share that is dropped in training."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "layers", "feedforward"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads {self.heads}, got {self.width}")
        if self.positions not in ("sinusoidal", "learned"):
            raise ValueError(f"positions must be sinusoidal or learned, got {self.positions!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be >= 0 and < 1, got {self.dropout}")


class Transformer(SequenceBackbone):
    """A transformer encoder, normalised before each part (Xiong et al. 2020); the features are the last step's."""

    name, Options = "transformer", TransformerOptions
    options: TransformerOptions

    def make(self, features: int) -> tuple[nn.Module, int]:
        options = self.options
        self.project = nn.Linear(features, options.width)
        positions = SinusoidalPositions if options.positions == "sinusoidal" else LearnedPositions
        self.positions = positions(self.steps.steps, options.width)
        layer = nn.TransformerEncoderLayer(
            options.width,
            options.heads,
            options.feedforward,
            dropout=options.dropout,
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(options.width)
        return nn.TransformerEncoder(layer, options.layers, norm, enable_nested_tensor=False), options.width

    def outputs(self, obs: Obs) -> Tensor:
        steps = self.positions(self.project(self.steps(obs)))
        mask = None
        if self.options.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(steps.shape[1], device=steps.device)
        outputs: Tensor = self.body(steps, mask=mask, is_causal=self.options.causal)
        return outputs


class GatedConvolution(nn.Module):
    """tanh(f) * sigmoid(g) of dilated causal convolutions, to the next layer and to the output (van den Oord 2016).

    The `last` layer has only the output.
    """

    def __init__(self, channels: int, skip: int, *, kernel: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.gates = nn.Conv1d(channels, 2 * channels, kernel, dilation=dilation)
        self.residual = None if last else nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skip, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, channels, T] to the same and [B, skip, T]."""
        signal, gate = self.gates(functional.pad(features, (self.past, 0))).chunk(2, 1)
        gated = torch.tanh(signal) * torch.sigmoid(gate)
        return features if self.residual is None else features + self.residual(gated), self.skip(gated)


@dataclass(frozen=True)
class WaveNetOptions:
    """WaveNet (van den Oord et al. 2016)."""

    channels: int = 32
    """Channels of each layer."""
    skip: int = 64
    """Channels of the output."""
    layers: int = 5
    """Layers, the dilation of which doubles from 1 on."""
    kernel: int = 2
    """Steps that a convolution reads."""

    def __post_init__(self) -> None:
        for name, low in (("channels", 1), ("skip", 1), ("layers", 1), ("kernel", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")


class WaveNet(SequenceBackbone):
    """Gated causal convolutions over time, whose dilation doubles with each layer (van den Oord et al. 2016)."""

    name, Options = "wavenet", WaveNetOptions
    options: WaveNetOptions

    def make(self, features: int) -> tuple[nn.Module, int]:
        options = self.options
        self.project = nn.Conv1d(features, options.channels, 1)
        self.mix = nn.Conv1d(options.skip, options.skip, 1)
        layers = (
            GatedConvolution(
                options.channels,
                options.skip,
                kernel=options.kernel,
                dilation=2**index,
                last=index + 1 == options.layers,
            )
            for index in range(options.layers)
        )
        return nn.ModuleList(layers), options.skip

    def outputs(self, obs: Obs) -> Tensor:
        features = self.project(self.steps(obs).transpose(1, 2))
        total = features.new_zeros(())
        assert isinstance(self.body, nn.ModuleList)
        for layer in self.body:
            features, skip = layer(features)
            total = total + skip
        return self.mix(torch.relu(total)).transpose(1, 2)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class EmbeddingOptions:
    """A learned vector for each value of a Discrete or MultiDiscrete observation."""

    size: int = 32
    """Features of each vector."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be >= 1, got {self.size}")


class Embedding(Backbone):
    """Learned vectors instead of one-hot ones, those of a MultiDiscrete side by side."""

    name, Options, sizes = "embedding", EmbeddingOptions, (64,)
    options: EmbeddingOptions
    first: Tensor
    offset: Tensor

    def prepare(self, space: gym.Space[Any]) -> int:
        if isinstance(space, spaces.Discrete):
            counts, first = torch.tensor([int(space.n)]), torch.tensor([int(space.start)])
        elif isinstance(space, spaces.MultiDiscrete):
            counts, first = torch.as_tensor(space.nvec).flatten(), torch.as_tensor(space.start).flatten()
        else:
            raise ValueError(f"network embedding needs Discrete or MultiDiscrete observations, got {space}")
        self.vectors = nn.Embedding(int(counts.sum()), self.options.size)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("offset", counts.cumsum(0) - counts, persistent=False)
        return len(counts) * self.options.size

    def read(self, obs: Obs) -> Tensor:
        vectors: Tensor = self.vectors(obs.reshape(obs.shape[0], -1) - self.first + self.offset)
        return vectors.flatten(1)
