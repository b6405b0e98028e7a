"""World models: a controller that learns in the dream of a learned model (Ha & Schmidhuber 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Imagined, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.experience.pace import Pace
from gymnast.agents.optim.phases import Part
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.agents.world_models import world_models_dream as dream
from gymnast.agents.world_models.beginnings import Beginnings
from gymnast.agents.world_models.controller import Controller
from gymnast.agents.world_models.records import Records, build_replay
from gymnast.agents.world_models.search import Search
from gymnast.agents.world_models.world_models_actor import WorldModelActor
from gymnast.agents.world_models.world_models_config import WorldModelsConfig
from gymnast.agents.world_models.world_models_decision import DecidesByController
from gymnast.agents.world_models.world_models_model import Model
from gymnast.envs.step import Obs, Step
from gymnast.networks.build import Backbone, settled
from gymnast.networks.world_models.latents import VAE
from gymnast.replay.sequences import SequenceReplay


class WorldModels(Predicts, DecidesByController):
    """A variational autoencoder, an LSTM with a mixture density, and a linear controller evolved in their dream.

    Learning goes in rounds (section 5 of the paper): updates of the autoencoder, updates of the LSTM, generations of
    the controller. Actions are random until the first generation; from then on the controller collects the data.

    Raises:
        ValueError: for spaces that are not supported, or a replay larger than the free memory.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: WorldModelsConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config, backbone = settled(config or WorldModelsConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        init_seed, self._replay_seed, dream_seed, search_seed = seed_sequence(seed).spawn(4)
        self.model = Model(
            observation_space,
            action_space,
            config,
            backbone=backbone,
            device=self.device,
            generator=torch.Generator().manual_seed(torch_seed(init_seed)),
        )
        features = self.model.latents.size + self.model.dynamics.units
        self.controller = Controller(features, action_space, device=self.device)
        self.policy = torch.zeros(self.controller.size, device=self.device)
        """The parameters that it acts with, [P]: the centre of the candidates."""
        self.search = Search(
            self.controller.size, population=config.population_size, sigma=config.sigma, seed=torch_seed(search_seed)
        )
        self._generator = torch.Generator(self.device).manual_seed(torch_seed(dream_seed))
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.vae_learning_rate = schedule(config.vae_learning_rate, name="vae_learning_rate")
        self.epsilon = schedule(config.epsilon, name="epsilon", high=1.0)
        vae_updates = config.vae_updates if isinstance(self.model.latents, VAE) else 0
        self._phases = vae_updates, config.model_updates, config.generations
        self.beginnings = Beginnings(observation_space, device=self.device)
        self.replay: SequenceReplay | None = None
        """None until `allocate` makes it."""
        self._begins = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._records = Records(action_space, num_envs, device=self.device)
        self.env_step = self.updates = self.generations = 0
        begins = config.learns_from(num_envs)
        self.pace = Pace(begins, period=config.train_period, updates=config.updates_per_train)
        self._latest: Metrics = {}

    def allocate(self) -> SequenceReplay:
        """The replay, made at the first call, with which training begins: an agent that only acts does not need it."""
        if self.replay is None:
            config = self.config
            self.replay = build_replay(
                self.observation_space,
                self.action_space,
                steps=config.sequence_length + 1,
                period=max(config.sequence_length // 2, 1),
                size=config.replay_size,
                num_envs=self.num_envs,
                batch_size=config.batch_size,
                seed=self._replay_seed,
            )
        return self.replay

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> WorldModelActor:
        """The controller, with random actions while exploring."""
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        return WorldModelActor(self, num_envs, explore=explore, seed=seed)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> WorldModelActor:
        """The same, without a replay."""
        return WorldModelActor(self, num_envs, explore=not deterministic, seed=seed)

    # Data.

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        self.beginnings.keep(obs, self._begins)
        none = torch.zeros((self.num_envs, 0))
        self._records.add(self.allocate(), obs, acted, step, memory=none, reward=step.reward)
        self._begins = step.start
        self.env_step += step.num_active

    def cut_off(self, rows: Sequence[int]) -> None:
        """New episodes begin in these rows; the replay notices it by their observations."""
        self._begins = self._begins.index_fill(0, torch.tensor(list(rows), device=self.device), True)

    # Learning.

    def updates_due(self, env_step: int) -> int:
        """Exactly `updates_per_train` for every `train_period` env steps since learning began, for any num_envs."""
        return self.pace.due(env_step, self.updates)

    def learn(self) -> Metrics:
        """One update of the autoencoder or the LSTM, or one generation; returns the latest metrics of each."""
        vae_updates, model_updates, _ = self._phases
        place = self.updates % sum(self._phases)
        if place < vae_updates + model_updates:
            batch = self.allocate().sample()
            if not self.updates:
                self.model.start_at(batch)
            if place < vae_updates:
                self._latest |= self.model.learn_latents(batch, self.vae_learning_rate(self.pace.step_of(self.updates)))
            else:
                self._latest |= self.model.learn_dynamics(batch, self.learning_rate(self.pace.step_of(self.updates)))
        else:
            if place == vae_updates + model_updates:
                self.search.begin()
            self._latest |= self._evolve()
        self.updates += 1
        return dict(self._latest)

    def update_parts(self) -> Iterator[Part]:
        yield Part(self.allocate(), "sample", "sample")
        yield from self.model.update_parts()

    def _evolve(self) -> Metrics:
        """One generation in the dream; `dream_return` is that of the controller that has acted until now."""
        candidates = torch.from_numpy(self.search.ask()).to(self.device, torch.float32)
        found = self.dream_returns(torch.cat([self.policy.unsqueeze(0), candidates]), self._generator)
        fitness = found.mean(1)
        self.search.tell(fitness[1:])
        self.policy = torch.from_numpy(self.search.mean()).to(self.device, torch.float32)
        self.generations += 1
        return {
            "dream_return": fitness[0],
            "dream_return_best": fitness[1:].max(),
            "search_sigma": torch.tensor(self.search.deviation()),
            "generation": torch.tensor(float(self.generations)),
        }

    def dream_returns(
        self,
        policies: Tensor,
        generator: torch.Generator,
        *,
        dreams: int | None = None,
        temperature: float | None = None,
    ) -> Tensor:
        """Returns [C, R] of policies [C, P] in `dreams` dreams each; number and temperature by default the config's."""
        config = self.config
        first, _ = self.dream_start(config.rollouts if dreams is None else dreams, generator)
        return dream.returns(
            self.model,
            self.controller,
            policies,
            first,
            generator,
            steps=config.dream_steps,
            temperature=config.temperature if temperature is None else temperature,
        )

    def scheduled(self) -> dict[str, float]:
        """Learning rates and epsilon at the current env step."""
        rates = {"learning_rate": self.learning_rate(self.env_step), "epsilon": self.epsilon(self.env_step)}
        return rates | ({"vae_learning_rate": self.vae_learning_rate(self.env_step)} if self._phases[0] else {})

    # The dream as an environment (`WorldModel`).

    @torch.no_grad()
    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Obs]:
        """States [N, M] and observations of episodes that begin as real ones have begun.

        ValueError if no real one has.
        """
        obs = self.beginnings.draw(num, generator)
        return self.model.begin(self.model.latents.draw(obs, generator)), obs

    @torch.no_grad()
    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        """One imagined step: [N, M] and actions [N, ...] of the action space."""
        model, noise = self.model, self.model.dynamics.noise(len(state), generator)
        state, reward, end = model.imagine(state, action, noise, temperature=temperature)
        decoded = model.latents.decode(model.split(state)[0])
        return Imagined(state, dream.as_given(self.observation_space, decoded, self.device), reward, end)

    def dream_after(self, obs: Obs, action: Tensor, start: Tensor) -> Tensor:
        """States [N, M] after real observations [N, T, ...], the actions before them, and where episodes begin."""
        return self.model.after(obs, action, start)

    # What is kept.

    def state_dict(self) -> dict[str, Any]:
        """Model, controller, search and counts, with the replay under "replay", whose tensors are the agent's own."""
        state = {
            "model": self.model.state_dict(),
            "policy": self.policy.clone(),
            "search": self.search.state_dict(),
            "generator": self._generator.get_state(),
            "beginnings": self.beginnings.state_dict(),
            "counts": [self.env_step, self.updates, self.generations],
            **self.pace.state_dict(),
            "begins": self._begins.clone(),
            "arrived": self._records.state(),
            "latest": {name: float(value) for name, value in self._latest.items()},
        }
        return state if self.replay is None else {**state, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        self.model.load_state_dict(state["model"])
        self.search.load_state_dict(state["search"])
        self.policy = state["policy"].to(self.device, copy=True)
        restore_generator(self._generator, state["generator"])
        self.beginnings.load_state_dict(state["beginnings"])
        self.env_step, self.updates, self.generations = state["counts"]
        self._latest = {name: torch.tensor(value) for name, value in state["latest"].items()}
        if "replay" in state:
            self.allocate().load_state_dict(state["replay"])
            self.pace.load_state_dict(state)
            self._begins = state["begins"].to(self.device, copy=True)
            self._records.load(state["arrived"])
        else:
            self.replay = None
            self.pace.restart(self.env_step + self.config.learns_from(self.num_envs), self.updates)
            self._begins = torch.ones_like(self._begins)
            self._records = Records(self.action_space, self.num_envs, device=self.device)
