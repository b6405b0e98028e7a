"""Atari 2600 games through ale-py's native vector environment: N emulators, stepped by its threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gymnast.envs.atari.history import History, Screen
from gymnast.envs.atari.names import AtariName, atari_games, atari_id, atari_name, is_atari
from gymnast.envs.atari.options import AtariOptions
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, Step

__all__ = ["Atari", "AtariOptions", "atari_games", "atari_id", "is_atari", "make_atari"]

RESEED_AFTER = 10_000
"""Actions after which a row's next reset is seeded (75 ms, an unseeded one 5 ms), so that replaying it stays short."""
NO_CAP = 2**30
"""Frames that no episode reaches: the adapter cuts episodes off itself, at whole env steps."""


def make_atari(
    id: str,
    num_envs: int = 1,
    *,
    device: str | torch.device = "cpu",
    seed: int | np.random.SeedSequence = 0,
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    render: bool = False,
    first_row: int = 0,
) -> Env:
    """Build N environments of one game; `options` are the fields of `AtariOptions`.

    `max_episode_steps` cuts episodes off earlier than `max_frames` does; `first_row` is that of `envs.make`. Raises
    ValueError in one line for an unknown game, an id that already skips frames, and wrong options.
    """
    name, chosen = atari_name(id), AtariOptions.from_dict(options or {})
    chosen = replace(chosen, sticky=name.sticky) if chosen.sticky is None else chosen
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps must be >= 1, got {max_episode_steps}")
    limit = min(math.ceil(chosen.max_frames / chosen.frame_skip), max_episode_steps or NO_CAP)
    return Atari(
        name,
        num_envs,
        options=chosen,
        device=torch.device(device),
        seed=seed,
        max_episode_steps=limit,
        render=render,
        first_row=first_row,
    )


def _native_env(rom: str, num_envs: int, options: AtariOptions) -> AtariVectorEnv:
    """ale-py's vector environment, with all that would change scores or episodes off (it is on by default)."""
    return AtariVectorEnv(
        rom,
        num_envs,
        num_threads=options.threads,
        max_num_frames_per_episode=NO_CAP,
        repeat_action_probability=options.sticky or 0.0,
        full_action_space=options.full_action_space,
        img_height=options.screen,
        img_width=options.screen,
        grayscale=options.grayscale,
        stack_num=options.stack,
        frameskip=options.frame_skip,
        noop_max=options.noop_max + 1,  # it draws from 0 to one less
        episodic_life=False,
        reward_clipping=False,
        use_fire_reset=options.fire_reset,
    )


class Atari(Env):
    """N rows of one game; uint8 observations [N, stack, 84, 84], true rewards, whole games as episodes.

    The native environment runs in its NEXT_STEP mode, and a row that ended is reset at once through its reset mask,
    which clears the pending autoreset: no action is ever ignored, and `next_obs` and `obs` are two whole arrays without
    a copy. Its SAME_STEP mode would allocate a second array in every step, and cannot seed a row or end an episode
    where we say.

    Where it differs from Gymnasium's `AtariPreprocessing` and `FrameStackObservation`: an episode begins with 0 to
    `noop_max` no-ops, not 1 to `noop_max`; frames of the stack from before the episode are black (Gymnasium's
    `padding_type="zero"`); `max_frames` counts frames of play, not the no-ops. As there, a game that ends within an
    action shows its last screen before that action in the final observation, which no bootstrap reads.
    """

    seeds_episodes = True
    overlaps = True
    exact_resume = True

    def __init__(
        self,
        name: AtariName,
        num_envs: int,
        *,
        options: AtariOptions,
        device: torch.device,
        seed: int | np.random.SeedSequence,
        max_episode_steps: int,
        render: bool,
        first_row: int = 0,
    ) -> None:
        self.id, self.num_envs, self.device, self.options = name.id, num_envs, device, options
        self.can_render = render
        self.frame_skip, self.max_episode_steps = options.frame_skip, max_episode_steps
        self.render_fps = 60 / options.frame_skip  # the console's own speed
        self._rom = name.rom
        self._sent = False
        self._native: Any = _native_env(name.rom, num_envs, options)
        self.frame_stack = options.stack if options.grayscale else 1
        channels = options.stack * (1 if options.grayscale else 3)
        self.single_observation_space = spaces.Box(0, 255, (channels, options.screen, options.screen), np.uint8)
        self._num_actions = len(self._native.ale.get_action_set())
        self.single_action_space = spaces.Discrete(self._num_actions)
        self._rng = np.random.default_rng(seed)  # draws the emulators' seeds
        self._first_row = first_row
        """0 after the first reset, whose seeds begin with this row's."""
        self._history = History(num_envs)
        self._screens: dict[int, Screen] = {}
        self._length = np.zeros(num_envs, np.int64)
        self._return = np.zeros(num_envs, np.float64)
        self._episode_seeds: list[int] = []
        self._episode = [-1] * num_envs
        self._episodes_begun = 0
        self._just_ended = np.zeros(num_envs, np.bool_)  # rows that ended in the last step: `render` shows their end
        self._no_start = torch.zeros(num_envs, dtype=torch.bool, device=device)

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        self._episode_seeds = [int(seed) for seed in episode_seeds or ()]
        self._episodes_begun = 0
        self._just_ended = np.zeros(self.num_envs, np.bool_)
        rows = np.ones(self.num_envs, np.bool_)
        seeds = self._first_seeds()
        self.obs = self._tensor(self._begin(rows, np.array(seeds, np.int64)))
        self.start = torch.ones_like(self._no_start)
        return self.obs

    def step(self, action: Tensor) -> Step:
        self.send(action)
        return self.receive()

    def send(self, action: Tensor) -> None:
        self._send(action.cpu().numpy())

    def receive(self) -> Step:
        obs, reward, terminated, truncated, lives = self._receive()
        next_obs = self._tensor(obs)
        step = Step(
            obs=next_obs,
            start=self._no_start,
            next_obs=next_obs,
            reward=self._tensor(reward.astype(np.float32)),
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated),
            num_active=self.num_envs,
            num_ended=0,
            lives=self._tensor(lives.astype(np.int64)),
        )
        ended = self._just_ended = terminated | truncated
        if ended.any():
            step.num_ended = int(ended.sum())
            step.episode_return, step.episode_length = (
                self._tensor(self._return.copy()),
                self._tensor(self._length.copy()),
            )
            seeds = np.full(self.num_envs, -1, np.int64)
            for row in np.flatnonzero(ended).tolist():
                seeds[row] = self._next_seed(row)
            step.obs, step.start = self._tensor(self._begin(ended, seeds)), self._tensor(ended)
        self.obs, self.start = step.obs, step.start
        return step

    @property
    def episode(self) -> list[int]:
        return list(self._episode)

    def snapshot(self) -> dict[str, Any]:
        oldest = self._history.oldest
        return {
            "actions": torch.from_numpy(self._history.since(oldest).copy()),  # uint8 [T, N]
            "seeds": [begins[0].seed for begins in self._history.begins],
            "seeded_at": [begins[0].time - oldest for begins in self._history.begins],
            "rng": self._rng.bit_generator.state,
            "obs": torch.as_tensor(self.obs).cpu().clone(),
            "start": self.start.cpu().clone(),
            "episode": list(self._episode),
            "episodes_begun": self._episodes_begun,
            "episode_seeds": list(self._episode_seeds),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Play the snapshot's actions again from each row's seed, and check that they reach the same observation."""
        actions = snapshot["actions"].numpy()  # [T, N]
        if actions.shape[1] != self.num_envs:
            raise ValueError(f"the snapshot of {self.id} holds {actions.shape[1]} environments, not {self.num_envs}")
        seeds, seeded_at = np.array(snapshot["seeds"], np.int64), np.array(snapshot["seeded_at"])
        self._history = History(self.num_envs)
        begin = np.ones(self.num_envs, np.bool_)
        for time in range(len(actions) + 1):
            # A row whose own part has not begun yet plays along unseeded; its seeded reset throws that away.
            seeded = seeded_at == time
            begin |= seeded
            if begin.any():
                obs = self._begin(begin, np.where(seeded, seeds, -1))
            if time < len(actions):
                self._send(actions[time].astype(np.int64))
                obs, _, terminated, truncated, _ = self._receive()
                begin = terminated | truncated
        if not np.array_equal(obs, snapshot["obs"].numpy()):
            raise ValueError(f"{self.id} did not reproduce the stored observation: was it made with other options?")
        self._rng.bit_generator.state = snapshot["rng"]
        self._episode, self._episodes_begun = list(snapshot["episode"]), snapshot["episodes_begun"]
        self._episode_seeds = list(snapshot["episode_seeds"])
        self._just_ended = np.zeros(self.num_envs, np.bool_)
        self.obs, self.start = self._tensor(obs), snapshot["start"].to(self.device)

    def render(self, row: int = 0) -> NDArray[np.uint8]:
        """A row's picture: one RGB frame in the emulator's own size, uint8 [210, 160, 3] for most games."""
        if not self.can_render:
            return super().render(row)
        return self._screen(row).picture(self._history, row, final=bool(self._just_ended[row]))

    def ram(self, row: int = 0) -> NDArray[np.uint8]:
        """The console's memory in a row's current state, uint8 [128]; a second emulator follows the row for it."""
        return self._screen(row).ram(self._history, row)

    def _screen(self, row: int) -> Screen:
        """The emulator that follows a row."""
        if row not in self._screens:
            self._screens[row] = Screen(
                self._rom,
                sticky=self.options.sticky or 0.0,
                frame_skip=self.frame_skip,
                fire_reset=self.options.fire_reset,
                full_action_space=self.options.full_action_space,
            )
        return self._screens[row]

    def close(self) -> None:
        self._native = None
        self._screens.clear()

    def _send(self, actions: NDArray[np.int64]) -> None:
        """Have the emulators' threads take one action in each row."""
        if self._sent:  # ale-py would mix the two up
            raise RuntimeError(f"{self.id}: send was called twice without receive")
        if actions.min() < 0 or actions.max() >= self._num_actions:  # an invalid action would hang the native threads
            raise ValueError(f"actions of {self.id} must be in 0..{self._num_actions - 1}, got {actions.tolist()}")
        self._native.send(actions)
        self._sent = True
        self._history.append(actions)

    def _receive(self) -> tuple[NDArray[Any], ...]:
        """The results: obs, reward, terminated, truncated, lives."""
        if not self._sent:  # ale-py would wait forever
            raise RuntimeError(f"{self.id}: receive was called without send")
        self._sent = False
        obs, reward, terminated, _, info = self._native.recv()
        self._length += 1
        self._return += reward
        truncated = (self._length >= self.max_episode_steps) & ~terminated
        return self._channels(obs), reward, terminated, truncated, info["lives"]

    def _begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Reset some rows, seeded if `seeds` [N] is not -1; the observations of all rows, new memory."""
        obs, info = self._native.reset(seed=seeds[rows], options={"reset_mask": rows})
        for row in np.flatnonzero(rows).tolist():
            self._history.begin(row, seed=int(seeds[row]), frames=int(info["episode_frame_number"][row]))
        self._length[rows] = 0
        self._return[rows] = 0.0
        return self._channels(obs)

    def _first_seeds(self) -> list[int]:
        """A seed for every row; those of the first reset do not depend on which rows are here."""
        first, self._first_row = self._first_row, 0
        for _ in range(first):
            self._rng.integers(2**31)
        seeds = [self._next_seed(row, always=True) for row in range(self.num_envs)]
        if first:  # or later seeds would be those of the rows that follow
            self._rng = np.random.Generator(self._rng.bit_generator.jumped(first))  # type: ignore[attr-defined]
        return seeds

    def _next_seed(self, row: int, *, always: bool = False) -> int:
        """Number the row's next episode and choose its seed, -1 to let the emulator's generator continue."""
        number = self._episodes_begun
        self._episode[row] = number
        self._episodes_begun += 1
        if number < len(self._episode_seeds):
            return int(np.random.SeedSequence(self._episode_seeds[number]).generate_state(1)[0] >> 1)
        if always or self._history.age(row) >= RESEED_AFTER:
            return int(self._rng.integers(2**31))
        return -1

    def _channels(self, obs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB stacks [N, stack, H, W, 3] as channels [N, 3 stack, H, W]."""
        if self.options.grayscale:
            return obs
        return np.ascontiguousarray(obs.transpose(0, 1, 4, 2, 3)).reshape(len(obs), -1, *obs.shape[2:4])

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """The array's own memory on a CPU (nothing overwrites it), else its copy on the device."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.to(self.device)
