"""The replay that world models learn from: sequences of observations, each with what led to it, and stored latents."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.envs.step import Obs
from gymnast.networks.world_models.rssm import State
from gymnast.replay.layout import Layout
from gymnast.replay.samplers import Uniform
from gymnast.replay.sequences import SequenceReplay, SequenceShape
from gymnast.replay.transitions import NStep


class ReplayConfig(Protocol):
    """The settings of a replay of sequences."""

    @property
    def batch_size(self) -> int: ...
    @property
    def replay_size(self) -> int: ...
    @property
    def replay_path(self) -> str | None: ...
    @property
    def gamma(self) -> float: ...


def build_replay(
    config: ReplayConfig,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    steps: int,
    period: int,
    num_envs: int,
    memory_size: int,
    seed: np.random.SeedSequence,
) -> SequenceReplay:
    """An empty replay of sequences of `steps` records (`record`); a final observation is one too.

    A sequence begins at every `period`-th one.

    Raises:
        ValueError: if it needs more memory or disk than is free, or its size is invalid.
    """
    scalar = spaces.Box(-np.inf, np.inf, (), np.float32)
    layout = Layout(
        spaces.Dict({"obs": observation_space, "action": action_space, "reward": scalar, "terminated": scalar})
    )
    return SequenceReplay(
        layout,
        Uniform(np.random.Generator(np.random.PCG64(seed))),
        NStep(1, config.gamma),
        SequenceShape(0, steps - 1, period),
        size=config.replay_size,
        num_envs=num_envs,
        batch_size=config.batch_size,
        memory_size=memory_size,
        path=config.replay_path,
    )


def record(obs: Obs, action: Tensor, reward: Tensor, terminated: Tensor) -> dict[str, Any]:
    """An observation [N, ...] and the action, reward and end that led to it, ignored at an episode's start."""
    return {"obs": obs, "action": action, "reward": reward, "terminated": terminated.float()}


def pack(state: State) -> Tensor:
    """A state as numbers [..., D + S]: the recurrent state, and the class of each latent, -1 before an episode."""
    none = state.stoch.sum(-1) < 0.5
    classes = state.stoch.argmax(-1).masked_fill(none, -1)
    return torch.cat([state.deter, classes.to(state.deter.dtype)], -1)


def unpack(packed: Tensor, *, deter: int, classes: int) -> State:
    """The state of packed numbers [..., D + S]."""
    latents = packed[..., deter:].long()
    stoch = functional.one_hot(latents.clamp(min=0), classes).float() * (latents >= 0).unsqueeze(-1)
    return State(packed[..., :deter], stoch)
