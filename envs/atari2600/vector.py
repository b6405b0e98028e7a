"""N games of one kind as Gymnasium's vector environment."""

from __future__ import annotations

import itertools
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.frame import frame_address
from gymnast.envs.atari2600.games import load_game
from gymnast.envs.atari2600.machine import HEIGHT, MACHINE, WIDTH, machines, screens
from gymnast.envs.atari2600.observation import edges, taps
from gymnast.envs.atari2600.palette import RGB
from gymnast.envs.atari2600.ports import FIRE

OBSERVATIONS = ("gray", "rgb", "ram")
FOREVER = 2**31 - 1
LAYOUT = zlib.crc32(repr((MACHINE.descr, rows.ROW.descr)).encode())
"""Of the records in a snapshot."""
Infos = dict[str, Any]


class AtariVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N consoles with one game, stepped by threads without the GIL.

    Observations are "gray", uint8 [stack, screen, screen], the maximum of an action's last two frames resized by area,
    older frames first and black before the episode; "rgb", uint8 [210, 160, 3], the last frame; or "ram", uint8 [128].
    An action lasts `frame_skip` frames, each of which repeats the action before with probability `sticky`. An episode
    begins with 0 to `noop_max` no-ops and is truncated after `max_frames` frames, or `max_episode_steps` actions.
    Rewards are the game's own, and an episode is a whole game. Row n of a reset with seed s has the seed s + n.
    Autoreset is DISABLED: `reset(options={"reset_mask": mask})` begins new episodes in some rows.

    Raises:
        ValueError: an unknown game (`GameError`) or an option that is out of range.
    """

    def __init__(
        self,
        game: str = "pong",
        num_envs: int = 1,
        *,
        rom: str | None = None,
        mode: int | None = None,
        difficulty: int = 0,
        observation: str = "gray",
        frame_skip: int = 4,
        sticky: float = 0.0,
        noop_max: int = 30,
        fire_reset: bool = False,
        full_action_space: bool = False,
        max_frames: int = 108_000,
        max_episode_steps: int | None = None,
        screen: int = 84,
        stack: int = 4,
        threads: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self.game = load_game(game, None if rom is None else Path(rom))
        _check(
            num_envs=num_envs, frame_skip=frame_skip, max_frames=max_frames, screen=screen, stack=stack,
            max_episode_steps=1 if max_episode_steps is None else max_episode_steps,
        )  # fmt: skip
        _check_choices(self.game, observation, sticky, mode, difficulty, render_mode)
        for name, value in (("noop_max", noop_max), ("threads", threads)):
            if value < 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        self.num_envs, self.observation, self.render_mode = num_envs, observation, render_mode
        self.metadata = {
            "autoreset_mode": AutoresetMode.DISABLED,
            "render_modes": ["rgb_array"],
            "render_fps": 60 / frame_skip,
        }
        self._set_spaces(full_action_space, screen, stack)
        self._machines, self._rows = machines(num_envs), np.zeros(num_envs, rows.ROW)
        self._machines["sticky"] = sticky
        self._words = self._machines.view(np.uint64).reshape(num_envs, -1)
        self._settings = np.zeros(1, rows.SETTINGS)
        limit = min(max_frames, frame_skip * max_episode_steps if max_episode_steps else FOREVER)
        presses = fire_reset and FIRE in self.actions
        drawn = frame_skip if observation == "rgb" or render_mode else (2 if observation == "gray" else 0)
        self._settings[0] = (
            *(frame_skip, limit, noop_max + 1, presses, drawn),
            *(self.game.default_mode if mode is None else mode, difficulty),
        )
        self._columns, self._across = taps(WIDTH, screen)
        self._edges = edges(self._columns)
        self._lines, self._down = taps(HEIGHT, screen)
        self._obs = np.zeros((num_envs, *self.single_observation_space.shape), np.uint8)  # type: ignore[misc]
        self._start_threads(threads, screen)
        self.game.record["run_frame"] = frame_address()
        self._begun = False

    def _set_spaces(self, full_action_space: bool, screen: int, stack: int) -> None:
        self.actions = np.array(range(18) if full_action_space else self.game.actions, np.int64)
        shape = {"gray": (stack, screen, screen), "rgb": (HEIGHT, WIDTH, 3), "ram": (128,)}[self.observation]
        self.single_observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = gym.spaces.Discrete(len(self.actions))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def _start_threads(self, threads: int, screen: int) -> None:
        """Threads, 0 for one per core, and what each of them needs for its rows."""
        count = min(threads or os.cpu_count() or 1, self.num_envs)
        bounds = [self.num_envs * part // count for part in range(count + 1)]
        self._parts = list(itertools.pairwise(bounds))
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="gymnast-atari") if count > 1 else None
        self._kept = [np.zeros(rows.KEPT, np.uint64) for _ in self._parts]
        self._scratch = [np.zeros((HEIGHT + 1, screen), np.float32) for _ in self._parts]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Infos]:
        """Begin episodes in all rows, or those of `options["reset_mask"]`; a seed also gives new consoles."""
        mask = np.ones(self.num_envs, np.bool_)
        if options and "reset_mask" in options:
            mask = np.array(options["reset_mask"], np.bool_)
            if mask.shape != (self.num_envs,):
                raise ValueError(f"reset_mask must be bool [{self.num_envs}], got {list(mask.shape)}")
        seeds = self._seeds(seed)
        if not self._begun and not mask.all():
            raise ValueError("the first reset must be of all rows")
        changes = np.where(mask, rows.BEGUN, rows.NOTHING)
        obs = self._run(rows.RESET, np.where(mask, seeds, rows.SKIP), changes)
        self._begun = True
        return obs, self._infos()

    def _run(self, command: int, values: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """A command of `rows.run_rows` in all rows, with a value for each, int64 [N]; their observations in new memory.

        `changes`, int64 [N], are what happens to each row.
        """
        state = (self._machines, self._words, self._rows, self.game.record, self.game.rom, self._settings)
        seen = (self._machines, self._rows, self._settings, changes)
        maps = (self._columns, self._across, self._edges, self._lines, self._down)
        is_gray = self.observation == "gray"
        before, obs = self._obs, np.empty_like(self._obs) if is_gray else self._obs

        def run(part: tuple[int, int], kept: np.ndarray, scratch: np.ndarray) -> None:
            rows.run_rows(*state, command, values, *part, kept)
            if is_gray:
                rows.observe_rows(*seen, *maps, scratch, before, obs, *part)

        if self._pool is None:
            run(self._parts[0], self._kept[0], self._scratch[0])
        else:
            list(self._pool.map(run, self._parts, self._kept, self._scratch))
        self._obs = obs
        if is_gray:
            return obs
        return self.ram() if self.observation == "ram" else RGB[self._last_screens()]

    def _seeds(self, seed: int | list[int | None] | None) -> np.ndarray:
        """A seed for each row, int64 [N], GO_ON for consoles that go on; the first reset needs some."""
        if seed is None:
            fresh = np.random.default_rng().integers(2**31, size=self.num_envs)
            return np.full(self.num_envs, rows.GO_ON) if self._begun else fresh
        given = [seed + row for row in range(self.num_envs)] if isinstance(seed, int | np.integer) else list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"seed must be an integer or {self.num_envs} of them, got {len(given)}")
        return np.array([rows.GO_ON if one is None else int(one) % 2**31 for one in given], np.int64)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Take an action, an index into the action set, in each row."""
        actions = np.asarray(actions)
        if not self._begun:
            raise ValueError("step before the first reset")
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() >= len(self.actions):
            raise ValueError(f"actions must be {self.num_envs} of 0..{len(self.actions) - 1}, got {actions.tolist()}")
        obs = self._run(rows.STEP, self.actions[actions], np.full(self.num_envs, rows.STEPPED))
        results = (self._rows[name] for name in ("reward", "terminated", "truncated"))
        reward, terminated, truncated = results
        return obs, reward.astype(np.float64), terminated != 0, truncated != 0, self._infos()

    def _infos(self) -> Infos:
        m = self._machines
        return {
            "lives": m["lives"].copy(),
            "frame_number": m["frames"].copy(),
            "episode_frame_number": m["episode_frames"].copy(),
        }

    def _last_screens(self) -> np.ndarray:
        """Palette indices, uint8 [N, 210, 160]."""
        last: np.ndarray = screens(self._machines)[np.arange(self.num_envs), self._machines["buffer"]]
        return last

    def ram(self) -> np.ndarray:
        """The memory of all consoles, uint8 [N, 128]."""
        memory: np.ndarray = self._machines["RAM"].copy()
        return memory

    @property
    def settings(self) -> np.ndarray:
        """What compiled code knows of the options, `rows.SETTINGS` [1]."""
        return self._settings

    def render(self) -> tuple[np.ndarray, ...]:
        """The last frame of each row in true colours, uint8 [210, 160, 3]."""
        if self.render_mode is None:
            raise ValueError("render needs render_mode='rgb_array'")
        return tuple(RGB[self._last_screens()])

    def snapshot(self) -> dict[str, Any]:
        """All that the future depends on."""
        state = {"machines": self._machines, "rows": self._rows}
        return {
            **{name: array.view(np.uint8).copy() for name, array in state.items()},
            "obs": self._obs.copy(),
            "begun": self._begun,
            "layout": LAYOUT,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of as many rows of the same game."""
        if len(snapshot["obs"]) != self.num_envs:
            raise ValueError(f"the snapshot has {len(snapshot['obs'])} rows, this environment {self.num_envs}")
        if snapshot["layout"] != LAYOUT:
            raise ValueError("the snapshot is of another version of the console")
        self._machines.view(np.uint8)[:] = snapshot["machines"]
        self._rows.view(np.uint8)[:] = snapshot["rows"]
        self._obs, self._begun = snapshot["obs"].copy(), snapshot["begun"]

    def close_extras(self, **given: Any) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")


def _check_choices(
    game: Any, observation: str, sticky: float, mode: int | None, difficulty: int, render_mode: str | None
) -> None:
    if observation not in OBSERVATIONS:
        raise ValueError(f"observation must be one of {', '.join(OBSERVATIONS)}, got {observation!r}")
    if not 0 <= sticky < 1:
        raise ValueError(f"sticky must be at least 0 and below 1, got {sticky}")
    if mode is not None and mode not in game.modes:
        raise ValueError(f"mode of {game.name} must be one of {', '.join(map(str, game.modes))}, got {mode}")
    if difficulty not in game.difficulties:
        allowed = ", ".join(map(str, game.difficulties))
        raise ValueError(f"difficulty of {game.name} must be one of {allowed}, got {difficulty}")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
