"""The environments of a population: the members' rows in order in one device-native environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast import envs
from gymnast.agents.base import Actor, seed_sequence, torch_seed
from gymnast.agents.population.noise import MakeNoise, MemberSeeds, OwnGenerators
from gymnast.envs.factory import native_version
from gymnast.envs.native.adapter import NativeEnv, seed_of
from gymnast.envs.native.draws import Draws, keys_of, row_keys
from gymnast.evaluation import environment
from gymnast.evaluation.play import LOOK_EVERY, episode_seeds
from gymnast.networks.layers import noisy
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.environments import env_options


def training_env(options: TrainOptions, seeds: Sequence[Seeds], *, device: str, compile: bool) -> NativeEnv:
    """M * N rows; a member's rows have the same experience as in its single run, given the same actions.

    Raises ValueError for an environment that has no device-native version.
    """
    if native_version(options.env) is None:
        raise ValueError(
            f"a population needs a device-native environment, and {options.env} has no such version (gymnast list envs "
            "shows which have one): train without --seeds, or write its rules for all rows at once (CONTRIBUTING.md, "
            '"Adding a device-native environment")'
        )
    rows = options.rows
    made = envs.make(
        options.env,
        rows * len(seeds),
        device=device,
        seed=seeds[0].env,
        options=env_options(options),
        max_episode_steps=options.max_episode_steps,
        native=True,
        compile=compile,
    )
    assert isinstance(made, NativeEnv)
    made.reset_keys(torch.cat([row_keys(seed_of(seed.env), rows, device=made.device) for seed in seeds]))
    return made


def evaluation_env(options: TrainOptions, members: int, *, device: str) -> NativeEnv:
    """One row per episode of each member."""
    made = environment.make_env(
        options.env,
        members * options.eval_episodes,
        device=device,
        options=env_options(options),
        max_episode_steps=options.max_episode_steps,
        native=True,
    )
    assert isinstance(made, NativeEnv)
    return made


@torch.no_grad()
def play(
    actor: Actor, env: NativeEnv, seeds: Sequence[int], *, interrupted: Callable[[], bool] = lambda: False
) -> tuple[Tensor, Tensor]:
    """Returns float64 and lengths int64 of E episodes of each member, [M, E] on the CPU, by the members' seeds.

    They are the episodes of `evaluation.evaluate` with those seeds. Raises KeyboardInterrupt once `interrupted()`.
    """
    episodes = env.num_envs // len(seeds)
    numbers = torch.tensor([episode_seeds(seed, episodes) for seed in seeds], dtype=torch.int64)
    env.reset_keys(keys_of(numbers.flatten().to(env.device)))
    total = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    length = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)  # 0 until the first episode has ended
    obs, start, mask = env.obs, env.start, env.action_mask
    while bool((length == 0).any()):
        if interrupted():
            raise KeyboardInterrupt
        for _ in range(LOOK_EVERY):
            step = env.step(actor.act(obs, start, mask).action)
            obs, start, mask = step.obs, step.start, step.action_mask
            if step.episode_return is None or step.episode_length is None:
                continue
            first = step.ended & (length == 0)
            total = torch.where(first, step.episode_return, total)
            length = torch.where(first, step.episode_length, length)
    shape = (len(seeds), episodes)
    return total.view(shape).cpu(), length.view(shape).cpu()


def noise_of(device: str) -> MakeNoise:
    """The generators of the members' single runs on the CPU; on a device, where M calls are slow, counters."""
    return OwnGenerators if torch.device(device).type == "cpu" else CounterNoise


class CounterNoise:
    """Numbers that are a function of a member's seed and a counter, all members in one call, without the host."""

    generators: Sequence[torch.Generator] = ()

    def __init__(self, seeds: MemberSeeds, device: torch.device) -> None:
        numbers = [torch_seed(seed_sequence(seed)) for seed in seeds]
        self._key = keys_of(torch.tensor(numbers, dtype=torch.int64, device=device)).unsqueeze(1)  # [M, 1]
        self._count = torch.zeros((), dtype=torch.int64, device=device)  # numbers drawn by each member

    def uniform(self, *shape: int) -> Tensor:
        size = math.prod(shape)
        counter = self._count + torch.arange(size, device=self._key.device)
        self._count += size
        return Draws(self._key, counter).uniform(0).view(len(self._key), *shape)

    def double(self, *shape: int) -> Tensor:
        return self.uniform(*shape).double()

    def normal(self, *shape: int) -> Tensor:
        """By Box & Muller 1958."""
        first, second = self.uniform(2, *shape).unbind(1)
        return (-2.0 * (1.0 - first).log()).sqrt() * (2.0 * math.pi * second).cos()

    def fill(self, noise: Tensor, kind: noisy.Noise, *, weights: int) -> None:
        noise[..., :weights] = self.normal(*noise.shape[1:-1], weights)
        noisy.shape_noise(noise[..., :weights], kind)
        noise[..., weights:] = self.uniform(*noise.shape[1:-1], noise.shape[-1] - weights)

    def state_dict(self) -> dict[str, Any]:
        return {"count": int(self._count)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "count" in state:
            self._count.fill_(state["count"])
