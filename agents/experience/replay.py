"""The replay that an agent learns from: a ring on the CPU, the same read as sequences, or a ring on the device."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from gymnast.agents.base import torch_seed
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.schedules import Schedule
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized, DeviceSampler, DeviceUniform
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Prioritized, Sampler, Uniform
from gymnast.replay.sequences import SequenceReplay, SequenceShape
from gymnast.replay.transitions import NStep

Replay: TypeAlias = Ring | SequenceReplay | DeviceRing


class ReplayConfig(Protocol):
    """The settings of a replay."""

    @property
    def replay_size(self) -> int: ...
    @property
    def replay_path(self) -> str | None: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def frame_stack(self) -> int: ...
    @property
    def n_step(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def prioritized(self) -> bool: ...
    @property
    def priority(self) -> str: ...
    @property
    def priority_alpha(self) -> float: ...
    @property
    def compile(self) -> bool: ...


class Sequences(NamedTuple):
    """What a replay of sequences stores besides steps."""

    shape: SequenceShape
    memory_size: int
    """Numbers that a recurrent layer remembers."""


def build_replay(
    config: ReplayConfig,
    observation_space: gym.Space[Any],
    *,
    num_envs: int,
    device: torch.device,
    seed: np.random.SeedSequence,
    beta: Schedule,
    sequences: Sequences | None = None,
    action_size: int = 0,
) -> Replay:
    """An empty replay: of sequences if they are given, of actions with `action_size` numbers if that is not 0.

    Raises:
        ValueError: if it needs more memory or disk than is free, or its size is invalid.
    """
    layout = layout_of(config, observation_space)
    transitions = NStep(config.n_step, config.gamma)
    sizes = {"size": config.replay_size, "num_envs": num_envs, "batch_size": config.batch_size}
    priorities: dict[str, Any] = {
        "alpha": config.priority_alpha,
        "beta": beta,
        "ranked": config.priority == "rank",
    }
    if device.type == "cpu":
        rng, path = np.random.Generator(np.random.PCG64(seed)), config.replay_path
        sampler: Sampler = Prioritized(rng, **priorities) if config.prioritized else Uniform(rng)
        if sequences is None:
            return Ring(layout, sampler, transitions, **sizes, path=path, action_size=action_size)
        shape, memory_size = sequences
        widths = {"memory_size": memory_size, "action_size": action_size}
        return SequenceReplay(layout, sampler, transitions, shape, **sizes, **widths, path=path)
    if config.replay_path is not None:
        raise ValueError(
            f"replay_path needs device cpu, got {device}: on other devices the replay is kept in device memory"
        )
    generator = torch.Generator(device).manual_seed(torch_seed(seed))
    on_device: DeviceSampler = (
        DevicePrioritized(generator, **priorities) if config.prioritized else DeviceUniform(generator)
    )
    ring = DeviceRing(layout, on_device, transitions, **sizes, device=device, action_size=action_size)
    if config.compile:
        ring.compile(Compiled)
    return ring


def layout_of(config: ReplayConfig, observation_space: gym.Space[Any]) -> Layout:
    """How a replay stores observations."""
    return Layout(observation_space, stack=config.frame_stack or _default_stack(observation_space))


def _default_stack(space: gym.Space[Any]) -> int:
    """Frames of an observation: 4 for uint8 [4, H, W], else 1."""
    shape = space.shape or ()
    images = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return 4 if images and len(shape) == 3 and shape[0] == 4 else 1
