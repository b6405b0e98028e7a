"""Our vector environment beside ale-py's with the same options, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv as AleVectorEnv

from gymnast.envs.atari2600.check import Outcome
from gymnast.envs.atari2600.vector import AtariVectorEnv

NOOP_MAX = 29
MAX_FRAMES = 601
"""Episodes are truncated after so many frames, within an action."""
NAMES = ("observations", "rewards", "terminated", "truncated")
COUNTS = ("lives", "episode_frame_number")


def play_vector(name: str, *, steps: int, envs: int, seed: int = 0, sticky: float = 0.0) -> Outcome:
    """Random actions in both, with FIRE after resets in games that use it; ended rows begin a new episode."""
    ours = AtariVectorEnv(
        name, envs, noop_max=NOOP_MAX, fire_reset=True, max_frames=MAX_FRAMES, sticky=sticky, threads=1
    )
    theirs = _reference(name, envs, sticky)
    (obs, info), (own, own_info) = theirs.reset(seed=seed), ours.reset(seed=seed)
    different = _difference([obs], [own], info, own_info)
    rng, resets, score, returns = np.random.default_rng(seed), envs, 0, np.zeros(envs, np.int64)
    frames = 0
    for step in range(steps):
        if different is not None:
            return Outcome(f"step {step}: {different}", frames, resets, score)
        actions = rng.integers(len(ours.actions), size=envs)
        *results, info = theirs.step(actions)
        *own_results, own_info = ours.step(actions)
        different = _difference(results, own_results, info, own_info)
        frames += 4 * envs
        returns += results[1].astype(np.int64)
        score = max(score, int(returns.max()))
        ended = results[2] | results[3]
        if ended.any() and different is None:
            returns[ended] = 0
            resets += int(ended.sum())
            obs, info = theirs.reset(seed=np.full(int(ended.sum()), -1), options={"reset_mask": ended.copy()})
            own, own_info = ours.reset(options={"reset_mask": ended})
            different = _difference([obs], [own], info, own_info)
    return Outcome(None if different is None else f"step {steps}: {different}", frames, resets, score)


def _reference(name: str, envs: int, sticky: float) -> Any:
    """ale-py's environment with our options."""
    return AleVectorEnv(
        name,
        envs,
        num_threads=1,
        noop_max=NOOP_MAX + 1,  # it draws from 0 to one less
        use_fire_reset=True,
        reward_clipping=False,
        max_num_frames_per_episode=MAX_FRAMES,
        repeat_action_probability=sticky,
    )


def _difference(theirs: list[Any], ours: list[Any], info: dict[str, Any], own_info: dict[str, Any]) -> str | None:
    """What differs first of observations, rewards, ends and counts."""
    values = [*zip(NAMES, theirs, ours, strict=False), *((name, info[name], own_info[name]) for name in COUNTS)]
    for name, expected, given in values:
        if not np.array_equal(expected, given):
            at = tuple(int(index) for index in np.argwhere(expected != given)[0])
            return f"{name} at {', '.join(map(str, at))} are {expected[at]} there, {given[at]} here"
    return None
