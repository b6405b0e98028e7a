"""Many DQN agents on one device at once, each with its own seed and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, LearningError, Metrics, seed_sequence, torch_seed
from gymnast.agents.maths.td import allowed, chosen
from gymnast.agents.optim.compiled import Captured, Compiled
from gymnast.agents.population.base import Population, Seed, Weights
from gymnast.agents.population.dqn_replay import build_replay
from gymnast.agents.population.noise import MakeNoise, OwnGenerators
from gymnast.agents.population.q_actor import MemberQActor
from gymnast.agents.schedules import ScheduleLike
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.q_network import build_values, q_network
from gymnast.envs.step import Obs, Step
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.stacked.layers import flat
from gymnast.networks.stacked.q import StackedQNetwork
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.ring import Ring
from gymnast.replay.transitions import Batch


class DQNPopulation(Population):
    """M DQN agents: a member learns what a `DQN` learns, and with the default `noise` draws the same.

    One replay keeps the transitions of all members, and each samples only its own.
    """

    varied = ("learning_rate", "gamma", "epsilon", "tau", "target_period")
    network: StackedQNetwork

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: DQNConfig | None = None,
        *,
        seeds: Sequence[Seed],
        num_envs: int = 1,
        vary: Mapping[str, Sequence[float]] | None = None,
        device: str | torch.device = "cpu",
        noise: MakeNoise = OwnGenerators,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            config or DQNConfig(),
            seeds=seeds,
            num_envs=num_envs,
            vary=vary,
            device=device,
            noise=noise,
        )
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"dqn needs Discrete actions, got {action_space}; use ppo")
        self.first_action, self.actions = int(action_space.start), int(action_space.n)
        self.values = build_values(self.config, self.device)
        spawned = [seed_sequence(seed).spawn(3)[:2] for seed in seeds]  # as in `DQN`
        self._build_networks([init for init, _ in spawned])
        self._replay_seeds = [replay for _, replay in spawned]
        self.replay: Ring | DeviceRing | None = None
        """None until `allocate` makes it."""
        self._captured = Captured(self._learn) if self.config.cuda_graphs else None
        self._learns_from = max(self.config.learning_starts, (self.config.n_step - 1) * num_envs + 1)
        self._updates_before = 0  # updates of a member when the replay was last empty
        self._target_updates = [0] * self.members

    def _variable(self) -> dict[str, ScheduleLike]:
        return {name: getattr(self.config, name) for name in ("learning_rate", "epsilon")}

    def _build_networks(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Build the networks of all members with their targets, and their optimizer."""
        config = self.config
        self.network = StackedQNetwork(self._network_of(seeds[0]).to(self.device))
        self._build([flat(self._network_of(seed)) for seed in seeds], max_grad_value=config.max_grad_value)
        self.target = self.parameters.detach().clone()
        """[M, P]."""
        self._gradient = Compiled(self.gradient) if config.compile else self.gradient

    def _network_of(self, seed: np.random.SeedSequence) -> QNetwork:
        generator, config = torch.Generator().manual_seed(torch_seed(seed)), self.config
        return q_network(config.backbone, self.observation_space, self.actions, config, self.values.outputs, generator)

    def _each(self, name: str) -> tuple[Any, ...]:
        """A setting's number of each member."""
        return self.vary.get(name) or (getattr(self.config, name),) * self.members

    def allocate(self) -> Ring | DeviceRing:
        """The replay, made at the first call, with which training begins: a population that only acts needs none."""
        if self.replay is None:
            self.replay = build_replay(
                self.config,
                self.observation_space,
                num_envs=self.num_envs,
                device=self.device,
                seeds=self._replay_seeds,
                gammas=self._each("gamma"),
                noise=self._make_noise,
            )
        return self.replay

    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> MemberQActor:
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        eval_epsilon = self.config.eval_epsilon
        return MemberQActor(
            self.network,
            self.values,
            self.parameters if weights is None else weights["parameters"],
            self._noise_of(num_envs, seed),
            epsilon=self._epsilon if explore else (lambda: eval_epsilon),
            doubles=self.device.type == "cpu",
            masks=self.config.action_masks,
            first_action=self.first_action,
        )

    def _epsilon(self) -> float | Tensor:
        """The current probability of a random action, or one for each member, [M]."""
        if "epsilon" in self.vary:
            return self._settings.now["epsilon"]
        return self._settings.schedules["epsilon"](self.member_step)

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        try:
            self.allocate().add(
                obs,
                acted.action - self.first_action if self.first_action else acted.action,
                reward=step.reward.clamp(-1.0, 1.0) if self.config.clip_rewards else step.reward,
                terminated=step.terminated,
                truncated=step.truncated,
                next_obs=step.next_obs,
                following=step.obs,
                next_mask=step.next_action_mask if self.config.action_masks else None,
                active=step.active,
            )
        except ValueError as error:  # observations that are not stacks of frames
            raise LearningError(str(error)) from error
        self._count(step)

    def updates_due(self, env_step: int) -> int:
        """`updates_per_train` for every `train_period` env steps of each member since learning began."""
        config, member_step = self.config, env_step // self.members
        if member_step < self._learns_from:
            return 0
        periods = (member_step - self._learns_from) // config.train_period
        return int(periods * config.updates_per_train - (self.updates - self._updates_before))

    def _due_at(self, update: int) -> int:
        """The env step of each member at which an update is due, the argument of its schedules."""
        periods = (update - self._updates_before) // self.config.updates_per_train + 1
        return int(self._learns_from + periods * self.config.train_period)

    def learn(self) -> Metrics:
        """One update of each member from its own batch of the replay; metrics are [M]."""
        replay, due_at = self.allocate(), self._due_at(self.updates)
        self._set_settings(due_at)
        if self._captured is None:
            metrics = self._learn()
        else:
            assert isinstance(replay, DeviceRing)
            metrics = self._captured(replay.sampler.generators, key=replay.mask is None)
        self.updates += 1
        self._update_targets(due_at)
        return metrics

    def _learn(self) -> Metrics:
        """The part of an update that runs only on the device and is the same every time."""
        batch = self.allocate().sample()
        grad, metrics = self._gradient(self.parameters.detach(), self.target, batch)
        self._apply(grad, metrics)
        return metrics

    def gradient(self, parameters: Tensor, target: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """Gradients [M, P], each of a member's own loss, and metrics [M]; the batch has B rows of each in turn."""

        def total(rows: Tensor) -> tuple[Tensor, Metrics]:
            loss, metrics = self.loss(rows, target, batch)
            return loss.sum(), metrics  # a member's loss depends only on its own row

        grad, (_, metrics) = torch.func.grad_and_value(total, has_aux=True)(parameters)
        return grad, metrics

    def loss(self, parameters: Tensor, target: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """`DQN.loss` of each member [M], and metrics [M]."""
        with torch.no_grad():
            next_output = self.network(target, batch.next_obs).flatten(0, 1)  # [M * B, A, K]
            choice = self.network(parameters, batch.next_obs).flatten(0, 1) if self.config.double else next_output
            next_action = allowed(self.values.q(choice), batch.next_mask).argmax(1)
        output = chosen(self.network(parameters, batch.obs).flatten(0, 1), batch.action)  # [M * B, K]
        loss, _ = self.values.td_loss(output, batch.reward, batch.discount, chosen(next_output, next_action))
        mean_loss, q = (part.view(self.members, -1).mean(1) for part in (loss, self.values.q(output.detach())))
        return mean_loss, {"loss": mean_loss.detach(), "q": q}

    @torch.no_grad()
    def _update_targets(self, env_step: int) -> None:
        """Move the targets of members whose period has passed, each by its own `tau`."""
        updates = [env_step // period for period in self._each("target_period")]
        if updates == self._target_updates:
            return
        passed = [now - before for now, before in zip(updates, self._target_updates, strict=True)]
        rates = [1.0 - (1.0 - tau) ** times for tau, times in zip(self._each("tau"), passed, strict=True)]
        self._target_updates = updates
        if set(rates) == {1.0}:
            self.target.copy_(self.parameters)
        else:
            self.target.lerp_(self.parameters, torch.tensor(rates, device=self.device).unsqueeze(1))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning, with the replay under "replay", whose tensors are its own."""
        state = {
            **super().state_dict(),
            "target": self.target.clone(),
            "target_updates": list(self._target_updates),
            "learns_from": self._learns_from,
            "updates_before": self._updates_before,
        }
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        super().load_state_dict(state)
        self.target.copy_(state["target"])
        self._target_updates = list(state["target_updates"])
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self._learns_from, self._updates_before = state["learns_from"], state["updates_before"]
        else:
            self.replay = None
            first = (self.config.n_step - 1) * self.num_envs + 1
            self._learns_from = self.member_step + max(self.config.learning_starts, first)
            self._updates_before = self.updates
