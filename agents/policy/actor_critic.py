"""The actor-critic learner: PPO (Schulman et al. 2017) by default; A2C (Mnih et al. 2016) is a choice of settings, as
are NPG and TRPO, whose policy a part of its own moves."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.auxiliary import Auxiliary, build_auxiliary
from gymnast.agents.base import Acted, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.encoder import rates_at, set_rates
from gymnast.agents.experience.lives import Lives
from gymnast.agents.maths import policy_gradient
from gymnast.agents.maths.means import shares
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.optim.phases import Divided, Part
from gymnast.agents.optim.together import Together
from gymnast.agents.optim.update import Loss, Update
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.actor_critic_network import actor_critic_network
from gymnast.agents.policy.closed_form import ClosedForm, closed_form
from gymnast.agents.policy.estimates import Estimates
from gymnast.agents.policy.hogwild import Follower, Shared
from gymnast.agents.policy.intrinsic import build_intrinsic
from gymnast.agents.policy.loss import actor_critic_loss
from gymnast.agents.policy.novelty import Experience
from gymnast.agents.policy.policy_actor import PolicyActor
from gymnast.agents.policy.policy_auxiliary import beside
from gymnast.agents.policy.policy_decision import DecidesByPolicy
from gymnast.agents.policy.trust_region import TrustRegion, halves
from gymnast.agents.prediction import Predicts
from gymnast.agents.rewards.base import replace
from gymnast.agents.rewards.build import build_learned_reward
from gymnast.agents.samples import Drawn, Samples, as_steps, minibatches, uncut
from gymnast.agents.schedules import schedule
from gymnast.envs.step import Obs, Step
from gymnast.networks.build import Backbone, settled
from gymnast.networks.distributions.distributions import Categorical, distribution
from gymnast.networks.fast.compiled_mlp import Layers
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.policy_backward import plain_policy
from gymnast.networks.layers.recurrent import reset
from gymnast.replay.rollout import Rollout


class ActorCritic(DecidesByPolicy, Predicts):
    """Actor and critic that learn from rollouts: the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a config that does not match the number of environments.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ActorCriticConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        self.config, wanted = settled(config or ActorCriticConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        self.length = None if config.recurrent == "none" else config.sequence_length or config.rollout_steps
        """Steps of a sample, None if each step is one."""
        _check_sizes(config, num_envs * config.rollout_steps // (self.length or 1), self.device)
        self.env_step = self.updates = 0
        varied = {"value_clip": config.value_clip or 0.0}
        varied |= {name: getattr(config, name) for name in ("learning_rate", "clip", "entropy_coef")}
        self.schedules = {name: schedule(value, name=name) for name, value in varied.items()}
        self.encoder_rate = config.encoder_schedule
        at_first = {name: self.schedules[name](0) for name in ("clip", "value_clip", "entropy_coef")}
        self._now = {name: torch.tensor(value, device=self.device) for name, value in at_first.items()}
        self.distribution = distribution(action_space, squash=config.squash, device=self.device)
        sequence = seed_sequence(seed)
        init_seed, order_seed, intrinsic_seed = sequence.spawn(3)
        self._build_network(wanted, init_seed)
        self.auxiliary = self._build_auxiliary(sequence)
        self.learned_reward = build_learned_reward(
            config, observation_space, action_space, device=self.device, seed=sequence
        )
        self._build_update()
        self._captured = Captured(self._learn) if config.cuda_graphs else None
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(order_seed))
        self.rollout = Rollout(config.rollout_steps, num_envs, device=self.device)
        self.estimates = Estimates(config, self.rollout, length=self.length)
        own = observation_space, action_space
        self.intrinsic = build_intrinsic(
            config.intrinsic, *own, num_envs=num_envs, device=self.device, seed=intrinsic_seed
        )
        parts = (self.auxiliary, self.intrinsic)
        self._needs_successors = any(part is not None and part.needs_successors for part in parts)
        self._began = 0  # env step at which the rollout began
        self._lives = Lives()
        self.together: Together | None = None

    def _build_network(self, backbone: Backbone, seed: np.random.SeedSequence) -> None:
        """The network and its fastest form."""
        config = self.config
        self.network = actor_critic_network(
            backbone,
            self.observation_space,
            self.distribution,
            dataclasses.replace(config, trunk="separate") if config.natural else config,
            torch.Generator().manual_seed(torch_seed(seed)),
            num_values=1 if config.intrinsic == "none" else 2,  # one for rewards, and one for novelty
            joint=config.auxiliary != "none",
        ).to(self.device)
        module = halves(self.network) if config.natural else self.network
        self.weights = FlatParameters(module, apart=self.network.backbones if self.encoder_rate else ())
        if config.workers:  # before any views of them exist
            self.weights.data.share_memory_()  # type: ignore[no-untyped-call]
        self.plain = None if config.compile else plain_policy(self.network, self.weights)
        """A faster form of the network, if it has one."""

    def _build_auxiliary(self, seed: np.random.SeedSequence) -> Auxiliary | None:
        own = self.observation_space, self.action_space, self.network.actor.backbone
        made = build_auxiliary(self.config, *own, seed=seed, prepare=self.network.seen)
        if made is not None:
            self.weights.added = self.weights.grad  # autograd adds to all of it, because the loss needs the features
        return made

    def _build_update(self) -> None:
        """The optimizer and its update; where the policy has steps of its own, they are of the values alone."""
        config, gradient = self.config, None
        self._closed_form: ClosedForm | None = None
        self._normalises = config.normalise_advantages
        """Whether the loss normalises advantages."""
        rate = self.schedules["learning_rate"](0)
        self._optimized, self.trust_region = self.weights, None
        """The weights that the optimizer moves."""
        if config.natural:
            own = self.network, self.weights, self.distribution
            self.trust_region = region = TrustRegion(*own, config, self._now, learning_rate=rate)
            self._optimized, self.optimizer, self._update = region.values, region.optimizer, region.fit
            self._gathers = region.gathers
            return
        loss: Loss = self.loss
        if self.auxiliary is not None:
            loss = beside(self.auxiliary, self.network, self.distribution, self._loss_of)
        elif self.plain is not None:
            gradient = self._closed_form = closed_form(self.plain, self.distribution, config, self._now)
        self._gathers = gradient is None
        """Whether a minibatch is gathered before an update: compiled code gathers it itself."""
        self.optimizer = optimizers.of_agent(config, self.weights, rate)
        self._update = Update(
            loss,
            self.weights,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=config.max_grad_value,
            compile=config.compile,
            gradient=gradient,
            regulariser=regularise.regulariser(config, self.weights),
        )

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load an encoder's weights into each trunk, and the statistics of its observations."""
        self.network.load_backbones(weights, norm)
        if self.auxiliary is not None:
            self.auxiliary.restart()

    def follow(self, shared: Shared) -> None:
        """Send all further updates to weights that other processes learn too."""
        config = self.config
        self.follower = Follower(self.weights, shared, optimizer=config.optimizer, eps=config.optimizer_eps)
        self.optimizer = self.follower.optimizer
        self.step_by(self.follower.step)

    def step_by(self, step: Callable[[], None]) -> None:
        """Call this, once the gradient is computed, in place of the optimizer's step."""
        self._update.step_by(step)

    def join(self, together: Together) -> None:
        """Learn together with other learners; see `LearnsTogether`."""
        self.together = self.estimates.together = together
        self._update.average = together.average
        self._normalises = False  # minibatches come normalised
        if self._closed_form is not None:
            self._closed_form.normalises = False
        scale = self.estimates.scale
        together.share_statistics(self.network, None if scale is None else scale.statistics)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PolicyActor:
        """Draws actions with `explore`, else takes the most probable ones (or draws, with `eval_sample`)."""
        return PolicyActor(self, num_envs, draws=explore or self.config.eval_sample, seed=seed)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> PolicyActor:
        """Takes the most probable actions, or draws them."""
        return PolicyActor(self, num_envs, draws=not deterministic, seed=seed)

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        rollout, config = self.rollout, self.config
        if rollout.full:
            raise ValueError(f"the rollout of {config.rollout_steps} steps is full: learn before storing more")
        terminated, ended = step.terminated, step.ended
        if config.life_loss:
            lost = self._lives.lost(step)
            terminated, ended = terminated | lost, ended | lost
        last = rollout.length == config.rollout_steps - 1
        value = self.estimates.last_value
        if last or step.num_ended != 0:
            value = self._next_value(step.next_obs, acted.next_memory)
        rollout.add(
            obs=obs,
            raw=acted.raw,
            mask=acted.mask,
            log_prob=acted.log_prob,
            value=acted.value,
            memory=acted.memory,
            reward=step.reward,
            novelty=None if self.intrinsic is None else self.intrinsic.reward(obs, acted.action, step),
            terminated=terminated,
            ended=ended,
            start=None if acted.memory is None else step.start,
            final_value=value,  # read at episode ends; otherwise the next row has the successor's value
            active=step.active,
            next_obs=step.next_obs if self._needs_successors else None,
        )
        if last:
            if self.intrinsic is not None and step.num_ended != 0:  # novelty continues after the end
                memory = None if acted.next_memory is None else reset(acted.next_memory, step.start)
                value = torch.cat([value[:, :1], self._next_value(step.obs, memory)[:, 1:]], 1)
            self.estimates.last_value.copy_(value)  # in place, for recorded graphs
        self.env_step += step.num_active * self._learners

    @property
    def _learners(self) -> int:
        return 1 if self.together is None else self.together.count

    def plain_layers(self) -> tuple[Layers, Layers] | None:
        """Of the policy's logits and of the values; None if acting or storing needs more than these."""
        extras = (self.network.norm, self.intrinsic, self.auxiliary, self.learned_reward)
        choices = isinstance(self.distribution, Categorical) and self.distribution.start == 0
        if self.plain is None or not choices or self.config.life_loss or any(part is not None for part in extras):
            return None
        return self.plain.compiled

    def filled(self, last_value: Tensor) -> None:
        """Take a rollout that compiled code has filled, with the values [N, V] of its last successors."""
        self.rollout.filled()
        self.estimates.last_value.copy_(last_value)
        self.env_step += self.config.rollout_steps * self.num_envs * self._learners

    def cut_off(self, rows: Sequence[int]) -> None:
        """The last step is left out, because its successor is not stored; the one before bootstraps from it."""
        fields, last = self.rollout.fields, self.rollout.length - 1
        if self.intrinsic is not None:
            self.intrinsic.cut_off(rows)
        if self.rollout.full or last < 0:
            return
        for row in rows:
            if fields["ended"][last, row]:
                continue
            self.rollout.weight[last, row] = 0.0
            if "start" in fields:
                fields["start"][last, row] = True
            if last and not fields["ended"][last - 1, row]:
                fields["ended"][last - 1, row] = True
                fields["final_value"][last - 1, row] = fields["value"][last, row]

    def _next_value(self, obs: Obs, memory: Tensor | None) -> Tensor:
        """Values [N, V] of the next observations, after the memory [N, M]."""
        if memory is not None:
            return self.network.step(obs, memory)[1]
        value: Tensor = (self.plain or self.network)(obs)[1]
        return value

    def updates_due(self, env_step: int) -> int:
        """1 once the rollout is full."""
        return int(self.rollout.full)

    def learn(self) -> Metrics:
        """Run all epochs and minibatches of a rollout; schedules are those of the env step at which it began."""
        began = self._began
        set_rates(self.optimizer, began, self.schedules["learning_rate"], self.encoder_rate)
        for name, value in self._now.items():
            value.fill_(self.schedules[name](began))
        if self._captured is None:
            metrics = self._learn()
        else:
            metrics = self._captured((self._generator,))
            self.updates += self.config.epochs * self.config.minibatches
        self.rollout.clear()
        self._began = self.env_step
        return metrics

    def _learn(self) -> Metrics:
        rollout, config, metrics = self.rollout, self.config, dict[str, Tensor]()
        replaced = {} if self.learned_reward is None else replace(rollout, self.learned_reward, self.distribution)
        self.estimates.see()
        samples = self.estimates.samples(rollout.fields["value"])
        natural = None if self.trust_region is None else self.trust_region.step(samples, self._generator)
        for batch in self._batches(samples):
            log_ratio, metrics = self._update(as_steps(batch.gathered()) if self._gathers else batch, None)
            if self.auxiliary is not None:
                self.auxiliary.step(self.schedules["learning_rate"](self._began))
            if self._captured is None:
                self.updates += 1
            if config.target_kl is not None and self._apart(batch, log_ratio)["approx_kl"] > config.target_kl:
                break
        metrics |= (self._apart(batch, log_ratio) if natural is None else natural) | self.estimates.seen | replaced
        if self.intrinsic is not None:
            fields = rollout.fields
            action = self.distribution.to_env(fields["raw"].flatten(0, 1))  # [T * N, ...]
            action = action.view(*rollout.weight.shape, *action.shape[1:])
            experience = Experience(fields["obs"], rollout.weight, action, fields.get("next_obs"))
            metrics |= self.intrinsic.learn(experience)
        if self.network.norm is not None:  # last, so that learning sees the same policy that acted
            self.network.norm.update(rollout.fields["obs"], rollout.weight)
        return metrics

    def _apart(self, batch: Drawn[Samples], log_ratio: Tensor) -> Metrics:
        """How far a minibatch's policy is from the one that acted."""
        share = shares(batch.weight)
        clipped = policy_gradient.clip_fraction(log_ratio, self._now["clip"], share)
        found = {"approx_kl": policy_gradient.approx_kl(log_ratio, share), "clip_fraction": clipped}
        return found if self.together is None else self.together.mean(found, batch.weight)

    def _batches(self, samples: Samples) -> Iterator[Drawn[Samples]]:
        """The minibatches of all epochs."""
        config = self.config
        for epoch in range(config.epochs):
            if epoch and config.advantage == "vtrace":
                samples = self._corrected(samples)
            yield from self._epoch(samples)

    def _epoch(self, samples: Samples) -> Iterable[Drawn[Samples]]:
        """The minibatches of one epoch, or this learner's share of them."""
        count, together = self.config.minibatches, self.together
        if together is None:
            return minibatches(samples, count, self._generator)
        own = together.minibatches(samples, count, self._generator)
        return together.normalised(list(own)) if self.config.normalise_advantages else own

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_batches", "sample")
        yield Part(self, "_corrected", "forward")
        if self.trust_region is not None:
            yield Part(self.trust_region, "step", "forward+backward")
        yield Part(self.estimates, "samples", "learn")
        yield from self._update.update_parts()
        if self.plain is not None:
            yield Part(self.plain, "forward", "forward")
            yield Part(self.plain, "write_gradients", "backward")
        if self.auxiliary is not None:
            yield Part(self.auxiliary, "step", "optimizer")
        if self.intrinsic is not None:
            yield from self.intrinsic.update_parts()
        if isinstance(self.learned_reward, Divided):
            yield from self.learned_reward.update_parts()

    @torch.no_grad()
    def _corrected(self, samples: Samples) -> Samples:
        """The samples with advantages and targets of the current policy (V-trace, Espeholt et al. 2018)."""
        output, value = self._outputs(whole := as_steps(samples))
        log_prob, _ = self.distribution.log_prob_entropy(output, whole.raw)
        shape = (self.length, self.config.rollout_steps, self.num_envs)
        return self.estimates.samples(uncut(value, *shape), uncut(log_prob - whole.old.log_prob, *shape))

    def _outputs(self, batch: Samples) -> tuple[Tensor, Tensor]:
        """Outputs [B, P] of samples, with disallowed actions blocked, and values [B, V]."""
        if batch.start is None or batch.memory is None:
            output, value = (self.plain or self.network)(batch.obs)
        else:
            output, value = self.network.sequence(batch.obs, batch.start, batch.memory)
        return (output if batch.mask is None else self.distribution.masked(output, batch.mask)), value

    def loss(self, batch: Samples, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """`actor_critic_loss` of a minibatch."""
        return self._loss_of(*self._outputs(batch), batch)

    def _loss_of(self, output: Tensor, value: Tensor, batch: Samples) -> tuple[Tensor, Tensor, Metrics]:
        """`loss`, from the network's outputs [B, P] and values [B, V]."""
        log_prob, entropy = self.distribution.log_prob_entropy(output, batch.raw)
        config, now = self.config, self._now
        return actor_critic_loss(
            log_prob,
            value,
            entropy=entropy,
            old=batch.old,
            weight=shares(batch.weight),
            clip=now["clip"] if config.policy_loss == "clipped" else None,
            value_clip=None if config.value_clip is None else now["value_clip"],
            value_coef=config.value_coef,
            entropy_coef=now["entropy_coef"],
            normalise=self._normalises,
        )

    def scheduled(self) -> dict[str, float]:
        """Learning rate, clip and entropy coefficient at the current env step."""
        rates = rates_at(self.env_step, self.schedules["learning_rate"], self.encoder_rate)
        return rates | {name: self.schedules[name](self.env_step) for name in ("clip", "entropy_coef")}

    def state_dict(self) -> dict[str, Any]:
        """Network, optimizer, statistics and counts, with the current rollout under "replay"."""
        state: dict[str, Any] = {
            "network": copy.deepcopy(dict(self.network.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self._optimized),
            "generator": self._generator.get_state(),
            "estimates": self.estimates.state_dict(),
            "env_step": self.env_step,
            "updates": self.updates,
            "lives": self._lives.left,
        }
        if self.intrinsic is not None:
            state["intrinsic"] = self.intrinsic.state_dict()
        if self.auxiliary is not None:
            state["auxiliary"] = self.auxiliary.state_dict()
        if self.learned_reward is not None:
            state["learned_reward"] = self.learned_reward.state_dict()
        under_way = {
            "rollout": self.rollout.state_dict(),
            "last_value": self.estimates.last_value.clone(),
            "began": self._began,
        }
        return {**state, "replay": under_way}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" a new rollout begins."""
        self.network.load_state_dict(state["network"])
        optimizers.load_state(self.optimizer, state["optimizer"], self._optimized)
        restore_generator(self._generator, state["generator"])
        self.env_step, self.updates, self._lives.left = state["env_step"], state["updates"], None
        self.estimates.load_state_dict(state["estimates"])
        if self.intrinsic is not None:
            self.intrinsic.load_state_dict(state["intrinsic"])
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(state["auxiliary"])
        if self.learned_reward is not None:
            self.learned_reward.load_state_dict(state["learned_reward"])
        self.rollout.clear()
        self._began = self.env_step
        if "replay" in state:
            under_way = state["replay"]
            self.rollout.load_state_dict(under_way["rollout"])
            self.estimates.last_value.copy_(under_way["last_value"])
            self._began, self._lives.left = under_way["began"], state["lives"]
        if self._captured is not None:
            self._captured.forget()


def _check_sizes(config: ActorCriticConfig, samples: int, device: torch.device) -> None:
    if config.minibatches > samples:
        raise ValueError(f"minibatches must be <= {samples}, the samples of a rollout, got {config.minibatches}")
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")
