"""The replay of a population: one ring for all members, of which each samples only its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.experience.replay import ReplayConfig, layout_of
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.population.noise import MakeNoise, Noise
from gymnast.agents.schedules import Schedule
from gymnast.replay.allocation import check_fits, slots_for
from gymnast.replay.device.members import DeviceMemberPrioritized, DeviceMemberUniform
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.members import MemberSampler
from gymnast.replay.ring import SCALAR_BYTES, Ring
from gymnast.replay.samplers import Prioritized, Uniform
from gymnast.replay.transitions import NStep


def build_replay(
    config: ReplayConfig,
    observation_space: gym.Space[Any],
    *,
    num_envs: int,
    device: torch.device,
    seeds: Sequence[np.random.SeedSequence],
    gammas: Sequence[float],
    beta: Schedule,
    noise: MakeNoise,
    action_size: int = 0,
) -> Ring | DeviceRing:
    """An empty replay of `config.replay_size` slots for each member, whose batches have `config.batch_size` of each.

    Actions are choices, or vectors with `action_size` numbers. `seeds` are those of the members' replays. On the CPU a
    member draws the same as in its single run, elsewhere by `noise`.

    Raises:
        ValueError: if it needs more memory or disk than is free, or its size is invalid.
    """
    layout, members = layout_of(config, observation_space), len(seeds)
    own = slots_for(config.replay_size, num_envs, stack=layout.stack, n=config.n_step)
    transitions = NStep(config.n_step, tuple(gammas) if len(set(gammas)) > 1 else gammas[0])
    sizes = {"size": members * own, "num_envs": members * num_envs, "batch_size": members * config.batch_size}
    slot_bytes = SCALAR_BYTES + 4 * action_size + (0 if config.replay_path else layout.frame_bytes)
    if device.type == "cpu":
        sampler = _sampler(config, seeds, beta)
        slot_bytes += sampler.slot_bytes
        check_fits(members * own * slot_bytes, device, replay_size=config.replay_size)  # the numbers of one member
        ring = Ring(layout, sampler, transitions, **sizes, path=config.replay_path, action_size=action_size)
        sampler.watch(ring)
        return ring
    if config.replay_path is not None:
        raise ValueError(
            f"replay_path needs device cpu, got {device}: on other devices the replay is kept in device memory"
        )
    on_device = _device_sampler(config, noise(seeds, device), beta, members=members, num_envs=num_envs)
    slot_bytes += on_device.slot_bytes
    check_fits(members * own * slot_bytes, device, replay_size=config.replay_size)
    resident = DeviceRing(layout, on_device, transitions, **sizes, device=device, action_size=action_size)
    if config.compile:
        resident.compile(Compiled)
    return resident


def _sampler(config: ReplayConfig, seeds: Sequence[np.random.SeedSequence], beta: Schedule) -> MemberSampler:
    rngs = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    if not config.prioritized:
        return MemberSampler([Uniform(rng) for rng in rngs])
    ranked = config.priority == "rank"
    return MemberSampler([Prioritized(rng, alpha=config.priority_alpha, beta=beta, ranked=ranked) for rng in rngs])


def _device_sampler(
    config: ReplayConfig, numbers: Noise, beta: Schedule, *, members: int, num_envs: int
) -> DeviceMemberUniform:
    if not config.prioritized:
        return DeviceMemberUniform(numbers, members=members, num_envs=num_envs)
    return DeviceMemberPrioritized(
        numbers,
        members=members,
        num_envs=num_envs,
        alpha=config.priority_alpha,
        beta=beta,
        ranked=config.priority == "rank",
    )
