"""One actor of Ape-X (Horgan et al. 2018, algorithm 1): its environments, its exploration, first priorities."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, torch_seed
from gymnast.agents.experience.replay import layout_of
from gymnast.agents.value.dqn import DQN
from gymnast.envs.factory import EnvLike
from gymnast.envs.step import Obs, Step
from gymnast.replay.ring import Ring
from gymnast.replay.transitions import NStep
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.environments import make_env
from gymnast.training.experience import Errors, Experience, Recorder

BATCH = 64
"""Transitions whose errors are computed at once."""
LEARNERS_OWN: dict[str, Any] = {
    "actors": 0,
    "compile": False,
    "cuda_graphs": False,
    "prioritized": False,
    "replay_path": None,
    "encoder": "",
    "freeze_encoder": False,
    "encoder_learning_rate": None,
    "auxiliary": "none",
    "augment": "none",
    "reset_period": 0,
}
"""Settings of the learner that do not change how an actor acts, when off."""


@dataclass(frozen=True)
class ApeXActorMaker:
    """Makes an actor in its process."""

    config: Any
    options: TrainOptions
    env_like: EnvLike
    seed: np.random.SeedSequence
    epsilons: np.ndarray
    """Exploration of its rows, float64 [R]."""
    steps: int
    """Steps of its rows in one answer, at most."""

    def __call__(self) -> ApeXActor:
        return ApeXActor(self)


class ApeXActor:
    """A member of a crew that answers with experience, chosen by the weights that it was last handed."""

    def __init__(self, made: ApeXActorMaker) -> None:
        config, options, rows = made.config, made.options, made.options.rows
        agents.import_backbone(config)
        env_seed, agent_seed, actor_seed, torch_seed_ = made.seed.spawn(4)
        torch.manual_seed(torch_seed(torch_seed_))
        self.env = make_env(options, made.env_like, seed=env_seed, device="cpu")
        spaces = self.env.single_observation_space, self.env.single_action_space
        own = dataclasses.replace(config, **LEARNERS_OWN)
        self.agent = DQN(*spaces, own, num_envs=rows, device="cpu", seed=agent_seed)
        self.actor = self.agent.predicting_actor(rows, deterministic=False, seed=actor_seed)
        self.actor.row_epsilon = None if config.noisy else made.epsilons
        ranked = config.prioritized and config.recurrent == "none"
        self.priorities = Priorities(self.agent, rows, made.steps) if ranked else None
        self.recorder = Recorder()
        self.version = 0

    def answer(self, request: int, handed: tuple[int, dict[str, np.ndarray]] | None) -> Experience:
        """`request` steps of all rows, with new weights from now on if they are handed over."""
        if handed is not None:
            self._load(*handed)
        env, recorder = self.env, self.recorder
        if not recorder.taken:
            env.reset()
            recorder.begin(env.obs)
        obs, start, mask = env.obs, env.start, env.action_mask
        for _ in range(request):
            acted = self.actor.act(obs, start, mask)
            step = env.step(acted.action)
            recorder.add(acted, step)
            if self.priorities is not None:
                self.priorities.add(obs, acted, step)
            obs, start, mask = step.obs, step.start, step.action_mask
        experience = recorder.take(self.version)
        if self.priorities is not None:
            experience.errors = self.priorities.take()
        return experience

    def _load(self, version: int, weights: dict[str, np.ndarray]) -> None:
        """The acting network's weights, for the target network too: an actor has one network (section 3)."""
        state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        for network in (self.agent.online, self.agent.target):
            network.load_state_dict(state)
        self.version = version

    def close(self) -> None:
        self.env.close()


def weights_of(agent: DQN) -> dict[str, np.ndarray]:
    """The weights that an agent acts with, as an actor takes them."""
    return {name: part.detach().cpu().numpy().copy() for name, part in agent.acting.state_dict().items()}


class Priorities:
    """Temporal-difference errors of an actor's own transitions, once all n steps of each are known.

    They are computed from a small ring of the actor's by the loss of the learner, without the noise of noisy layers.
    """

    def __init__(self, agent: DQN, rows: int, steps: int) -> None:
        config = agent.config
        layout = layout_of(config, agent.observation_space)
        self.agent, self._fresh = agent, Fresh()
        slots = 2 * (steps * (layout.stack + 1) + config.n_step + layout.stack + 1)  # no window of an answer is lost
        transitions = NStep(config.n_step, config.gamma)
        ring = Ring(layout, self._fresh, transitions, size=slots * rows, num_envs=rows, batch_size=BATCH)
        self.ring = agent.replay = ring
        self._number = np.zeros(self.ring.slots, np.int64)  # of the step in each slot
        self._taken = np.zeros(rows, np.int64)  # steps of each row

    def add(self, obs: Obs, acted: Acted, step: Step) -> None:
        self.agent.store(obs, acted, step)
        rows = slice(None) if step.active is None else step.active.numpy()
        ring = self.ring
        self._number[(ring.slot[rows] - ring.num_envs) % ring.slots] = self._taken[rows]
        self._taken[rows] += 1

    def take(self) -> Errors:
        """The errors of the transitions that were completed since the last call."""
        slots = self._fresh.take(self.ring.ready)
        found = [self._errors(slots[first : first + BATCH]) for first in range(0, len(slots), BATCH)]
        error = np.concatenate([np.zeros(0, np.float32), *found])
        return Errors(slots % self.ring.num_envs, self._number[slots], error)

    @torch.no_grad()
    def _errors(self, slots: np.ndarray) -> np.ndarray:
        self._fresh.asked = slots
        _, error, _ = self.agent.loss(self.ring.sample(), None)
        errors: np.ndarray = error[: len(slots)].float().numpy().copy()
        return errors


class Fresh:
    """A sampler that draws the slots it is asked for, and knows which ones have become ready."""

    slot_bytes = 0

    def __init__(self) -> None:
        self.asked = np.zeros(0, np.int64)
        """What the next sample begins with."""
        self._changed: list[np.ndarray] = []

    def allocate(self, slots: int) -> None:
        """No-op: it remembers only changes."""

    def anneal(self, env_step: int) -> None:
        """No-op: no schedule."""

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        self._changed.append(slots[ready[slots]])

    def take(self, ready: np.ndarray) -> np.ndarray:
        """The slots, int64 [K], that have become ready since the last call and still are."""
        changed, self._changed = self._changed, []
        slots = np.unique(np.concatenate([np.zeros(0, np.int64), *changed]))
        still: np.ndarray = slots[ready[slots]]
        return still

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        index[:] = self.asked[0]
        index[: len(self.asked)] = self.asked
        weight[:] = 1.0

    def update(self, index: Tensor, error: Tensor) -> None:
        """No-op: the learner keeps priorities."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
