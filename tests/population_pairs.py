"""Populations beside the single agents that their members are, in the same environments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gymnast.agents.base import Acted
from gymnast.agents.population.kinds import KINDS
from gymnast.agents.population.noise import MakeNoise, OwnGenerators
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.populations.environment import training_env
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.loop import Loop

SEEDS = (3, 5, 11)


def begun(
    env_id: str,
    config: Any,
    seeds: Sequence[int] = SEEDS,
    *,
    rows: int = 4,
    vary: Mapping[str, Sequence[float]] | None = None,
    noise: MakeNoise = OwnGenerators,
) -> Loop:
    """A population in its loop, as `gymnast train --seeds` has it."""
    streams = [Seeds.of(seed) for seed in seeds]
    env = training_env(TrainOptions(env=env_id, num_envs=rows), streams, device="cpu", compile=False)
    spaces_of = env.single_observation_space, env.single_action_space
    agents = [stream.agent for stream in streams]
    population = KINDS[type(config)](*spaces_of, config, seeds=agents, num_envs=rows, vary=vary, noise=noise)
    actor = population.actor(env.num_envs, explore=True, seed=[stream.actor for stream in streams])
    return Loop(population, actor, env)


def trained(env_id: str, config: Any, seeds: Sequence[int] = SEEDS, *, steps: int, rows: int = 4, **more: Any) -> Any:
    """A population after `steps` env steps of each member."""
    loop = begun(env_id, config, seeds, rows=rows, **more)
    loop.advance(steps * len(seeds), lambda: False)
    return loop.agent


def single(agent_class: type[Any], env_id: str, config: Any, seed: int, *, steps: int, rows: int = 4) -> Any:
    """What `gymnast train` does with this seed."""
    streams = Seeds.of(seed)
    env = make(env_id, rows, seed=streams.env, native=True)
    env.reset()
    spaces_of = env.single_observation_space, env.single_action_space
    agent = agent_class(*spaces_of, config, num_envs=rows, seed=streams.agent)
    Loop(agent, agent.actor(rows, explore=True, seed=streams.actor), env).advance(steps, lambda: False)
    return agent


def part_of(whole: Any, rows: slice) -> Any:
    """These rows of what was done (`Acted`) or of what came of it (`Step`)."""
    values = {name: getattr(whole, name) for name in whole.__slots__}
    changes = {name: value[rows] for name, value in values.items() if isinstance(value, torch.Tensor)}
    counts = {"num_active": rows.stop - rows.start} if isinstance(whole, Step) else {}
    return replace(whole, **changes, **counts)


class Script:
    """Made-up steps of M * N rows with ends of both kinds and masks, of observations [3] and four actions."""

    def __init__(self, rows: int, *, masked: bool, ends: float = 0.2) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.rows, self.masked, self.ends = rows, masked, ends
        self.obs = torch.randn(rows, 3, generator=self.generator)

    def step(self) -> tuple[torch.Tensor, Acted, Step]:
        """Observations, actions and what they lead to."""
        generator, rows = self.generator, self.rows
        action = torch.randint(4, (rows,), generator=generator)
        terminated, truncated = (torch.rand(2, rows, generator=generator) < self.ends / 2).unbind(0)
        following, final = torch.randn(2, rows, 3, generator=generator).unbind(0)
        ended, obs = terminated | truncated, self.obs
        step = Step(
            obs=following,
            start=ended,
            next_obs=torch.where(ended[:, None], final, following),
            reward=torch.randn(rows, generator=generator),
            terminated=terminated,
            truncated=truncated,
            num_active=rows,
            num_ended=int(ended.sum()),
            episode_return=torch.ones(rows).double(),
            episode_length=torch.ones(rows).long(),
        )
        if self.masked:
            step.next_action_mask = torch.rand(rows, 4, generator=generator) < 0.6
            step.next_action_mask[:, 1] = True
        self.obs = following
        return obs, Acted(action, raw=action), step
