"""Games through ale-py's native vector environment: N emulators, stepped by its threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from gymnast.envs.atari.base import NO_CAP, HostAtari, Results
from gymnast.envs.atari.history import History, Screen
from gymnast.envs.atari.names import AtariName
from gymnast.envs.atari.options import AtariOptions


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


class AleAtari(HostAtari):
    """N rows in ale-py.

    The native environment runs in its NEXT_STEP mode, and a row that ended is reset at once through its reset mask,
    which clears the pending autoreset: no action is ever ignored, and `next_obs` and `obs` are two whole arrays without
    a copy. Its SAME_STEP mode would allocate a second array in every step, and cannot seed a row or end an episode
    where we say.
    """

    def __init__(self, name: AtariName, num_envs: int, *, options: AtariOptions, **settings: Any) -> None:
        self._native: Any = _native_env(name.rom, num_envs, options)
        actions = len(self._native.ale.get_action_set())
        super().__init__(name, num_envs, num_actions=actions, options=options, **settings)
        self._rom = name.rom
        self._history = History(num_envs)
        self._screens: dict[int, Screen] = {}

    def _begin_act(self, actions: NDArray[np.int64]) -> None:
        self._native.send(actions)
        self._history.append(actions)

    def _end_act(self) -> Results:
        obs, reward, terminated, _, info = self._native.recv()
        return self._channels(obs), reward, terminated, info["lives"]

    def _reset_rows(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        obs, info = self._native.reset(seed=seeds[rows], options={"reset_mask": rows})
        for row in np.flatnonzero(rows).tolist():
            self._history.begin(row, seed=int(seeds[row]), frames=int(info["episode_frame_number"][row]))
        return self._channels(obs)

    def _state(self) -> dict[str, Any]:
        oldest = self._history.oldest
        return {
            "actions": torch.from_numpy(self._history.since(oldest).copy()),  # uint8 [T, N]
            "seeds": [begins[0].seed for begins in self._history.begins],
            "seeded_at": [begins[0].time - oldest for begins in self._history.begins],
        }

    def _put_back(self, snapshot: dict[str, Any]) -> NDArray[np.uint8]:
        """Play the snapshot's actions again from each row's seed."""
        actions = snapshot["actions"].numpy()  # [T, N]
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
        return obs

    def _picture(self, row: int, *, final: bool) -> NDArray[np.uint8]:
        return self._screen(row).picture(self._history, row, final=final)

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

    def _channels(self, obs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB stacks [N, stack, H, W, 3] as channels [N, 3 stack, H, W]."""
        if self.options.grayscale:
            return obs
        return np.ascontiguousarray(obs.transpose(0, 1, 4, 2, 3)).reshape(len(obs), -1, *obs.shape[2:4])
