"""Encoders: backbones with weights that an earlier run has learned, in an agent's settings and in its network.

Reading an encoder's file is not here (`gymnast/storage/encoder.py`): an agent knows only the shape of its layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.optim import optimizers
from gymnast.agents.optim.precision import in_bfloat16
from gymnast.agents.schedules import Schedule, ScheduleLike, schedule
from gymnast.networks.build import Backbone, build
from gymnast.networks.modes import freeze


@dataclass(frozen=True)
class Layers:
    """The fully connected layers of a backbone."""

    hidden_sizes: tuple[int, ...] | None
    """Their units; None for a user's own backbone, which has its own layers."""
    activation: str
    layer_norm: bool = False


@dataclass(frozen=True)
class EncoderConfig:
    """The settings of every agent that takes an encoder."""

    encoder: str = ""
    """Run folder or checkpoint whose trained backbone this run starts from; it decides network and sizes."""
    freeze_encoder: bool = False
    """Keep the encoder as it is: only the layers above it learn."""
    encoder_learning_rate: ScheduleLike | None = None
    """Step size of the encoder: a number or a schedule over env steps. Default: learning_rate."""
    encoder_layers: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """The layers of the encoder (`Layers`), which its run writes here: with them the encoder's file is not needed."""

    def check_encoder(self) -> None:
        """Raise ValueError for settings that contradict each other."""
        object.__setattr__(self, "encoder", str(self.encoder))  # a Path, from Python
        if self.encoder_learning_rate is None:
            return
        schedule(self.encoder_learning_rate, name="encoder_learning_rate")
        if self.freeze_encoder:
            raise ValueError("freeze_encoder cannot be combined with encoder_learning_rate: it does not learn")

    @property
    def encoder_schedule(self) -> Schedule | None:
        """The encoder's learning rate, if it has one of its own."""
        rate = self.encoder_learning_rate
        return None if rate is None else schedule(rate, name="encoder_learning_rate")


class NetworkConfig(Protocol):
    """The settings from which a backbone is built."""

    @property
    def network_options(self) -> dict[str, Any]: ...
    @property
    def init(self) -> str: ...
    @property
    def encoder(self) -> str: ...
    @property
    def freeze_encoder(self) -> bool: ...
    @property
    def encoder_layers(self) -> dict[str, Any]: ...
    @property
    def bf16(self) -> bool: ...


def set_rates(optimizer: torch.optim.Optimizer, step: int, rate: Schedule, encoder: Schedule | None) -> None:
    """Set the learning rates of the next updates: that of the second group is the encoder's, if it has its own."""
    optimizers.set_learning_rate(optimizer, rate(step))
    if encoder is not None:
        optimizers.set_learning_rate(optimizer, encoder(step), group=1)


def rates_at(step: int, rate: Schedule, encoder: Schedule | None) -> dict[str, float]:
    """The learning rates by name, for logs."""
    own = {} if encoder is None else {"encoder_learning_rate": encoder(step)}
    return {"learning_rate": rate(step), **own}


@runtime_checkable
class EncoderAgent(Protocol):
    """An agent whose backbone may start from an encoder's weights."""

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load weights into its backbones; `norm` are the statistics of the observations that they were learned on."""
        ...


def make_backbone(
    chosen: Backbone,
    observation_space: gym.Space[Any],
    config: NetworkConfig,
    layers: Layers,
    *,
    generator: torch.Generator,
) -> nn.Module:
    """The backbone of an agent, with `layers` or those of its encoder, and frozen if the config says so.

    Raises:
        ValueError: an encoder whose layers are unknown, because nothing has read its file; bf16 without convolutions.
    """
    if config.encoder_layers:
        layers = Layers(**config.encoder_layers)
    elif config.encoder:
        raise ValueError(
            f"encoder {config.encoder} is read by gymnast.train; for an agent of your own, pass "
            "network=gymnast.storage.encoder.read_encoder(path).build()"
        )
    base = build(
        chosen,
        observation_space,
        options=config.network_options,
        hidden_sizes=layers.hidden_sizes,
        activation=layers.activation,
        layer_norm=layers.layer_norm,
        init=config.init,
        generator=generator,
    )
    if config.bf16:
        base = in_bfloat16(base)
    return freeze(base) if config.freeze_encoder else base
