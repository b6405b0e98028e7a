"""Files of a population's run: a table of its members, all weights, and any member as a checkpoint."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gymnast.agents.off_policy.off_policy import OffPolicyActorCritic
from gymnast.agents.population.base import Population, Weights
from gymnast.agents.value.dqn import DQN
from gymnast.errors import UsageError
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import checkpoint, folder, rebuild
from gymnast.storage.checkpoint import About

ALL = "checkpoints/members.pt"
"""The path in a run's folder of the weights of all members."""


@dataclasses.dataclass(frozen=True)
class Members:
    """Writes the members of a population."""

    path: Path
    """The run's folder."""
    agent: str
    env: str
    """The name to make the environment again: its id, with the module of the user's own."""
    options: TrainOptions
    population: Population
    seeds: Sequence[int]

    def write_table(self, columns: Mapping[str, Iterable[float | None]]) -> None:
        """Write members.csv, a row per member: seed, varied settings, and the columns; completely or not at all."""
        varied = self.population.vary
        temporary = self.path / ".members.csv"
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["seed", *varied, *columns])
            writer.writerows(zip(self.seeds, *varied.values(), *columns.values(), strict=True))
        os.replace(temporary, self.path / "members.csv")

    def write_all(self, weights: Weights) -> None:
        """Write the kept weights of all members; OSError without space."""
        about = self._about(0, None, _anywhere(self.population.config))
        checkpoint.save(self.path / ALL, about, {"population": self.described(weights)})

    def described(self, weights: Weights) -> dict[str, Any]:
        """Seeds, varied settings and weights of all members."""
        return {"seeds": list(self.seeds), "vary": dict(self.population.vary), "weights": weights}

    def about(self) -> About:
        """The description of the whole population, from which it is rebuilt; its run's seed is the first one."""
        return self._about(0, None, self.population.config)

    def write_best(self, member: int, weights: Weights, score: float) -> None:
        """Write one member as best.pt, an ordinary checkpoint; OSError without space."""
        population, config = self.population, _anywhere(self.population.config_of(member))
        about = self._about(member, score, config)
        with torch.random.fork_rng(devices=()):  # writing a file does not change the run's generators
            agent = rebuild.build(about, agents.agent_class(self.agent), device="cpu")
        state = _state_of(agent, weights, member, updates=population.updates, env_step=about.env_step)
        checkpoint.save_agent(self.path / "checkpoints" / "best.pt", about, state)

    def _about(self, member: int, score: float | None, config: Any) -> About:
        options = dataclasses.replace(self.options, seed=self.seeds[member])
        return dataclasses.replace(
            checkpoint.describe(
                self.population,
                name=self.agent,
                config=config,
                env=self.env,
                run=dataclasses.asdict(options),
                versions=folder.versions(),
            ),
            env_step=self.population.member_step,
            score=score,
            score_seed=None if score is None else Seeds.of(self.seeds[member]).eval,
        )


def _anywhere(config: Any) -> Any:
    """The same agent on any device: graphs need a GPU, and do not affect the learned weights."""
    return dataclasses.replace(config, cuda_graphs=False)


def _state_of(agent: Any, weights: Weights, member: int, *, updates: int, env_step: int) -> dict[str, Any]:
    """The state of a member, without a replay, by a single agent built for it."""
    agent.weights.data.copy_(weights["parameters"][member])
    if isinstance(agent, DQN):
        agent.target_weights.follow(agent.weights)
    if isinstance(agent, OffPolicyActorCritic):
        agent.policy_weights.data.copy_(weights["policy"][member])
        for target in agent.targets:
            target.follow(1.0)
    buffers = dict(agent.weights.module.named_buffers())
    for name in weights.keys() & buffers.keys():  # of a normalisation
        buffers[name].copy_(weights[name][member])
    agent.env_step, agent.updates = env_step, updates
    return {name: part for name, part in agent.state_dict().items() if name != "replay"}


def read_member(path: Path, seed: int) -> tuple[About, dict[str, Any]]:
    """The member of a run with this seed as `checkpoint.read_agent` returns a single agent; UsageError."""
    if not (path / ALL).is_file():
        raise UsageError(f"--member needs a population run, and {path} has no {ALL}")
    about, content = checkpoint.read(path / ALL)
    kept = content["population"]
    if seed not in kept["seeds"]:
        raise UsageError(f"--member must be a seed of {path}, {kept['seeds'][0]} to {kept['seeds'][-1]}, got {seed}")
    member = kept["seeds"].index(seed)
    own = {name: values[member] for name, values in kept["vary"].items()}
    about = dataclasses.replace(about, config={**about.config, **own}, run={**about.run, "seed": seed})
    agent = rebuild.build(about, agents.agent_class(about.agent), device="cpu")
    return about, _state_of(agent, kept["weights"], member, updates=0, env_step=about.env_step)
