"""DQN: Q-learning with a network, a replay memory and a target network (Mnih et al. 2015)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Acted, Decision, LearningError, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.encoder import rates_at, set_rates
from gymnast.agents.experience.lives import Lives
from gymnast.agents.experience.pace import Pace
from gymnast.agents.experience.replay import Replay, build_replay
from gymnast.agents.maths.td import chosen, weighted_mean
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Update
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.agents.value.dqn_config import DQNConfig, check_device
from gymnast.agents.value.ensemble_actor import EnsembleActor
from gymnast.agents.value.extras import Extras
from gymnast.agents.value.q_actor import QActor
from gymnast.agents.value.q_decision import GreedyQ, greedy_q, q_decision
from gymnast.agents.value.q_network import build_backup, build_values, noise_buffer, q_network
from gymnast.agents.value.r2d2 import RecurrentActor, sequence_loss, sequences_of
from gymnast.agents.value.resets import Resets, build_resets
from gymnast.envs.step import Obs, Step
from gymnast.networks.build import Backbone, settled
from gymnast.networks.fast.flat import FlatParameters, copy_buffers
from gymnast.networks.fast.numpy_forward import numpy_forward
from gymnast.networks.fast.q_backward import fast
from gymnast.networks.heads.recurrent_q import RecurrentQNetwork
from gymnast.networks.layers.noisy import draw_noise
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.sequences import SequenceBatch
from gymnast.replay.transitions import Batch


class DQN(Predicts):
    """Deep Q-network (Mnih et al. 2015, algorithm 1): the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a replay larger than the free memory.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: DQNConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"dqn needs Discrete actions, got {action_space}; use a wrapper that enumerates them")
        self.observation_space, self.action_space = observation_space, action_space
        self.config, wanted = settled(config or DQNConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        check_device(config, self.device)
        self.first_action = int(action_space.start)
        self.epsilon = schedule(config.exploration(num_envs), name="epsilon", high=1.0)
        self.beta = schedule(config.priority_beta, name="priority_beta", high=1.0)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.encoder_rate = config.encoder_schedule
        sequence = seed_sequence(seed)
        init_seed, self._replay_seed, noise_seed = sequence.spawn(3)
        resets = self._build_networks(wanted, init_seed)
        own = observation_space, action_space, self.online.backbone
        self.extras = Extras.build(config, *own, resets=resets, num_envs=num_envs, device=self.device, seed=sequence)
        self._build_update(noise_seed)
        self.replay: Replay | None = None
        """None until `allocate` makes it."""
        self.env_step = self.updates = 0
        self.pace = Pace(config.learns_from(num_envs), period=config.train_period, updates=config.updates_per_train)
        self._target_updates = 0
        self._lives = Lives()

    def _build_networks(self, backbone: Backbone, seed: np.random.SeedSequence) -> Resets | None:
        """The online and the target network, their fastest forms, and the meaning of their outputs; the resets."""
        config, actions = self.config, int(self.action_space.n)
        self.values = build_values(config, self.device)
        self._backup = build_backup(config, self.values, torch_seed(seed.spawn(1)[0]))
        make = partial(q_network, backbone, self.observation_space, actions, config, self.values.outputs)
        generator = torch.Generator().manual_seed(torch_seed(seed))
        self.online = make(generator).to(self.device)
        self.target = copy.deepcopy(self.online)
        apart = (self.online.backbone,) if self.encoder_rate else ()
        self.weights = FlatParameters(self.online, apart=apart)
        self.target_weights = FlatParameters(self.target).freeze()
        compiled, features = config.compile, config.auxiliary != "none"  # forms that need the network itself
        self._online = self.online if compiled or features else fast(self.online, self.weights)
        self._target = self.target if compiled else fast(self.target, self.target_weights)
        self.acting = self.target if config.act_by_target else self.online
        self.numpy_q = numpy_forward(self.acting)
        return build_resets(config, backbone, make, generator)

    def _build_update(self, noise_seed: np.random.SeedSequence) -> None:
        """Build the optimizer, its update, and the noise of an update."""
        config = self.config
        self.optimizer = optimizers.of_agent(config, self.weights, self.learning_rate(0))
        own = self.loss, self.online, self.loss_of
        loss = self.extras.loss(*own, first_action=self.first_action, read=self.allocate)
        self._update = Update(
            loss if config.recurrent == "none" else self.sequence_loss,
            self.weights,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=config.max_grad_value,
            compile=config.compile,
            regulariser=regularise.regulariser(config, self.weights),
        )
        self._captured = Captured(self._learn) if config.cuda_graphs else None
        self._noise_generator = torch.Generator(self.device).manual_seed(torch_seed(noise_seed))
        self._noise = noise_buffer(self.online, config, self.device)

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load an encoder's weights into both networks; there are no statistics of observations (`norm`)."""
        for network in (self.online, self.target):
            network.backbone.load_state_dict(weights)
        self.extras.restart()

    @torch.no_grad()
    def q_values(self, obs: Obs) -> Tensor:
        """Action values [B, A] of observations [B, ...], without the noise of exploration."""
        return self.values.q(self.acting(obs, None))

    preferences = "action value"

    @property
    def decision_network(self) -> nn.Module:
        return self.acting

    @property
    def decision_memory(self) -> int:
        return self.acting.memory_size if isinstance(self.acting, RecurrentQNetwork) else 0

    def decide(self, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """Action values as a differentiable decision; see `DecidingAgent`."""
        mask = action_mask if self.config.action_masks else None
        return q_decision(self.acting, self.values.q, obs, memory, mask)

    def greedy_policy(self) -> GreedyQ:
        """The greedy action as a module; see `ExportableAgent`."""
        return greedy_q(self.acting, self.values, self.config, first_action=self.first_action)

    def allocate(self) -> Replay:
        """The replay, made at the first call, with which training begins: an agent that only acts does not need it."""
        if self.replay is None:
            self.replay = build_replay(
                self.config,
                self.observation_space,
                num_envs=self.num_envs,
                device=self.device,
                seed=self._replay_seed,
                beta=self.beta,
                sequences=sequences_of(self.config, self.online),
            )
        return self.replay

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> QActor:
        """Epsilon-greedy actions: by the schedule with `explore`, else with `eval_epsilon`."""
        if not explore:
            return self.epsilon_greedy(num_envs, epsilon=self.config.eval_epsilon, seed=seed)
        self.allocate()  # a replay that is too large is reported before training begins
        return self._actor_class(self, num_envs, explore=True, seed=seed)

    def epsilon_greedy(self, num_envs: int, *, epsilon: float, seed: int | np.random.SeedSequence) -> QActor:
        """Greedy actions, or with probability epsilon random ones."""
        return self._actor_class(self, num_envs, explore=False, seed=seed, eval_epsilon=epsilon)

    def predicting_actor(self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> QActor:
        """Greedy actions, or epsilon-greedy ones by the schedule; no replay is made."""
        return self._actor_class(self, num_envs, explore=not deterministic, seed=seed)

    @property
    def _actor_class(self) -> type[QActor]:
        if self.config.bootstrap_heads:
            return EnsembleActor
        return QActor if self.config.recurrent == "none" else RecurrentActor

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        config, replay = self.config, self.allocate()
        remembered: dict[str, Any] = {} if acted.memory is None else {"memory": acted.memory}
        reward = step.reward.clamp(-1.0, 1.0) if config.clip_rewards else step.reward
        try:
            replay.add(
                obs,
                acted.action - self.first_action if self.first_action else acted.action,
                reward=self.extras.reward(reward, obs, acted.action, step),
                terminated=step.terminated,
                truncated=step.truncated,
                next_obs=step.next_obs,
                following=step.obs,
                life_lost=self._lives.lost(step) if config.life_loss else None,
                mask=acted.mask,
                next_mask=step.next_action_mask if config.action_masks else None,
                active=step.active,
                **remembered,
            )
        except ValueError as error:  # observations that are not stacks of frames
            raise LearningError(str(error)) from error
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        """Exactly `updates_per_train` for every `train_period` env steps since learning began, for any num_envs."""
        return self.pace.due(env_step, self.updates)

    def learn(self) -> Metrics:
        """One update from a batch of the replay (algorithm 1's inner part)."""
        replay, due_at = self.allocate(), self.pace.step_of(self.updates)
        replay.sampler.anneal(due_at)
        self.extras.look_ahead(replay, due_at, self.pace.begins)
        set_rates(self.optimizer, due_at, self.learning_rate, self.encoder_rate)
        metrics = self._learn() if self._captured is None else self._captured_learn(self._captured)
        self.updates += 1
        self._update_target(due_at)
        self.extras.finish(due_at, self.learning_rate(due_at), (self.online, self.target), self.optimizer)
        return metrics | self.extras.metrics

    def _learn(self) -> Metrics:
        """The part of an update that runs only on the device and is the same every time."""
        replay = self.allocate()
        batch = self.extras.seen(replay.sample())
        if self._noise is not None:
            draw_noise(self._noise, self.config.noise, self._noise_generator, weights=self.online.noise_size)
        error, metrics = self._update(batch, self._noise)
        replay.sampler.update(batch.index, error)
        return metrics

    def update_parts(self) -> Iterator[Part]:
        replay = self.allocate()
        yield Part(replay, "sample", "sample")
        yield Part(replay.sampler, "update", "sample")
        yield from self._update.update_parts()
        yield from self.extras.update_parts()

    def _captured_learn(self, captured: Captured[Metrics]) -> Metrics:
        assert isinstance(self.replay, DeviceRing)
        generators = (self._noise_generator, *self.replay.sampler.generators, *self.extras.generators)
        return captured(generators, key=self.replay.mask is None)

    def loss(self, batch: Batch, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """Loss [], error of each sample [B], and the mean value of the actions taken (equation 3).

        `noise` [3, 1, C]: one draw each for the online network, the target network, and the choice of the next
        action by the online network (Fortunato et al. 2018, eq. 16).
        """
        return self.loss_of(self._online(batch.obs, None if noise is None else noise[0]), batch, noise)

    def loss_of(self, output: Tensor, batch: Batch, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """`loss`, from the online network's output [B, A, K]."""
        _, noise_target, noise_choice = (None, None, None) if noise is None else noise
        with torch.no_grad():
            next_output = self._target(batch.next_obs, noise_target)  # [B, A, K]
            reward, next_output = self._backup(
                batch,
                next_output,
                choice=lambda: self._online(batch.next_obs, noise_choice),
                before=lambda: self._target(batch.obs, noise_target),
            )
        output = chosen(output, batch.action)  # [B, K]
        loss, error = self.values.td_loss(output, reward, batch.discount, next_output)
        mean_loss = weighted_mean(loss, batch.weight)
        return mean_loss, error, {"loss": mean_loss.detach(), "q": self.values.q(output.detach()).mean()}

    def sequence_loss(self, batch: SequenceBatch, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """`loss` for a recurrent network, with the error of each sequence [B]."""
        return sequence_loss(
            batch,
            noise,
            online=self.online,
            target=self.target,
            values=self.values,
            backup=self._backup,
            eta=self.config.priority_eta,
        )

    def _update_target(self, env_step: int) -> None:
        period = self.config.target_period
        passed = env_step // period - self._target_updates if period else 1
        if passed:
            self.target_weights.follow(self.weights, 1.0 - (1.0 - self.config.tau) ** passed)
            copy_buffers(self.online, self.target)
            self._target_updates += passed

    def scheduled(self) -> dict[str, float]:
        """Epsilon, learning rate and, if replay is prioritized, beta at the current env step."""
        rates = rates_at(self.env_step, self.learning_rate, self.encoder_rate)
        scheduled = {"epsilon": self.epsilon(self.env_step), **rates}
        scheduled |= self.extras.scheduled(self.env_step, self.pace.begins)
        return scheduled | ({"priority_beta": self.beta(self.env_step)} if self.config.prioritized else {})

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer and counts, with the replay under "replay", whose tensors are the agent's own."""
        state = {
            "online": copy.deepcopy(dict(self.online.state_dict())),
            "target": copy.deepcopy(dict(self.target.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "env_step": self.env_step,
            "updates": self.updates,
            "target_updates": self._target_updates,
            **self.pace.state_dict(),
            "lives": self._lives.left,
            "noise_generator": self._noise_generator.get_state(),
            **self.extras.state_dict(),
        }
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        self.env_step, self.updates = state["env_step"], state["updates"]
        self._target_updates, self._lives.left = state["target_updates"], state["lives"]
        restore_generator(self._noise_generator, state["noise_generator"])
        self.extras.load_state_dict(state)
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self.pace.load_state_dict(state)
        else:
            self.replay = None
            self.pace.restart(self.env_step + self.config.learns_from(self.num_envs), self.updates)
            self._lives.left = None
            self.extras.cut_off(range(self.num_envs))
        if self._captured is not None:
            self._captured.forget()
