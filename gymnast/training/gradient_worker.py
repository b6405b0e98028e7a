"""One worker of A3C away from this machine's memory: it computes gradients, and the learner takes the steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gymnast.agents.base import torch_seed
from gymnast.agents.policy.hogwild import SharingAgent, rest_of
from gymnast.envs.factory import EnvLike
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.environments import make_env
from gymnast.training.loop import Loop


@dataclass(frozen=True)
class Weights:
    """A network as it travels."""

    parameters: np.ndarray  # [P]
    rest: list[np.ndarray]
    """Its buffers and its frozen parameters."""

    @staticmethod
    def of(agent: SharingAgent) -> Weights:
        rest = [part.detach().numpy().copy() for part in rest_of(agent.weights.module)]
        return Weights(agent.weights.data.numpy().copy(), rest)

    def load(self, agent: SharingAgent) -> None:
        """Copy them into an agent's network."""
        agent.weights.data.copy_(torch.from_numpy(np.array(self.parameters)))
        self.load_rest(agent)

    def load_rest(self, agent: SharingAgent) -> None:
        """Copy all but the parameters."""
        for mine, theirs in zip(rest_of(agent.weights.module), self.rest, strict=True):
            mine.data.copy_(torch.from_numpy(np.array(theirs)))


@dataclass
class Gradient:
    """The steps of a worker's rows since its last answer, and the gradient of the rollout that they fill, if any."""

    first: int
    length: int
    num_active: int
    version: int
    episodes: list[tuple[float, int]]
    gradient: np.ndarray | None
    """[P], clipped; None if the rollout is not full yet."""
    rates: list[float]
    """The learning rate of each group of parameters for it."""
    rest: list[np.ndarray]
    """The rest of the network, which a forward pass may change."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class GradientWorkerMaker:
    """Makes a worker in its process."""

    agent: type[Any]
    config: Any
    options: TrainOptions
    env_like: EnvLike
    seed: np.random.SeedSequence

    def __call__(self) -> GradientWorker:
        return GradientWorker(self)


class GradientWorker:
    """A member of a crew that answers with gradients at the weights that it is handed."""

    def __init__(self, made: GradientWorkerMaker) -> None:
        rows = made.options.rows
        agents.import_backbone(made.config)
        env_seed, agent_seed, actor_seed, torch_seed_ = made.seed.spawn(4)
        torch.manual_seed(torch_seed(torch_seed_))
        env = make_env(made.options, made.env_like, seed=env_seed, device="cpu")
        spaces = env.single_observation_space, env.single_action_space
        alone = dataclasses.replace(made.config, workers=0)
        self.agent = made.agent(*spaces, alone, num_envs=rows, device="cpu", seed=agent_seed)
        self.agent.step_by(self._keep)
        self.loop = Loop(self.agent, self.agent.actor(rows, explore=True, seed=actor_seed), env)
        self.loop.episodes.kept = []
        self._taken = 0
        self._gradient: np.ndarray | None = None

    def _keep(self) -> None:
        """In place of the optimizer's step."""
        self._gradient = self.agent.weights.grad.numpy().copy()

    def answer(self, request: tuple[int, int], handed: tuple[int, Weights]) -> Gradient:
        """Take `request[0]` steps of all rows from `request[1]` env steps of the whole run on."""
        loop, agent, (steps, env_step), (version, weights) = self.loop, self.agent, request, handed
        if not self._taken:
            loop.env.reset()
        weights.load(agent)
        agent.env_step, before, first, self._gradient = env_step, loop.env_step, self._taken, None
        loop.advance(before + steps * loop.env.num_envs, lambda: False)
        self._taken += steps
        return Gradient(
            first=first,
            length=steps,
            num_active=loop.env_step - before,
            version=version,
            episodes=[(episode_return, length) for _, episode_return, length in loop.episodes.take()],
            gradient=self._gradient,
            rates=[group["lr"] for group in agent.optimizer.param_groups],
            rest=[part.detach().numpy().copy() for part in rest_of(agent.weights.module)],
            metrics={name: float(value) for name, value in loop.metrics.items()},
        )

    def close(self) -> None:
        self.loop.env.close()
