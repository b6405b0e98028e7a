"""PQN: Q-learning by a normalised network in many environments, without replay or target network (Gallici et al. 2024).

All environments act for a rollout; its Q(lambda) targets are computed once, by the network that acted, and regressed on
in a few epochs of minibatches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Acted, Decision, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.encoder import rates_at, set_rates
from gymnast.agents.experience.lives import Lives
from gymnast.agents.maths import means, policy_gradient, returns
from gymnast.agents.maths.td import allowed, chosen
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.together import Together
from gymnast.agents.optim.update import Update
from gymnast.agents.prediction import Predicts
from gymnast.agents.samples import Drawn, ValueSamples, minibatches
from gymnast.agents.schedules import schedule
from gymnast.agents.value.intrinsic import build_intrinsic_reward
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.agents.value.pqn_gradient import write_gradient
from gymnast.agents.value.q_actor import PQNActor
from gymnast.agents.value.q_decision import GreedyQ, q_decision
from gymnast.agents.value.q_network import normed_q_network
from gymnast.envs.step import Obs, Step, map_obs
from gymnast.networks.build import Backbone, settled
from gymnast.networks.fast.batch_net import LEARNING
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.q_compiled import CompiledQ, compiled_q
from gymnast.replay.rollout import Rollout


class PQN(Predicts):
    """Parallelised Q-network (Gallici et al. 2024, algorithm 1): the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a config that does not match the number of environments.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: PQNConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(
                f"pqn needs Discrete actions, got {action_space}; use ppo, or a wrapper that enumerates the actions"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.config, wanted = settled(config or PQNConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        _check_sizes(config, num_envs, self.device)
        self.env_step = self.updates = 0
        self.first_action, self.actions = int(action_space.start), int(action_space.n)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.encoder_rate = config.encoder_schedule
        self.epsilon = schedule(config.epsilon, name="epsilon", high=1.0)
        sequence = seed_sequence(seed)
        init_seed, order_seed = sequence.spawn(2)
        own = observation_space, action_space
        self.intrinsic = build_intrinsic_reward(config, *own, num_envs=num_envs, device=self.device, seed=sequence)
        self._build_network(wanted, init_seed)
        self._build_update()
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(order_seed))
        self.rollout = Rollout(config.rollout_steps, num_envs, device=self.device)
        self.exploration = torch.zeros((), device=self.device)
        """Epsilon of the current rollout, []."""
        self._lives = Lives()
        self.together: Together | None = None
        self._begin()

    def _build_network(self, backbone: Backbone, seed: np.random.SeedSequence) -> None:
        """The network and its fastest form."""
        config, generator = self.config, torch.Generator().manual_seed(torch_seed(seed))
        network = normed_q_network(backbone, self.observation_space, self.actions, config, generator)
        self.network = network.to(self.device)
        self.weights = FlatParameters(self.network, apart=(self.network.backbone,) if self.encoder_rate else ())
        self._network: nn.Module | CompiledQ = (
            self.network if config.compile else compiled_q(self.network, self.weights)
        )

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load an encoder's weights; there are no statistics of observations (`norm`)."""
        self.network.backbone.load_state_dict(weights)

    def _build_update(self) -> None:
        """Build the optimizer and its update."""
        config = self.config
        self.optimizer = optimizers.of_agent(config, self.weights, self.learning_rate(0))
        self._update = Update(
            self.loss,
            self.weights,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=None,
            compile=config.compile,
            gradient=self.gradient if isinstance(self._network, CompiledQ) else None,
            regulariser=regularise.regulariser(config, self.weights),
        )
        self._captured = Captured(self._learn) if config.cuda_graphs else None

    def _begin(self) -> None:
        """A new rollout; its epsilon and learning rate are those of the env step at which it begins."""
        self.rollout.clear()
        self._begin_at(self.env_step)

    def _begin_at(self, env_step: int) -> None:
        self._began = env_step
        self.exploration.fill_(self.epsilon(env_step))

    def join(self, together: Together) -> None:
        """Learn together with other learners; see `LearnsTogether`."""
        self.together = together
        self._update.average = together.average

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PQNActor:
        """Epsilon-greedy actions: by the schedule with `explore`, else with `eval_epsilon`."""
        return PQNActor(self, explore=explore, seed=seed, eval_epsilon=self.config.eval_epsilon)

    def epsilon_greedy(self, num_envs: int, *, epsilon: float, seed: int | np.random.SeedSequence) -> PQNActor:
        """Greedy actions, or with probability epsilon random ones."""
        return PQNActor(self, explore=False, seed=seed, eval_epsilon=epsilon)

    def predicting_actor(self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> PQNActor:
        """Greedy actions, or epsilon-greedy ones by the schedule."""
        return PQNActor(self, explore=not deterministic, seed=seed)

    def q_values(self, obs: Obs) -> Tensor:
        """Action values [B, A] of observations [B, ...]."""
        q: Tensor = self._network(obs).squeeze(2)  # type: ignore[arg-type]
        return q

    preferences = "action value"

    @property
    def decision_network(self) -> nn.Module:
        return self.network

    @property
    def decision_memory(self) -> int:
        return 0

    def decide(self, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """Action values as a differentiable decision; see `DecidingAgent`."""
        mask = action_mask if self.config.action_masks else None
        return q_decision(self.network, _single, obs, memory, mask)

    def greedy_policy(self) -> GreedyQ:
        """The greedy action as a module; see `ExportableAgent`."""
        masks = self.config.action_masks
        return GreedyQ(self.network, lambda q, _: _single(q), takes_masks=masks, first_action=self.first_action)

    def best(self, obs: Obs, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The largest value of an allowed action [N], and that action's number from 0 on [N].

        A row that allows no action uses the first one, whose value is finite.
        """
        q = self.q_values(obs)
        if mask is None:
            value, action = q.max(1)
            return value, action
        action = allowed(q, mask).argmax(1)
        return q.gather(1, action.unsqueeze(1)).squeeze(1), action

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        if self.rollout.full:
            raise ValueError(f"the rollout of {self.rollout.steps} steps is full: learn before storing more")
        terminated, ended = step.terminated, step.ended
        if self.config.life_loss:
            lost = self._lives.lost(step)
            terminated, ended = terminated | lost, ended | lost
        self.rollout.add(
            obs=obs,
            action=acted.raw,
            value=acted.value,
            reward=step.reward,
            novelty=None if self.intrinsic is None else self.intrinsic(obs, acted.action, step),
            terminated=terminated,
            ended=ended,
            next_obs=step.next_obs,
            next_mask=step.next_action_mask if self.config.action_masks else None,
            active=step.active,
        )
        self.env_step += step.num_active * (1 if self.together is None else self.together.count)

    def cut_off(self, rows: Sequence[int]) -> None:
        """Their last step bootstraps from its successor."""
        if self.rollout.length:
            self.rollout.fields["ended"][self.rollout.length - 1, list(rows)] = True
        if self.intrinsic is not None:
            self.intrinsic.cut_off(rows)

    def updates_due(self, env_step: int) -> int:
        """1 once the rollout is full."""
        return int(self.rollout.full)

    def learn(self) -> Metrics:
        """Run all epochs and minibatches of a rollout (algorithm 1's inner part)."""
        config = self.config
        set_rates(self.optimizer, self._began, self.learning_rate, self.encoder_rate)
        metrics = self._learn() if self._captured is None else self._captured((self._generator,))
        self.updates += config.epochs * config.minibatches
        self._begin()
        return metrics if self.intrinsic is None else metrics | self.intrinsic.metrics

    def _learn(self) -> Metrics:
        """The part of learning that runs only on the device and is the same every time."""
        metrics = dict[str, Tensor]()
        for batch in self._batches():
            _, metrics = self._update(batch if isinstance(self._network, CompiledQ) else batch.gathered(), None)
        return metrics

    def _batches(self) -> Iterator[Drawn[ValueSamples]]:
        """The minibatches of all epochs."""
        config, fields = self.config, self.rollout.fields
        samples = ValueSamples(
            obs=map_obs(_flat, fields["obs"]),
            action=_flat(fields["action"]),
            target=_flat(self.targets()),
            weight=_flat(self.rollout.weight),
        )
        for _ in range(config.epochs):
            draw = minibatches if self.together is None else self.together.minibatches
            yield from draw(samples, config.minibatches, self._generator)

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_batches", "sample")
        yield Part(self, "targets", "learn")
        yield from self._update.update_parts()
        if self.intrinsic is not None:
            yield from self.intrinsic.update_parts()

    @torch.no_grad()
    def targets(self) -> Tensor:
        """Q(lambda) targets of the rollout's steps, [T, N] (section 4).

        A truncation keeps its bootstrap, from the final observation, and carries no later return.
        """
        config, fields = self.config, self.rollout.fields
        reward = fields["reward"].clamp(-1.0, 1.0) if config.clip_rewards else fields["reward"]
        reward = reward * config.reward_scale + fields.get("novelty", 0.0)
        discount = config.gamma * (1.0 - fields["terminated"].float())
        next_value = self._next_value()
        return returns.lambda_returns(reward, discount, next_value, fields["ended"], config.td_lambda)

    def _next_value(self) -> Tensor:
        """The largest action values of the steps' successors, [T, N].

        Within an episode acting has computed them. On the CPU only the others are computed; elsewhere all are, because
        only the device knows which those are.
        """
        fields = self.rollout.fields
        next_obs, next_mask = map_obs(_flat, fields["next_obs"]), fields.get("next_mask")
        next_mask = None if next_mask is None else _flat(next_mask)
        if self.device.type != "cpu":
            return self.best(next_obs, next_mask)[0].view_as(fields["reward"])
        value: Tensor = fields["value"][..., 0]
        unknown = fields["ended"] & ~fields["terminated"]
        unknown[-1] = True
        rows = unknown.flatten().nonzero().squeeze(1)
        asked = map_obs(lambda part: part.index_select(0, rows), next_obs)
        final = self.best(asked, None if next_mask is None else next_mask.index_select(0, rows))[0]
        following = torch.cat([value[1:], value[-1:]])
        return following.view(-1).index_copy_(0, rows, final).view_as(value)

    def loss(self, batch: ValueSamples, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """Half the squared error [], the error of each sample [B], and the mean value of the actions taken."""
        target, share = batch.target, means.shares(batch.weight)
        output: Tensor = self._network(batch.obs)  # type: ignore[arg-type]
        value = chosen(output, batch.action).squeeze(1)  # [B]
        loss = policy_gradient.value_loss(value, target, share)
        return loss, target - value.detach(), self._metrics(loss.detach(), value.detach(), share)

    def gradient(self, batch: Drawn[ValueSamples], noise: Tensor | None) -> tuple[Tensor, Metrics]:
        """Write the gradient of `loss`; returns the error of each sample [B] and metrics."""
        assert isinstance(self._network, CompiledQ)
        samples, index = batch.samples, batch.numbers()
        assert isinstance(samples.obs, Tensor)
        obs, action, target, weight = samples.obs.numpy(), *(part.numpy() for part in samples[1:])
        network = self._network.reserve(len(index), products=LEARNING)
        error, numbers = write_gradient(network, obs, action, target, weight, index)
        return torch.from_numpy(error), dict(zip(("loss", "q"), torch.from_numpy(numbers).unbind(0), strict=True))

    def _metrics(self, loss: Tensor, value: Tensor, share: Tensor) -> Metrics:
        return {"loss": loss, "q": means.weighted_mean(value, share)}

    def scheduled(self) -> dict[str, float]:
        """Epsilon and learning rate at the current env step."""
        rates = rates_at(self.env_step, self.learning_rate, self.encoder_rate)
        return {"epsilon": self.epsilon(self.env_step), **rates}

    def state_dict(self) -> dict[str, Any]:
        """Network, optimizer and counts, with the current rollout under "replay"."""
        state = {
            "network": copy.deepcopy(dict(self.network.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "generator": self._generator.get_state(),
            "env_step": self.env_step,
            "updates": self.updates,
        }
        if self.intrinsic is not None:
            state["intrinsic"] = self.intrinsic.state_dict()
        return {
            **state,
            "replay": {"rollout": self.rollout.state_dict(), "began": self._began, "lives": self._lives.left},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" a new rollout begins."""
        self.network.load_state_dict(state["network"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        restore_generator(self._generator, state["generator"])
        self.env_step, self.updates, self._lives.left = state["env_step"], state["updates"], None
        if self.intrinsic is not None:
            self.intrinsic.load_state_dict(state["intrinsic"])
        self._begin()
        if "replay" in state:
            self.rollout.load_state_dict(state["replay"]["rollout"])
            self._begin_at(state["replay"]["began"])
            self._lives.left = state["replay"]["lives"]
        if self._captured is not None:
            self._captured.forget()


def _check_sizes(config: PQNConfig, num_envs: int, device: torch.device) -> None:
    samples = num_envs * config.rollout_steps
    if config.minibatches > samples:
        raise ValueError(f"minibatches must be <= {samples}, the steps of a rollout, got {config.minibatches}")
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")


def _single(output: Tensor) -> Tensor:
    """[N, A, 1] to [N, A]."""
    return output.squeeze(2)


def _flat(field: Tensor) -> Tensor:
    """[T, N, ...] to [T * N, ...]."""
    return field.flatten(0, 1)
