"""Dreamer: learn a latent model of the environment from replayed sequences, and a policy in its imagination."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Imagined, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.optim.laprop import clip_adaptively
from gymnast.agents.optim.phases import Part
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.agents.world_models.dreamer_config import DreamerConfig
from gymnast.agents.world_models.dreamer_decision import DecidesByLatents
from gymnast.agents.world_models.dreamer_model import DreamerModel, Sequences
from gymnast.agents.world_models.records import Records, build_replay, no_action
from gymnast.allocator import keep_freed_pages
from gymnast.envs.step import Obs, Step, map_obs
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.world_models.rssm import State, pack, unpack
from gymnast.replay.sequences import SequenceBatch, SequenceReplay


class Dreamer(Predicts, DecidesByLatents):
    """DreamerV3 (Hafner et al. 2023): the agent, without environment, loop or logger.

    Raises:
        ValueError: for unsupported spaces, or a replay larger than the free memory.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: DreamerConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config = config or DreamerConfig()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        init_seed, self._replay_seed, noise_seed = seed_sequence(seed).spawn(3)
        generator = torch.Generator().manual_seed(torch_seed(init_seed))
        self.model = DreamerModel(observation_space, action_space, config, generator=generator, device=self.device).to(
            self.device
        )
        self.weights = FlatParameters(self.model)
        self.optimizer = optimizers.of_agent(config, self.weights, self.learning_rate(0))
        self._step = optimizers.stepper(self.optimizer)
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._learned = [parameter.detach() for parameter in learned]
        self._gradients = [self.weights.gradient(parameter) for parameter in learned]
        if config.cuda_graphs and self.device.type != "cuda":
            raise ValueError(f"cuda_graphs needs device cuda, got {self.device}")
        self._captured = Captured(self._learn_kept) if config.cuda_graphs else None
        self._kept: Sequences | None = None  # the tensors that a recorded update reads
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(noise_seed))
        self.replay: SequenceReplay | None = None
        """None until `allocate` makes it."""
        self.env_step = self.updates = 0
        self._learns_from = config.learns_from(num_envs)
        self._updates_before = 0  # updates done when the replay was last empty
        self._records = Records(action_space, num_envs, device=self.device)
        if self.device.type == "cpu":
            keep_freed_pages()

    @property
    def state_size(self) -> int:
        """Numbers of a packed state."""
        return self.model.rssm.deter + self.model.rssm.stoch

    def allocate(self) -> SequenceReplay:
        """The replay, made at the first call, with which training begins: an agent that only acts does not need it."""
        if self.replay is None:
            config = self.config
            self.replay = build_replay(
                self.observation_space,
                self.action_space,
                steps=config.sequence_length,
                period=config.sequence_period,
                size=config.replay_size,
                num_envs=self.num_envs,
                batch_size=config.batch_size,
                seed=self._replay_seed,
                memory_size=self.state_size,
                path=config.replay_path,
            )
        return self.replay

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> DreamerActor:
        """Actions drawn from the policy, or its most probable ones."""
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        return DreamerActor(self, num_envs, draws=explore, seed=seed)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> DreamerActor:
        """The most probable actions, or drawn ones; no replay is made."""
        return DreamerActor(self, num_envs, draws=not deterministic, seed=seed)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        assert acted.memory is not None
        reward = step.reward.clamp(-1.0, 1.0) if self.config.clip_rewards else step.reward
        self._records.add(self.allocate(), obs, acted, step, memory=acted.memory.cpu(), reward=reward)
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        """`train_ratio` replayed steps for every env step since learning began, for any num_envs."""
        config = self.config
        if env_step < self._learns_from or self.replay is None or self.replay.count == 0:
            return 0
        replayed = (env_step - self._learns_from) * config.train_ratio
        return replayed // (config.batch_size * config.sequence_length) - (self.updates - self._updates_before)

    def learn(self) -> Metrics:
        """One update of model, policy and value, and fresh latent states for the sequences that it has replayed."""
        replay, config = self.allocate(), self.config
        sampled = replay.sample()
        batch = self._sequences(sampled)
        warm = min(1.0, (self.updates + 1) / config.warmup) if config.warmup else 1.0
        optimizers.set_learning_rate(self.optimizer, warm * self.learning_rate(self.env_step))
        if self._captured is None:
            packed, metrics = self._learn(batch)
        else:
            if self._kept is None:
                self._kept = batch
            self._kept.fill(batch)
            packed, metrics = self._captured((self._generator,))
        replay.refresh(sampled.index, packed.cpu())
        self.updates += 1
        return metrics

    def _learn_kept(self) -> tuple[Tensor, Metrics]:
        assert self._kept is not None
        return self._learn(self._kept)

    def _learn(self, batch: Sequences) -> tuple[Tensor, Metrics]:
        """The part of an update that runs only on the device; packed states [B, T, D + S], and metrics."""
        config = self.config
        self.weights.grad.zero_()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            loss, states, metrics = self.model.loss(batch, self._generator)
        loss.backward()  # type: ignore[no-untyped-call]
        metrics["grad_norm"] = torch.linalg.vector_norm(self.weights.grad)
        clip_adaptively(self._learned, self._gradients, clip=config.adaptive_clip)
        self._step()
        self.model.follow(config.tau)
        return pack(State(states.deter.float(), states.stoch.float())), metrics

    def update_parts(self) -> Iterator[Part]:
        yield Part(self.allocate(), "sample", "sample")
        yield Part(self.model, "loss", "forward")
        yield Part(self, "_step", "optimizer")

    def _sequences(self, sampled: SequenceBatch) -> Sequences:
        """A sampled batch as the model learns from it, on its device."""
        device, model = self.device, self.model
        records: Any = map_obs(lambda part: part.to(device), sampled.obs)
        start = sampled.start.to(device)
        going = (~start).float()
        last = torch.cat([1.0 - sampled.valid, torch.zeros_like(sampled.valid[:, :1])], 1).to(device)
        action = model.actions(records["action"].flatten(0, 1)).view(*start.shape, -1)
        return Sequences(
            inputs=model.inputs(map_obs(lambda part: part.flatten(0, 1), records["obs"])),
            action=action,
            reward=records["reward"] * going,
            terminated=records["terminated"] * going,
            start=start,
            last=last,
            state=self.unpacked(sampled.memory.to(device)),
        )

    def unpacked(self, packed: Tensor) -> State:
        """The model's state of packed numbers [..., D + S]."""
        return unpack(packed, deter=self.model.rssm.deter, classes=self.model.rssm.classes)

    # The learned model as an environment.

    @torch.no_grad()
    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Obs]:
        """Packed states [N, D + S] and observations of `num` new episodes, drawn from the prior of a first step."""
        self._check_decoder()
        rssm = self.model.rssm
        given = rssm.given(torch.zeros((num, self.model.actions.size), device=self.device))
        state = rssm.imagine_step(rssm.initial(num, device=self.device), given, self._uniform(num, generator))
        return pack(state), self.model.decoded(state)

    @torch.no_grad()
    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        """One step from packed states; `temperature` sharpens latents and ends below 1, and blurs them above."""
        self._check_decoder()
        model, rows = self.model, len(state)
        before, uniform = self.unpacked(state), self._uniform(rows, generator)
        given = model.rssm.given(model.actions(action))
        after = model.rssm.imagine_step(before, given, uniform, temperature=temperature)
        features = after.features
        ends = 1.0 - model.continues(features)
        drawn = torch.rand(rows, generator=generator, device=self.device)
        # A probability at a temperature is the sigmoid of its logit over it: so is the threshold of the draw.
        terminated = ends.logit() > temperature * drawn.logit()
        return Imagined(pack(after), model.decoded(after), model.rewards(features), terminated)

    @torch.no_grad()
    def dream_after(self, obs: Obs, action: Tensor, start: Tensor) -> Tensor:
        """Packed states [N, D + S] after watching real steps, with the most probable latents."""
        rows, steps = start.shape
        state = self.model.rssm.initial(rows, device=self.device)
        for step in range(steps):
            seen = map_obs(lambda part, step=step: part[:, step], obs)  # type: ignore[misc]
            state = self.model.observe_step(state, seen, action[:, step], start[:, step], None)
        return pack(state)

    def _uniform(self, rows: int, generator: torch.Generator) -> Tensor:
        return torch.rand((rows, self.model.rssm.stoch), generator=generator, device=self.device)

    def _check_decoder(self) -> None:
        if self.model.decoder is None:
            raise ValueError("its dreams have no observations: train it with --decoder reconstruction, not none")

    def scheduled(self) -> dict[str, float]:
        """The learning rate at the current env step, without its warm-up."""
        return {"learning_rate": self.learning_rate(self.env_step)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer and counts, with the replay under "replay", whose tensors are the agent's own."""
        state = {
            "model": copy.deepcopy(dict(self.model.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "env_step": self.env_step,
            "updates": self.updates,
            "learns_from": self._learns_from,
            "updates_before": self._updates_before,
            "generator": self._generator.get_state(),
            "arrived": self._records.state(),
        }
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.model.load_state_dict(state["model"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        restore_generator(self._generator, state["generator"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self._learns_from, self._updates_before = state["learns_from"], state["updates_before"]
            self._records.load(state["arrived"])
        else:
            self.replay = None
            self._learns_from = self.env_step + self.config.learns_from(self.num_envs)
            self._updates_before = self.updates
            self._records = Records(self.action_space, self.num_envs, device=self.device)
        if self._captured is not None:
            self._captured.forget()


class DreamerActor:
    """Acts on the agent's model, which it shares, with its own generator and state of each row's episode.

    If it `draws`, latents and actions are drawn; otherwise both are the most probable ones.
    """

    def __init__(self, agent: Dreamer, num_envs: int, *, draws: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent, self.draws = agent, draws
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))
        self.memory = torch.zeros((num_envs, agent.state_size), device=agent.device)
        """[N, D + S], the packed state after the observations acted on so far."""
        self.action = no_action(agent.action_space, num_envs, device=agent.device)
        """[N, ...], the last action."""

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        """`Acted.memory` is the packed state before `obs`."""
        agent, model, before = self.agent, self.agent.model, self.memory
        size = (len(before), model.rssm.stoch)
        uniform = torch.rand(size, generator=self.generator, device=agent.device) if self.draws else None
        state = model.observe_step(agent.unpacked(before), obs, self.action, start, uniform)
        output = model.act(state)
        if action_mask is not None and agent.config.action_masks:
            output = model.distribution.masked(output, action_mask)
        raw = model.distribution.sample(output, self.generator) if self.draws else model.distribution.mode(output)
        self.memory, self.action = pack(state), model.distribution.to_env(raw)
        return Acted(self.action, memory=before)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "memory": self.memory.clone(), "action": self.action.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
        self.memory, self.action = (state[name].to(self.agent.device) for name in ("memory", "action"))
