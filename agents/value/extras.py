"""The parts of a DQN that came after Rainbow and that its config has switched on, each with its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.auxiliary import Auxiliary, build_auxiliary
from gymnast.agents.base import Metrics
from gymnast.agents.experience.augmentation import Augmentation, build_augmentation
from gymnast.agents.experience.replay import Replay
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Loss
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.horizon import horizon
from gymnast.agents.value.intrinsic import IntrinsicReward, build_intrinsic_reward
from gymnast.agents.value.q_auxiliary import LossOf, beside
from gymnast.agents.value.resets import Resets
from gymnast.envs.step import Obs, Step, map_obs
from gymnast.networks.heads.q import QNetwork
from gymnast.replay.following import Following
from gymnast.replay.sequences import SequenceBatch, SequenceReplay
from gymnast.replay.transitions import Batch


@dataclass
class Extras:
    """Asked at one point each of storing and learning; without any of them everything stays as it is."""

    config: DQNConfig
    auxiliary: Auxiliary | None
    intrinsic: IntrinsicReward | None
    augmentation: Augmentation | None
    resets: Resets | None

    @classmethod
    def build(
        cls,
        config: DQNConfig,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        backbone: nn.Module,
        *,
        resets: Resets | None,
        num_envs: int,
        device: torch.device,
        seed: np.random.SeedSequence,
    ) -> Extras:
        """Those of a config; only they spawn seeds."""
        spaces = observation_space, action_space
        auxiliary = build_auxiliary(config, *spaces, backbone, seed=seed)
        intrinsic = build_intrinsic_reward(config, *spaces, num_envs=num_envs, device=device, seed=seed)
        augmentation = build_augmentation(config.augment, observation_space, backbone, device=device, seed=seed)
        return cls(config, auxiliary, intrinsic, augmentation, resets)

    def loss(
        self, plain: Loss, network: QNetwork, loss_of: LossOf, *, first_action: int, read: Callable[[], Replay]
    ) -> Loss:
        """The loss of an update: `plain`, or with an auxiliary one; `read` gives the replay."""
        if self.auxiliary is None:
            return plain

        def following(index: Tensor) -> Following:
            return self.following(read(), index)

        return beside(self.auxiliary, network, loss_of, first_action=first_action, following=following)

    def reward(self, reward: Tensor, obs: Obs, action: Tensor, step: Step) -> Tensor:
        """The rewards [N] to store: with the novelty of the step."""
        return reward if self.intrinsic is None else reward + self.intrinsic(obs, action, step)

    def look_ahead(self, replay: Replay, env_step: int, begun: int) -> None:
        """Let the replay's windows reach as far as they should at an env step; learning began at `begun`."""
        if self.config.anneal_steps and not isinstance(replay, SequenceReplay):
            replay.look_ahead(*horizon(self.config, env_step, begun))

    def seen(self, batch: Batch | SequenceBatch) -> Batch | SequenceBatch:
        """A batch as it is learned from: with other images."""
        return self.augmentation.batch(batch) if self.augmentation is not None and isinstance(batch, Batch) else batch

    def following(self, replay: Replay, index: Tensor) -> Following:
        """The steps after slots of the replay, int64 [B], as an auxiliary loss predicts them."""
        assert not isinstance(replay, SequenceReplay)  # as the config has checked
        following = replay.following(index, self.config.prediction_steps)
        if self.augmentation is None:
            return following
        apart = following.valid.shape
        obs = self.augmentation(map_obs(lambda part: part.flatten(0, 1), following.obs))
        return following._replace(obs=map_obs(lambda part: part.view(*apart, *part.shape[1:]), obs))

    def finish(
        self, env_step: int, rate: float, networks: tuple[QNetwork, QNetwork], optimizer: torch.optim.Optimizer
    ) -> None:
        """What follows an update of the online and the target network."""
        if self.auxiliary is not None:
            self.auxiliary.step(rate)
        if self.resets is not None:
            self.resets(env_step, networks, optimizer, self.auxiliary)

    @property
    def metrics(self) -> Metrics:
        """Numbers of the last steps stored, for logs."""
        return {} if self.intrinsic is None else self.intrinsic.metrics

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """Those that an update draws from; a recording must know them."""
        return () if self.augmentation is None else (self.augmentation.generator,)

    def scheduled(self, env_step: int, begun: int) -> dict[str, float]:
        """Settings that move with env steps, for logs."""
        return horizon(self.config, env_step, begun)._asdict() if self.config.anneal_steps else {}

    def update_parts(self) -> Iterator[Part]:
        if self.auxiliary is not None:
            yield Part(self.auxiliary, "step", "optimizer")
        if self.intrinsic is not None:
            yield from self.intrinsic.update_parts()

    def restart(self) -> None:
        """The backbone has other weights now."""
        if self.auxiliary is not None:
            self.auxiliary.restart()

    def cut_off(self, rows: range) -> None:
        """The running episodes of these rows are not continued."""
        if self.intrinsic is not None:
            self.intrinsic.cut_off(rows)

    def _parts(self) -> dict[str, Any]:
        names = ("auxiliary", "intrinsic", "augmentation", "resets")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, each under its name."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
