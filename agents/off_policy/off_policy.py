"""Off-policy actor-critics: critics learn from a replay, and the policy ascends what they say (DDPG, TD3, SAC)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, LearningError, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.encoder import rates_at, set_rates
from gymnast.agents.experience.augmentation import build_augmentation
from gymnast.agents.experience.pace import Pace
from gymnast.agents.experience.replay import Replay, build_replay
from gymnast.agents.off_policy.closed_form import closed_form
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig, check_device
from gymnast.agents.off_policy.decision import DecidesOffPolicy
from gymnast.agents.off_policy.losses import Draws, Losses
from gymnast.agents.off_policy.memory import Histories, sequences_of
from gymnast.agents.off_policy.networks import critic_network, policy_network
from gymnast.agents.off_policy.off_policy_actor import OffPolicyActor
from gymnast.agents.off_policy.policies import entropy_of, policy_of
from gymnast.agents.off_policy.recurrent_actor import RecurrentOffPolicyActor
from gymnast.agents.off_policy.sequence_losses import SequenceLosses
from gymnast.agents.off_policy.target import Target
from gymnast.agents.off_policy.temperature import Temperature
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Update
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.envs.step import GoalRewards, Obs, Step
from gymnast.networks.build import Backbone, settled
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.numpy_policy import numpy_policy
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.hindsight import Hindsight
from gymnast.replay.sequences import SequenceBatch, SequenceReplay


class OffPolicyActorCritic(DecidesOffPolicy, Predicts):
    """Soft actor-critic (Haarnoja et al. 2018) and its relatives: the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a replay larger than the free memory.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: OffPolicyActorCriticConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config, wanted = settled(config or OffPolicyActorCriticConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        check_device(config, self.device)
        self.policy, self.bounds = policy_of(action_space, config, device=self.device)
        self.first_action = int(action_space.start) if isinstance(action_space, spaces.Discrete) else 0
        self.temperature = Temperature(config, target=entropy_of(action_space), device=self.device)
        self.exploration_noise = schedule(config.exploration_noise, name="exploration_noise")
        self.beta = schedule(config.priority_beta, name="priority_beta", high=1.0)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        rate = config.learning_rate if config.policy_learning_rate is None else config.policy_learning_rate
        self.policy_rate = schedule(rate, name="policy_learning_rate")
        self.encoder_rate = config.encoder_schedule
        sequence = seed_sequence(seed)
        init_seed, self._replay_seed, noise_seed = sequence.spawn(3)
        self._build_networks(wanted, torch.Generator().manual_seed(torch_seed(init_seed)))
        own = config.augment, observation_space, self.online.encoder
        self.augmentation = build_augmentation(*own, device=self.device, seed=sequence)
        self._build_updates(noise_seed)
        (self._goal_seed,) = self._replay_seed.spawn(1)
        self._goal_rewards: GoalRewards | None = None
        self.replay: Replay | Hindsight | None = None
        """None until `allocate` makes it."""
        self.env_step = self.updates = 0
        self.pace = Pace(config.learns_from(num_envs), period=config.train_period, updates=config.updates_per_train)

    def _build_networks(self, backbone: Backbone, generator: torch.Generator) -> None:
        """Critics and policy, their target networks, and all parameters flat."""
        config, device = self.config, self.device
        boxed = self.bounds is not None
        sizes = {"action_size": self.policy.noise_size, "choices": 1 if boxed else self.policy.outputs}
        online = critic_network(backbone, self.observation_space, config, **sizes, generator=generator)
        self.online = online.to(device).eval()
        features = int(online.encoder.out_features)  # type: ignore[arg-type]
        self.network = policy_network(features, self.policy, config, generator=generator).to(device).eval()
        self.target, self.target_policy = copy.deepcopy(self.online), copy.deepcopy(self.network)
        apart = (self.online.encoder,) if self.encoder_rate else ()
        self.weights, self.policy_weights = FlatParameters(self.online, apart=apart), FlatParameters(self.network)
        self.targets: list[Target] = []
        """The target networks in use: the critics', and a deterministic policy's."""
        if config.target_network:
            self.targets.append(Target(self.target, self.online, self.weights))
        if config.policy == "deterministic":
            self.targets.append(Target(self.target_policy, self.network, self.policy_weights))
        self.numpy_policy = numpy_policy(self.network, self.online.encoder)
        self.histories = Histories.of(self.online, self.network, actions=self.policy.noise_size or self.policy.outputs)
        networks: dict[str, Any] = {"online": self.online, "target": self.target}
        networks |= {"network": self.network, "target_policy": self.target_policy}
        losses: Callable[..., Losses] = Losses
        if self.histories is not None:
            losses = partial(SequenceLosses, histories=self.histories)
        self.losses = losses(config, self.policy, self.temperature.value, **networks)

    def _build_updates(self, noise_seed: np.random.SeedSequence) -> None:
        """The optimizers of critics and policy, their updates, and the noise of an update."""
        config = self.config
        more: dict[str, Any] = {"eps": config.optimizer_eps, "captured": config.cuda_graphs}
        build = partial(optimizers.build_groups, config.optimizer, more=config.optimizer_more, **more)
        self.optimizer = build(groups=self.weights.groups, lr=self.learning_rate(0))
        self.policy_optimizer = build(groups=self.policy_weights.groups, lr=self.policy_rate(0))
        make = partial(Update, max_grad_norm=config.max_grad_norm, max_grad_value=None, compile=config.compile)
        closed = closed_form(self.losses, self.weights, self.policy_weights, self.targets)
        by_critics, by_policy = (closed.of_critics, closed.of_policy) if closed else (None, None)
        self._update = make(self.losses.of_critics, self.weights, self.optimizer, gradient=by_critics)
        self._policy_update = make(
            self.losses.of_policy, self.policy_weights, self.policy_optimizer, gradient=by_policy
        )
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(noise_seed))
        self._captured = {with_policy: Captured(partial(self._learn, with_policy)) for with_policy in (False, True)}
        self._policy_metrics: Metrics = {}

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load an encoder's weights into both networks; there are no statistics of observations (`norm`)."""
        for network in (self.online, self.target):
            network.encoder.load_state_dict(weights)

    @property
    def acts_at_random(self) -> bool:
        """Whether learning has not begun yet."""
        return self.env_step < self.pace.begins

    @property
    def needs_goal_rewards(self) -> bool:
        return self.config.hindsight != "none"

    def set_goal_rewards(self, rewards: GoalRewards) -> None:
        """Take the environment's rewards for other goals (`Env.goal_rewards`), which hindsight needs."""
        self._goal_rewards = rewards
        if isinstance(self.replay, Hindsight):
            self.replay.rewards = rewards

    def allocate(self) -> Replay | Hindsight:
        """The replay, made at the first call, with which training begins: an agent that only acts does not need it."""
        if self.replay is None:
            replay = build_replay(
                self.config,
                self.observation_space,
                num_envs=self.num_envs,
                device=self.device,
                seed=self._replay_seed,
                beta=self.beta,
                sequences=sequences_of(self.config, self.histories),
                action_size=self.policy.noise_size,
            )
            self.replay = replay if self.config.hindsight == "none" else self._in_hindsight(replay)
        return self.replay

    def _in_hindsight(self, ring: Replay) -> Hindsight:
        assert not isinstance(ring, SequenceReplay)  # as the config has checked
        if self._goal_rewards is None:
            raise ValueError("hindsight needs rewards of other goals: set_goal_rewards(env.goal_rewards())")
        generator = torch.Generator(self.device).manual_seed(torch_seed(self._goal_seed))
        options: dict[str, Any] = {"strategy": self.config.hindsight, "ratio": self.config.hindsight_ratio}
        return Hindsight(ring, self._goal_rewards, **options, generator=generator)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> OffPolicyActor:
        """Random actions until learning begins, then the policy's with noise; with `explore` False its mode."""
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        return self._actor_class(self, num_envs, draws=explore, warms_up=explore, seed=seed)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> OffPolicyActor:
        """The policy's mode, or actions drawn from it; no replay is made."""
        return self._actor_class(self, num_envs, draws=not deterministic, warms_up=False, seed=seed)

    @property
    def _actor_class(self) -> type[OffPolicyActor]:
        return OffPolicyActor if self.histories is None else RecurrentOffPolicyActor

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        assert acted.raw is not None
        remembered: dict[str, Any] = {} if acted.memory is None else {"memory": acted.memory}
        try:
            self.allocate().add(
                obs,
                acted.raw,
                reward=step.reward,
                terminated=step.terminated,
                truncated=step.truncated,
                next_obs=step.next_obs,
                following=step.obs,
                mask=acted.mask,
                next_mask=step.next_action_mask if acted.mask is not None else None,
                active=step.active,
                **remembered,
            )
        except ValueError as error:  # observations that are not stacks of frames, rewards that are not of goals alone
            raise LearningError(str(error)) from error
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        """Exactly `updates_per_train` for every `train_period` env steps since learning began, for any num_envs."""
        return self.pace.due(env_step, self.updates)

    def learn(self) -> Metrics:
        """One update of the critics from a batch of the replay, and of the policy when that is due."""
        due_at = self.pace.step_of(self.updates)
        self.allocate().sampler.anneal(due_at)
        set_rates(self.optimizer, due_at, self.learning_rate, self.encoder_rate)
        optimizers.set_learning_rate(self.policy_optimizer, self.policy_rate(due_at))
        self.temperature.anneal(due_at)
        self.updates += 1
        with_policy = self.updates % self.config.policy_period == 0
        metrics = self._captured_learn(with_policy) if self.config.cuda_graphs else self._learn(with_policy)
        if self.updates % self.config.target_period == 0:
            self._update_targets()
        return metrics

    def _learn(self, with_policy: bool) -> Metrics:
        """The part of an update that runs only on the device and is the same every time."""
        replay = self.allocate()
        batch = replay.sample()
        if self.augmentation is not None:
            assert not isinstance(batch, SequenceBatch)  # as the config has checked
            batch = self.augmentation.batch(batch)
        draws: Any = self._draw(batch.reward.numel())
        error, metrics = self._update(batch, draws)
        replay.sampler.update(batch.index, error)
        if with_policy:
            entropy, self._policy_metrics = self._policy_update(batch, draws)
            self.temperature.learn(entropy)
        return metrics | self._policy_metrics

    def _captured_learn(self, with_policy: bool) -> Metrics:
        assert isinstance(self.replay, DeviceRing)
        augmenting = () if self.augmentation is None else (self.augmentation.generator,)
        generators = (self._generator, *self.replay.sampler.generators, *augmenting)
        return self._captured[with_policy](generators, key=self.replay.mask is None)

    def _draw(self, rows: int) -> Draws:
        config, generator, device = self.config, self._generator, self.device
        normal: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.policy.noise_size:
            numbers = torch.randn((2, rows, self.policy.noise_size), generator=generator, device=device)
            normal = numbers[0], numbers[1]
        subset = None
        if config.target_subset is not None:
            order = torch.rand(config.critics, generator=generator, device=device).argsort()
            subset = order[: config.target_subset]
        return Draws(*normal, subset)

    def update_parts(self) -> Iterator[Part]:
        replay = self.allocate()
        yield Part(replay, "sample", "sample")
        yield Part(replay.sampler, "update", "sample")
        yield from self._update.update_parts()
        yield from self._policy_update.update_parts()

    def policy_values(self, q: Tensor) -> Tensor:
        """The action values that the policy ascends; see `Losses`."""
        return self.losses.policy_values(q)

    def _update_targets(self) -> None:
        for target in self.targets:
            target.follow(self.config.tau)

    def scheduled(self) -> dict[str, float]:
        """Learning rates and, where they have an effect, exploration noise and beta at the current env step."""
        scheduled = rates_at(self.env_step, self.learning_rate, self.encoder_rate)
        scheduled["policy_learning_rate"] = self.policy_rate(self.env_step)
        if self.config.policy == "deterministic":
            scheduled["exploration_noise"] = self.exploration_noise(self.env_step)
        return scheduled | ({"priority_beta": self.beta(self.env_step)} if self.config.prioritized else {})

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers and counts, with the replay under "replay", whose tensors are the agent's own."""
        state = {
            "critic": copy.deepcopy(dict(self.online.state_dict())),
            "policy": copy.deepcopy(dict(self.network.state_dict())),
            "target_critic": copy.deepcopy(dict(self.target.state_dict())),
            "target_policy": copy.deepcopy(dict(self.target_policy.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "policy_optimizer": optimizers.state_of(self.policy_optimizer, self.policy_weights),
            "temperature": self.temperature.state_dict(),
            "env_step": self.env_step,
            "updates": self.updates,
            **self.pace.state_dict(),
            "generator": self._generator.get_state(),
            "policy_metrics": {name: value.clone() for name, value in self._policy_metrics.items()},
        }
        if self.augmentation is not None:
            state["augmentation"] = self.augmentation.state_dict()
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.online.load_state_dict(state["critic"])
        self.network.load_state_dict(state["policy"])
        self.target.load_state_dict(state["target_critic"])
        self.target_policy.load_state_dict(state["target_policy"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        optimizers.load_state(self.policy_optimizer, state["policy_optimizer"], self.policy_weights)
        self.temperature.load_state_dict(state["temperature"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        restore_generator(self._generator, state["generator"])
        self._policy_metrics = {name: value.to(self.device) for name, value in state["policy_metrics"].items()}
        if self.augmentation is not None:
            self.augmentation.load_state_dict(state["augmentation"])
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self.pace.load_state_dict(state)
        else:
            self.replay = None
            self.pace.restart(self.env_step + self.config.learns_from(self.num_envs), self.updates)
        for captured in self._captured.values():
            captured.forget()
