"""IRIS: learn codes of observations, a transformer that predicts them, and a policy in its imagination."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Acted, Imagined, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.experience.pace import Pace
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.phases import Part
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.agents.world_models.context import Context
from gymnast.agents.world_models.iris_config import IrisConfig
from gymnast.agents.world_models.iris_decision import DecidesByCodes
from gymnast.agents.world_models.iris_model import CodeSequences, IrisModel
from gymnast.agents.world_models.records import Records, build_replay
from gymnast.allocator import keep_freed_pages
from gymnast.envs.step import Obs, Step, map_obs
from gymnast.networks.fast.flat import FlatParameters, clip_norm
from gymnast.networks.modes import learning
from gymnast.networks.world_models import frames
from gymnast.replay.sequences import SequenceBatch, SequenceReplay

PARTS = ("tokenizer", "world", "policy")
"""The parts of the model that learn, in the order in which they start."""


class Iris(Predicts, DecidesByCodes):
    """IRIS (Micheli et al. 2023): the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a replay larger than the free memory.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: IrisConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config = config or IrisConfig()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.epsilon = schedule(config.epsilon, name="epsilon", low=0.0, high=1.0)
        init_seed, self._replay_seed, noise_seed = seed_sequence(seed).spawn(3)
        generator = torch.Generator().manual_seed(torch_seed(init_seed))
        self.model = IrisModel(observation_space, action_space, config, generator=generator, device=self.device).to(
            self.device
        )
        self.learners = {name: Learner(getattr(self.model, name), config, name) for name in PARTS}
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(noise_seed))
        self.replay: SequenceReplay | None = None
        """None until `allocate` makes it."""
        self.env_step = self.updates = 0
        self._starts = dict(zip(PARTS, (0, config.model_starts, config.policy_starts), strict=True))
        self.pace = Pace(config.learns_from(num_envs), period=config.train_period, updates=1)
        self._records = Records(action_space, num_envs, device=self.device)
        self._context = Context(
            steps=config.sequence_length - 1, places=self.model.places, action_size=self.model.actions.size
        )
        if self.device.type == "cpu":
            keep_freed_pages()

    def allocate(self) -> SequenceReplay:
        """The replay, made at the first call, with which training begins: an agent that only acts does not need it."""
        if self.replay is None:
            config = self.config
            self.replay = build_replay(
                self.observation_space,
                self.action_space,
                steps=config.replayed,
                period=1,
                size=config.replay_size,
                num_envs=self.num_envs,
                batch_size=config.batch_size,
                seed=self._replay_seed,
                path=config.replay_path,
            )
        return self.replay

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> IrisActor:
        """Actions drawn from the policy, and some at random; or its most probable ones."""
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        return IrisActor(self, num_envs, draws=explore, explores=explore, seed=seed)

    def predicting_actor(self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> IrisActor:
        """The most probable actions, or drawn ones; no replay is made."""
        return IrisActor(self, num_envs, draws=not deterministic, explores=False, seed=seed)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        none = torch.zeros((self.num_envs, 0))
        self._records.add(self.allocate(), obs, acted, step, memory=none, reward=step.reward)
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        """A round of updates for every `train_period` env steps since learning began, for any num_envs."""
        if self.replay is None or self.replay.count == 0:
            return 0
        return self.pace.due(env_step, self.updates)

    def learn(self) -> Metrics:
        """A round: one update of each part whose time has come."""
        sampled = self.allocate().sample()
        metrics = self._learn_tokenizer(sampled)
        if self.env_step >= self._starts["world"]:
            batch = self._sequences(sampled)
            learner = self.learners["world"]
            learning(learner.module)  # dropout
            metrics |= self._step("world", *self.model.world_loss(batch.last(self.config.sequence_length)))
            learner.module.eval()
            if self.env_step >= self._starts["policy"]:
                metrics |= self._step("policy", *self.model.policy_loss(batch, self._generator))
        self.updates += 1
        return metrics

    def _learn_tokenizer(self, sampled: SequenceBatch) -> Metrics:
        model, config = self.model, self.config
        obs: Any = map_obs(lambda part: part.flatten(0, 1).to(self.device), sampled.obs["obs"])
        if not model.tokenizer.quantiser.counts.any():  # the first observations
            frames.start(model.tokenizer, obs)
        count = sampled.start.numel()
        chosen = torch.randperm(count, generator=self._generator, device=self.device)[: config.tokenizer_batch]
        some: Any = map_obs(lambda part: part[chosen], obs)
        return self._step("tokenizer", *model.tokenizer_loss(some, self._generator))

    def _step(self, name: str, loss: Tensor, metrics: Metrics) -> Metrics:
        norm = self.learners[name].step(loss, self.learning_rate(self.env_step))
        return {**metrics, f"{name}_grad_norm": norm}

    def update_parts(self) -> Iterator[Part]:
        yield Part(self.allocate(), "sample", "sample")
        for name in ("tokenizer_loss", "world_loss", "policy_loss"):
            yield Part(self.model, name, "forward")
        for learner in self.learners.values():
            yield Part(learner, "_step", "optimizer")

    def _sequences(self, sampled: SequenceBatch) -> CodeSequences:
        """A sampled batch as codes."""
        model, device = self.model, self.device
        records: Any = map_obs(lambda part: part.to(device), sampled.obs)
        rows, steps = sampled.start.shape
        codes = model.codes(map_obs(lambda part: part.flatten(0, 1), records["obs"]))
        return CodeSequences(
            codes=codes.view(rows, steps, -1),
            action=model.actions(records["action"].flatten(0, 1)).view(rows, steps, -1),
            reward=records["reward"],
            terminated=records["terminated"].masked_fill(sampled.start.to(device), 0.0),
            start=sampled.start.to(device),
        )

    # The learned model as an environment.

    @torch.no_grad()
    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Obs]:
        """Contexts [N, M] and observations of `num` new episodes, drawn code by code."""
        codes = self.model.world.play(self.model.world.begin_new(num, steps=1), None, generator).codes
        state = self._context.new(codes)
        return state, frames.decoded(self.model.tokenizer, codes)

    @torch.no_grad()
    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        """One step from contexts [N, M], which `temperature` makes more or less random."""
        model, context = self.model, self._context
        inputs = model.actions(action)
        playing = model.world.begin(*context.opened(state), steps=1)
        arrived = model.world.play(playing, inputs, generator, temperature=temperature)
        after = context.followed(state, arrived.codes, inputs)
        return Imagined(after, frames.decoded(model.tokenizer, arrived.codes), arrived.reward, arrived.ended)

    @torch.no_grad()
    def dream_after(self, obs: Obs, action: Tensor, start: Tensor) -> Tensor:
        """Contexts [N, M] after watching real steps."""
        model, context = self.model, self._context
        rows, steps = start.shape
        state = context.empty(rows, device=self.device)
        for step in range(max(0, steps - context.steps), steps):
            codes = model.codes(map_obs(lambda part, step=step: part[:, step], obs))  # type: ignore[misc]
            begun = context.new(codes)
            followed = context.followed(state, codes, model.actions(action[:, step]))
            state = torch.where(start[:, step : step + 1], begun, followed)
        return state

    def scheduled(self) -> dict[str, float]:
        """Learning rate and share of random actions at the current env step."""
        return {"learning_rate": self.learning_rate(self.env_step), "epsilon": self.epsilon(self.env_step)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers and counts, with the replay under "replay", whose tensors are the agent's own."""
        state = {
            "model": copy.deepcopy(dict(self.model.state_dict())),
            "optimizers": {name: learner.state() for name, learner in self.learners.items()},
            "env_step": self.env_step,
            "updates": self.updates,
            **self.pace.state_dict(),
            "generator": self._generator.get_state(),
            "arrived": self._records.state(),
        }
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.model.load_state_dict(state["model"])
        for name, learner in self.learners.items():
            learner.load(state["optimizers"][name])
        restore_generator(self._generator, state["generator"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self.pace.load_state_dict(state)
            self._records.load(state["arrived"])
        else:
            self.replay = None
            self.pace.restart(self.env_step + self.config.learns_from(self.num_envs), self.updates)
            self._records = Records(self.action_space, self.num_envs, device=self.device)


class Learner:
    """One part of the model, its flat weights and its AdamW, which decays the weights of the transformer's layers."""

    def __init__(self, module: nn.Module, config: IrisConfig, name: str) -> None:
        self.module, self.max_norm = module, config.max_grad_norm
        kept = [part for part in module.modules() if isinstance(part, nn.LayerNorm | nn.Embedding)]
        self.weights = FlatParameters(module, apart=kept)
        decay = {"weight_decay": config.weight_decay if name == "world" else 0.0}
        self.optimizer = optimizers.build_groups("adamw", self.weights.groups, lr=1.0, more=decay)
        for group in self.optimizer.param_groups[1:]:
            group["weight_decay"] = 0.0
        self._step = optimizers.stepper(self.optimizer)

    def step(self, loss: Tensor, learning_rate: float) -> Tensor:
        """An update; returns the gradient's norm [] before it is clipped."""
        for group in range(len(self.optimizer.param_groups)):
            optimizers.set_learning_rate(self.optimizer, learning_rate, group=group)
        self.weights.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_norm(self.weights.grad, self.max_norm)
        self._step()
        return norm

    def state(self) -> dict[str, Any]:
        return optimizers.state_of(self.optimizer, self.weights)

    def load(self, state: dict[str, Any]) -> None:
        optimizers.load_state(self.optimizer, state, self.weights)


class IrisActor:
    """Acts on the agent's model, which it shares, with its own generator and the policy's memory of each row.

    If it `draws`, actions are drawn, otherwise the most probable ones are taken; if it `explores`, some are random.
    """

    def __init__(
        self, agent: Iris, num_envs: int, *, draws: bool, explores: bool, seed: int | np.random.SeedSequence
    ) -> None:
        self.agent, self.draws, self.explores = agent, draws, explores
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))
        self.memory = torch.zeros((num_envs, agent.model.policy.memory_size), device=agent.device)
        """[N, M], the policy's memory after the observations acted on so far."""

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent, model = self.agent, self.agent.model
        distribution = model.distribution
        before = self.memory.masked_fill(start.unsqueeze(1), 0.0)
        output, _, self.memory = model.policy.step(model.seen(model.codes(obs)), before)
        allowed = action_mask if agent.config.action_masks else None
        output = distribution.masked(output, allowed)
        if not self.draws:
            return Acted(distribution.to_env(distribution.mode(output)))
        if self.explores:
            drawn = torch.rand(len(output), generator=self.generator, device=agent.device)
            random = (drawn < agent.epsilon(agent.env_step)).unsqueeze(1)
            output = torch.where(random, distribution.masked(torch.zeros_like(output), allowed), output)
        return Acted(distribution.to_env(distribution.sample(output, self.generator)))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "memory": self.memory.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
        self.memory = state["memory"].to(self.agent.device)
