"""Files of a population's run: a table of its members, all weights, and any member as a checkpoint."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.population.base import Population, Weights
from gymnast.errors import UsageError
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
    options: TrainOptions
    population: Population
    seeds: Sequence[int]

    def write_table(self, columns: Mapping[str, Iterable[float | None]]) -> None:
        """Write members.csv, a row per member: seed, varied settings, and the columns; completely or not at all."""
        varied = self.population.vary
        temporary = self.path / ".members.csv"
        with open(temporary, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["seed", *varied, *columns])
            writer.writerows(zip(self.seeds, *varied.values(), *columns.values(), strict=True))
        os.replace(temporary, self.path / "members.csv")

    def write_all(self, weights: Weights) -> None:
        """Write the kept weights of all members; OSError without space."""
        about = self._about(0, None, _anywhere(self.population.config))
        state = {"seeds": list(self.seeds), "vary": dict(self.population.vary), "weights": weights}
        checkpoint.save(self.path / ALL, about, {"population": state})

    def write_best(self, member: int, weights: Weights, score: float) -> None:
        """Write one member as best.pt, an ordinary checkpoint; OSError without space."""
        config = _anywhere(self.population.config_of(member))
        population, rows = self.population, self.options.rows
        agent = ActorCritic(population.observation_space, population.action_space, config, num_envs=rows)
        agent.network.load_state_dict(population.network_state(weights, member))
        agent.env_step, agent.updates = population.member_step, population.updates
        about = self._about(member, score, config)
        checkpoint.save_agent(self.path / "checkpoints" / "best.pt", about, agent.state_dict())

    def _about(self, member: int, score: float | None, config: ActorCriticConfig) -> About:
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


def _anywhere(config: ActorCriticConfig) -> ActorCriticConfig:
    """The same agent on any device: graphs need a GPU, and do not affect the learned weights."""
    return dataclasses.replace(config, cuda_graphs=False)


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
    agent = rebuild.build(about, ActorCritic, device="cpu")
    assert isinstance(agent, ActorCritic)
    agent.weights.data.copy_(kept["weights"]["parameters"][member])
    buffers = dict(agent.network.named_buffers())
    for name in kept["weights"].keys() & buffers.keys():  # of a normalisation
        buffers[name].copy_(kept["weights"][name][member])
    agent.env_step = about.env_step
    state = agent.state_dict()
    del state["replay"]
    return about, state
