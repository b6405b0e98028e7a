"""DQN: Q-learning with a network, a replay memory and a target network (Mnih et al. 2015)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import optimizers
from gymnast.agents.base import Acted, LearningError, Metrics, seed_sequence
from gymnast.agents.losses import chosen, weighted_mean
from gymnast.agents.q_actor import QActor
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.values import Scalar, Values
from gymnast.envs.step import Obs, Step
from gymnast.networks import build
from gymnast.networks.backbones import ACTIVATIONS
from gymnast.networks.flat import FlatParameters, clip_norm, copy_buffers
from gymnast.networks.heads import QHead, QNetwork
from gymnast.networks.init import INITS, initialise
from gymnast.networks.numpy_forward import numpy_forward
from gymnast.networks.plain import fast
from gymnast.replay.device_ring import DeviceRing
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import DeviceUniform, Uniform
from gymnast.replay.transitions import Batch, NStep


@dataclass(frozen=True)
class DQNConfig:
    """Deep Q-network (Mnih et al. 2015)."""

    backbone: str = "auto"
    """Network below the head: auto, mlp, nature-cnn, or module:Class for your own nn.Module."""
    hidden_sizes: tuple[int, ...] = (120, 84)
    """Units of the MLP's layers."""
    activation: str = "relu"
    """The MLP's activation: relu, tanh, elu, gelu, silu."""
    init: Literal["orthogonal", "he", "xavier", "torch"] = "torch"
    """Initial weights."""
    loss: Literal["huber", "mse"] = "huber"
    """Loss of the TD error."""
    optimizer: str = "adam"
    """Any elementwise optimizer of torch in lower case, or nature-rmsprop (epsilon inside the root, centred)."""
    learning_rate: ScheduleLike = 1e-4
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer_eps: float | None = None
    """The optimizer's epsilon; by default its own."""
    max_grad_norm: float | None = 10.0
    """Largest Euclidean norm of the gradient."""
    max_grad_value: float | None = None
    """Largest absolute value of each of the gradient's entries."""
    gamma: float = 0.99
    """Discount of one step."""
    n_step: int = 1
    """Rewards that a target sums before it bootstraps."""
    epsilon: ScheduleLike = "linear:1:0.05:10000"
    """Probability of a random action: a number or a schedule of the env step."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluations."""
    batch_size: int = 32
    """Transitions of an update."""
    replay_size: int = 100_000
    """Slots of the replay; an episode takes one for each action and frame_stack more."""
    frame_stack: int = 0
    """Frames stacked in an observation, which the replay keeps once each; 0 is 4 for uint8 [4, H, W], else 1."""
    learning_starts: int = 1_000
    """Env steps before the first update."""
    train_period: int = 4
    """Env steps between two times of learning."""
    updates_per_train: int = 1
    """Updates each time."""
    target_period: int = 1_000
    """Env steps between two updates of the target network."""
    tau: float = 1.0
    """How far the target network goes towards the online one each time; 1 copies it."""
    clip_rewards: bool = False
    """Learn from rewards clipped to [-1, 1]; logs and evaluations keep the true ones."""
    life_loss: bool = False
    """Learn as if a lost life were the end, where the environment tells lives; episodes go on."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "replay_size", "train_period", "updates_per_train", "target_period", "n_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_starts", "frame_stack"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("gamma", "eval_epsilon"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in ("max_grad_norm", "max_grad_value", "optimizer_eps"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be at least one number >= 1, got {self.hidden_sizes}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if not 0.0 < self.tau <= 1.0:
            raise ValueError(f"tau must be > 0 and <= 1, got {self.tau}")
        if self.loss not in ("huber", "mse"):
            raise ValueError(f"loss must be huber or mse, got {self.loss!r}")
        if self.init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, got {self.init!r}")
        schedule(self.learning_rate, name="learning_rate")
        schedule(self.epsilon, name="epsilon", high=1.0)
        optimizers.check(self.optimizer, self.optimizer_eps)


class DQN:
    """Deep Q-network (Mnih et al. 2015, algorithm 1): the agent, without environment, loop or logger.

    Raises:
        ValueError: spaces that do not fit, or a replay larger than the free memory.
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
        backbone: nn.Module | None = None,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(
                f"dqn needs Discrete actions, got {action_space}; a wrapper that numbers the actions would fit"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config = config or DQNConfig()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.env_step = self.updates = 0
        self.first_action = int(action_space.start)
        self.epsilon = schedule(config.epsilon, name="epsilon", high=1.0)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.values: Values = Scalar(config.loss)
        init_seed, self._replay_seed = seed_sequence(seed).spawn(2)
        self.online = self._network(init_seed, backbone).to(self.device)
        self.target = copy.deepcopy(self.online)
        self.weights, self.target_weights = FlatParameters(self.online), FlatParameters(self.target).freeze()
        self._online, self._target = fast(self.online, self.weights), fast(self.target, self.target_weights)
        self.optimizer = optimizers.build(
            config.optimizer, self.weights.parameter, lr=self.learning_rate(0), eps=config.optimizer_eps
        )
        self._step = optimizers.stepper(self.optimizer)
        self.numpy_q = numpy_forward(self.online)
        # Once so many transitions are stored, at least one of n steps is complete.
        self._learns_from = max(config.learning_starts, (config.n_step - 1) * num_envs + 1)
        self._updates_before = 0  # updates done when the replay was last empty
        self._target_updates = 0
        self._lives: Tensor | None = None

    def _network(self, seed: np.random.SeedSequence, backbone: nn.Module | None) -> QNetwork:
        config = self.config
        generator = torch.Generator().manual_seed(_torch_seed(seed))
        base = build(
            config.backbone if backbone is None else backbone,
            self.observation_space,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            init=config.init,
            generator=generator,
        )
        head = QHead(int(base.out_features), int(self.action_space.n), self.values.outputs)  # type: ignore[arg-type]
        initialise(head, config.init, activation=None, generator=generator)
        return QNetwork(base, head)

    @cached_property
    def replay(self) -> Ring | DeviceRing:
        """The memory, made when training begins: an agent that only acts needs none."""
        config, space = self.config, self.observation_space
        images = isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape[:1] == (4,)
        stack = config.frame_stack or (4 if images and len(space.shape or ()) == 3 else 1)
        layout, transitions = Layout(space, stack=stack), NStep(config.n_step, config.gamma)
        sizes = {"size": config.replay_size, "num_envs": self.num_envs, "batch_size": config.batch_size}
        if self.device.type == "cpu":
            sampler = Uniform(np.random.Generator(np.random.PCG64(self._replay_seed)))
            return Ring(layout, sampler, transitions, **sizes)
        generator = torch.Generator(self.device).manual_seed(_torch_seed(self._replay_seed))
        return DeviceRing(layout, DeviceUniform(generator), transitions, **sizes, device=self.device)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> QActor:
        """Epsilon-greedy actions: by the schedule with `explore`, else with `eval_epsilon`."""
        if explore:
            _ = self.replay  # too much memory is said before training begins
        return QActor(self, num_envs, explore=explore, seed=seed)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        config = self.config
        try:
            self.replay.add(
                obs,
                acted.action - self.first_action if self.first_action else acted.action,
                reward=step.reward.clamp(-1.0, 1.0) if config.clip_rewards else step.reward,
                terminated=step.terminated,
                truncated=step.truncated,
                next_obs=step.next_obs,
                following=step.obs,
                life_lost=self._life_lost(step) if config.life_loss else None,
                active=step.active,
            )
        except ValueError as error:  # observations that are no stacks of frames
            raise LearningError(str(error)) from error
        self.env_step += step.num_active

    def _life_lost(self, step: Step) -> Tensor | None:
        """Rows that have fewer lives than before, None in the first step."""
        if step.lives is None:
            raise LearningError("life_loss needs an environment that tells lives, as Atari's do: set life_loss False")
        before, self._lives = self._lives, torch.where(step.ended, 0, step.lives)
        return None if before is None else step.lives < before

    def updates_due(self, env_step: int) -> int:
        """Exactly `updates_per_train` for every `train_period` env steps since learning began, however many rows."""
        config = self.config
        if env_step < self._learns_from:
            return 0
        periods = (env_step - self._learns_from) // config.train_period
        return periods * config.updates_per_train - (self.updates - self._updates_before)

    def _due_at(self, update: int) -> int:
        """The env step at which an update falls due: what its schedules are functions of, whatever num_envs is."""
        periods = (update - self._updates_before) // self.config.updates_per_train + 1
        return self._learns_from + periods * self.config.train_period

    def learn(self) -> Metrics:
        """One update from a batch of the replay (algorithm 1's inner part)."""
        due_at = self._due_at(self.updates)
        batch = self.replay.sample()
        loss, error, q = self.loss(batch)
        self.weights.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        metrics = {"loss": loss.detach(), "q": q}
        if self.config.max_grad_value is not None:
            self.weights.grad.clamp_(-self.config.max_grad_value, self.config.max_grad_value)
        if self.config.max_grad_norm is not None:
            metrics["grad_norm"] = clip_norm(self.weights.grad, self.config.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(due_at)
        self._step()
        self.replay.sampler.update(batch.index, error)
        self.updates += 1
        self._update_target(due_at)
        return metrics

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [], error of each sample [B] and mean value [] of the actions taken (equation 3)."""
        values = self.values
        with torch.no_grad():
            next_output = self._target(batch.next_obs)  # [B, A, K]
            next_action = values.q(next_output).argmax(1)
        output = chosen(self._online(batch.obs), batch.action)  # [B, K]
        loss, error = values.td_loss(output, batch.reward, batch.discount, chosen(next_output, next_action))
        return weighted_mean(loss, batch.weight), error, values.q(output.detach()).mean()

    def _update_target(self, env_step: int) -> None:
        passed = env_step // self.config.target_period - self._target_updates
        if passed:
            self.target_weights.follow(self.weights, 1.0 - (1.0 - self.config.tau) ** passed)
            copy_buffers(self.online, self.target)
            self._target_updates += passed

    def scheduled(self) -> dict[str, float]:
        """Epsilon and learning rate at the current env step."""
        return {"epsilon": self.epsilon(self.env_step), "learning_rate": self.learning_rate(self.env_step)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer and counts; under "replay" the memory, whose tensors are the agent's own."""
        state = {
            "online": copy.deepcopy(dict(self.online.state_dict())),
            "target": copy.deepcopy(dict(self.target.state_dict())),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "env_step": self.env_step,
            "updates": self.updates,
            "target_updates": self._target_updates,
            "learns_from": self._learns_from,
            "updates_before": self._updates_before,
            "lives": self._lives,
        }
        return {**state, "replay": self.replay.state_dict()} if "replay" in self.__dict__ else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.env_step, self.updates = state["env_step"], state["updates"]
        self._target_updates, self._lives = state["target_updates"], state["lives"]
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
            self._learns_from, self._updates_before = state["learns_from"], state["updates_before"]
        else:
            self.__dict__.pop("replay", None)
            least = (self.config.n_step - 1) * self.num_envs + 1
            self._learns_from = self.env_step + max(self.config.learning_starts, least)
            self._updates_before, self._lives = self.updates, None


def _torch_seed(seed: np.random.SeedSequence) -> int:
    return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
