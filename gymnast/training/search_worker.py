"""One worker of a policy search: it plays episodes of candidates that it makes itself, from the same seed and returns.

What travels are seeds and returns, not candidates (Salimans et al. 2017, algorithm 2): a worker learns from the returns
of each round as the searching process does, and so has the same candidates of the next one.
"""

from __future__ import annotations

import dataclasses
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.search.policy_search import PolicySearch
from gymnast.envs.factory import EnvLike
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.environments import make_env


@dataclass(frozen=True)
class Round:
    """The end of a round: all that was learned from."""

    env_step: int
    returns: list[float]
    """Of all its episodes."""


@dataclass(frozen=True)
class Play:
    """A request: episodes of the round after `updates` updates."""

    updates: int
    episodes: list[int]
    """Their numbers in the round, at most as many as the worker has rows."""
    ended: list[Round]
    """The rounds that ended since the worker's last request."""


@dataclass(frozen=True)
class Played:
    """An episode that has ended."""

    number: int
    episode_return: float
    length: int
    digest: int
    """Of the parameters that played it."""


@dataclass(frozen=True)
class SearchWorkerMaker:
    """Makes a worker in its process."""

    agent: type[Any]
    config: Any
    options: TrainOptions
    env_like: EnvLike

    def __call__(self) -> SearchWorker:
        return SearchWorker(self)


class SearchWorker:
    """A member of a crew that answers with the returns of episodes.

    An episode depends on its candidate and its seed only, so that it does not matter which worker plays it.
    """

    def __init__(self, made: SearchWorkerMaker) -> None:
        agents.import_backbone(made.config)
        self.seed, rows = made.options.seed, made.options.rows
        self.env = make_env(made.options, made.env_like, seed=np.random.SeedSequence(self.seed), device="cpu")
        spaces = self.env.single_observation_space, self.env.single_action_space
        own = dataclasses.replace(made.config, workers=0)
        self.agent: PolicySearch = made.agent(*spaces, own, num_envs=1, device="cpu", seed=0)
        self.rows = torch.zeros(rows, self.agent.network.size)

    def answer(self, request: Play, handed: bytes | None) -> list[Played]:
        """Play the episodes, after learning from ended rounds, or with the searching agent's whole state `handed`."""
        agent = self.agent
        if handed is not None:
            agent.load_state_dict(pickle.loads(handed))  # noqa: S301 - from our own parent
        for ended in request.ended:
            agent.repeat(ended.returns, env_step=ended.env_step)
        candidates = [agent.candidate_of(number) for number in request.episodes]
        results = self._play(candidates, [episode_seed(self.seed, request.updates, n) for n in request.episodes])
        return [
            Played(number, *result, digest(candidate))
            for number, candidate, result in zip(request.episodes, candidates, results, strict=True)
        ]

    @torch.no_grad()
    def _play(self, candidates: Sequence[Tensor], seeds: list[int]) -> list[tuple[float, int]]:
        """Return and length of an episode of each candidate, a row each."""
        env, results = self.env, dict[int, tuple[float, int]]()
        for row in range(len(self.rows)):
            self.rows[row] = candidates[min(row, len(candidates) - 1)]
        parameters = self.rows if len(self.rows) > 1 else self.rows[0]
        env.reset(episode_seeds=seeds)
        obs, mask = env.obs, env.action_mask
        while len(results) < len(candidates):
            step = env.step(self.agent.action(parameters, obs, mask))
            obs, mask = step.obs, step.action_mask
            if step.num_ended == 0 or step.episode_return is None or step.episode_length is None:
                continue
            for row in step.ended.nonzero().flatten().tolist():
                if row < len(candidates):
                    results.setdefault(row, (float(step.episode_return[row]), int(step.episode_length[row])))
        return [results[row] for row in range(len(candidates))]

    def close(self) -> None:
        self.env.close()


def episode_seed(seed: int, updates: int, number: int) -> int:
    """The seed of an episode of a run: by the round, after so many updates, and its number there."""
    return int(np.random.SeedSequence([seed, updates, number]).generate_state(1)[0])


def digest(parameters: Tensor) -> int:
    """A number by which two processes can tell whether they have the same parameters [P]."""
    return zlib.crc32(parameters.detach().numpy().tobytes())
