"""Many DQN agents on one device at once, each with its own seed and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, Metrics, torch_seed
from gymnast.agents.maths.td import chosen
from gymnast.agents.optim.compiled import Captured, Compiled
from gymnast.agents.population.base import Seed, Weights
from gymnast.agents.population.q_actor import MemberQActor
from gymnast.agents.population.with_replay import ReplayPopulation
from gymnast.agents.schedules import ScheduleLike
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.q_network import build_backup, build_values, q_network
from gymnast.envs.step import Obs, Step
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.stacked.layers import flat
from gymnast.networks.stacked.q import StackedQNetwork
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.transitions import Batch


class DQNPopulation(ReplayPopulation):
    """M DQN agents: a member learns and, with the default `noise`, draws the same as a `DQN`."""

    defaults = DQNConfig()
    varied = ("learning_rate", "gamma", "epsilon", "tau", "target_period")
    network: StackedQNetwork

    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        action_space = self.action_space
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"dqn needs Discrete actions, got {action_space}; use ppo")
        self.first_action, self.actions = int(action_space.start), int(action_space.n)
        self.values = build_values(self.config, self.device)
        self._backup = build_backup(self.config, self.values, key=0)
        init, replay, drawn = zip(*(seed.spawn(3) for seed in seeds), strict=True)  # as in `DQN`
        self._build_networks(init)
        self._layers = self._make_noise(drawn, self.device)
        self._noise = self._noise_buffer()
        self._prepare_replay(replay)
        self._captured = Captured(self._learn) if self.config.cuda_graphs else None
        self._target_updates = [0] * self.members
        self._rates = list[float](), torch.zeros(0)  # of the last step of the targets, and the same [M, 1]

    def _variable(self) -> dict[str, ScheduleLike]:
        config = self.config
        if config.noisy and "epsilon" in self.vary:
            raise ValueError("epsilon cannot vary between members with noisy layers, which explore by noisy_epsilon")
        return {
            "learning_rate": config.learning_rate,
            "epsilon": config.noisy_epsilon if config.noisy else config.epsilon,
        }

    def _noise_buffer(self) -> Tensor | None:
        """The noise of an update of each member, [M, 3, 1, C], as in `DQN`."""
        size = self.network.noise_size + self.config.batch_size * self.network.fractions
        return torch.zeros((self.members, 3, 1, size), device=self.device) if size else None

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
        return q_network(config.network, self.observation_space, self.actions, config, self.values.outputs, generator)

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
        eval_epsilon, sequences = self.config.eval_epsilon, self._sequences(num_envs, seed)
        noisy = explore and self._noise is not None
        return MemberQActor(
            self.network,
            self.values,
            self.parameters if weights is None else weights["parameters"],
            self._make_noise(sequences, self.device),
            epsilon=self._epsilon if explore else (lambda: eval_epsilon),
            doubles=self.device.type == "cpu",
            masks=self.config.action_masks,
            first_action=self.first_action,
            layers=self._make_noise([one.spawn(1)[0] for one in sequences], self.device) if noisy else None,
            kind=self.config.noise,
        )

    def _epsilon(self) -> float | Tensor:
        """The current probability of a random action, or one for each member, [M]."""
        if "epsilon" in self.vary:
            return self._settings.now["epsilon"]
        return self._settings.schedules["epsilon"](self.member_step)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        action = acted.action - self.first_action if self.first_action else acted.action
        reward = step.reward.clamp(-1.0, 1.0) if self.config.clip_rewards else step.reward
        next_mask = step.next_action_mask if self.config.action_masks else None
        self._add(obs, action, step, reward=reward, mask=acted.mask, next_mask=next_mask)

    def learn(self) -> Metrics:
        """One update of each member from its own batch of the replay; metrics are [M]."""
        replay, due_at = self.allocate(), self.pace.step_of(self.updates)
        replay.sampler.anneal(due_at)
        self._set_settings(due_at)
        if self._captured is None:
            metrics = self._learn()
        else:
            assert isinstance(replay, DeviceRing)
            generators = (*replay.sampler.generators, *self._layers.generators)
            metrics = self._captured(generators, key=replay.mask is None)
        self.updates += 1
        self._update_targets(due_at)
        return metrics

    def _learn(self) -> Metrics:
        """The part of an update that runs only on the device and is the same every time."""
        replay = self.allocate()
        batch = replay.sample()
        if self._noise is not None:
            self._layers.fill(self._noise, self.config.noise, weights=self.network.noise_size)
        grad, error, metrics = self._gradient(self.parameters.detach(), self.target, batch, self._noise)
        replay.sampler.update(batch.index, error)
        self._apply(grad, metrics)
        return metrics

    def gradient(
        self, parameters: Tensor, target: Tensor, batch: Batch, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Gradients [M, P], each of a member's own loss, errors [M * B], and metrics [M].

        The batch has B rows of each member in turn, the noise [M, 3, 1, C] is that of `DQN.loss`.
        """

        def total(rows: Tensor) -> tuple[Tensor, tuple[Tensor, Metrics]]:
            loss, error, metrics = self.loss(rows, target, batch, noise)
            return loss.sum(), (error, metrics)  # a member's loss depends only on its own row

        grad, (_, (error, metrics)) = torch.func.grad_and_value(total, has_aux=True)(parameters)
        return grad, error, metrics

    def loss(
        self, parameters: Tensor, target: Tensor, batch: Batch, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Metrics]:
        """`DQN.loss` of each member [M], errors [M * B], and metrics [M]."""
        noise_online, noise_target, noise_choice = (None, None, None) if noise is None else noise.unbind(1)
        with torch.no_grad():
            reward, next_output = self._backup(
                batch,
                self._outputs(target, batch.next_obs, noise_target),
                choice=lambda: self._outputs(parameters, batch.next_obs, noise_choice),
                before=lambda: self._outputs(target, batch.obs, noise_target),
            )
        output = chosen(self._outputs(parameters, batch.obs, noise_online), batch.action)  # [M * B, K]
        loss, error = self.values.td_loss(output, reward, batch.discount, next_output)
        of_members = (part.view(self.members, -1) for part in (loss * batch.weight, self.values.q(output.detach())))
        mean_loss, q = (part.mean(1) for part in of_members)
        return mean_loss, error, {"loss": mean_loss.detach(), "q": q}

    def _outputs(self, parameters: Tensor, obs: Obs, noise: Tensor | None) -> Tensor:
        """Outputs [M * B, A, K]."""
        return self.network(parameters, obs, noise).flatten(0, 1)

    @torch.no_grad()
    def _update_targets(self, env_step: int) -> None:
        """Move the targets of members whose period has passed, each by its own `tau`."""
        updates = [env_step // period for period in self._each("target_period")]
        if updates == self._target_updates:
            return
        passed = [now - before for now, before in zip(updates, self._target_updates, strict=True)]
        rates = [1.0 - (1.0 - tau) ** times for tau, times in zip(self._each("tau"), passed, strict=True)]
        self._target_updates = updates
        if rates != self._rates[0]:
            self._rates = rates, torch.tensor(rates, device=self.device).unsqueeze(1)
        self.target.lerp_(self.parameters, self._rates[1])  # a rate of 1 copies them exactly

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning, with the replay under "replay", whose tensors are its own."""
        return {
            **super().state_dict(),
            "target": self.target.clone(),
            "layers": None if self._noise is None else self._layers.state_dict(),
            "target_updates": list(self._target_updates),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        super().load_state_dict(state)
        self.target.copy_(state["target"])
        if self._noise is not None:
            self._layers.load_state_dict(state["layers"])
        self._target_updates = list(state["target_updates"])
