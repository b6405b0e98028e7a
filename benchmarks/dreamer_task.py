"""The work of the Dreamer comparison: sizes, environments, and the clock around a trainer's updates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from contest import Profiler, Result, Timed

BATCH, LENGTH, TRAIN_RATIO = 16, 64, 32
STEPS = BATCH * LENGTH // TRAIN_RATIO
"""Env steps between two updates."""
LEARNING_RATE = 4e-4
"""Ten times the default and without a warm-up, so that a short run shows whether the loss falls."""
ENVIRONMENTS = {"state": "Acrobot-v1", "images": "Pictures-v0"}
PICTURES, SIDE, EPISODE = 64, 64, 200


class Size(NamedTuple):
    """Widths of a model, as in the official implementation's `size1m` and `size12m`."""

    deter: int
    hidden: int
    classes: int
    depth: int


SIZES = {"1m": Size(512, 64, 4, 4), "12m": Size(2048, 256, 16, 16)}


@dataclass(frozen=True)
class Task:
    """One contender's work."""

    size: str
    obs: str
    bf16: bool
    envs: int
    compile: bool
    """Compile a peer's update."""
    warm_up: int
    """Updates before it is timed."""
    updates: int
    """Updates that are timed."""
    folder: str
    """For a trainer's own files."""

    @property
    def steps(self) -> int:
        """Env steps of the whole run, and some more than the last update needs."""
        return self.learning_starts + (self.warm_up + self.updates + 4) * STEPS

    @property
    def learning_starts(self) -> int:
        """Env steps before the first update: longer than a sequence in each environment."""
        return 2 * LENGTH * self.envs


class Finished(Exception):  # noqa: N818 - no error
    """The last timed update is done."""


class Clock:
    """Around a trainer's function of one update: times the run from one update's end to another's, then ends it.

    Raises:
        Finished: out of the trainer, after the last timed update.
    """

    def __init__(self, task: Task, profiler: Profiler) -> None:
        self.task, self.profiler = task, profiler
        self.losses: list[float] = []
        self.spent: list[tuple[float, float]] = []  # seconds and processor seconds of each timed update
        self.timed: Timed | None = None
        self.result: Result = {}

    def around(self, function: Callable[..., Any], loss: Callable[[Any], float]) -> Callable[..., Any]:
        """The function, clocked; `loss` reads the loss of the update from what it returned."""

        def call(*args: Any, **kwargs: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            returned = function(*args, **kwargs)
            if self.timed is not None:
                self.spent.append((time.perf_counter() - wall, time.process_time() - processor))
            self.losses.append(loss(returned))
            self._count()
            return returned

        return call

    def _count(self) -> None:
        done, task = len(self.losses), self.task
        if done == task.warm_up:
            self.profiler.__enter__()
            self.timed = Timed(done)
        if self.timed is not None and done == task.warm_up + task.updates:
            self.result = self.timed.result(task.updates * STEPS, done, expected=task.updates)
            self.profiler.__exit__(None, None, None)
            raise Finished

    def finished(self, *, parameters: int, versions: str) -> Result:
        """The figures of the run.

        Raises:
            SystemExit: a loss was not finite, or the last quarter's are not smaller than the first quarter's.
        """
        if not all(map(math.isfinite, self.losses)):
            raise SystemExit(f"a loss is not finite: {self.losses}")
        quarter = max(len(self.losses) // 4, 1)
        first, last = np.mean(self.losses[:quarter]), np.mean(self.losses[-quarter:])
        if len(self.losses) > 1 and last >= first:
            raise SystemExit(f"the loss did not fall: {self.losses}")
        wall, processor = np.median(np.array(self.spent), axis=0) * 1e3
        return {
            **self.result,
            "update_ms": float(wall),
            "update_cpu_ms": float(processor),
            "parameters": parameters,
            "loss_before": float(first),
            "loss_after": float(last),
            "versions": versions,
        }


class Pictures(gym.Env[np.ndarray, int]):
    """A made-up set of 64 pictures, 64x64x3 bytes, on a circle: actions go left or right, one of them pays 1."""

    def __init__(self, *, channels_first: bool = False, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        rng = np.random.default_rng(0)
        places, colours = rng.uniform(8, SIDE - 8, (PICTURES, 2)), rng.uniform(64, 255, (PICTURES, 3))
        grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1)
        distance = np.square(grid - places[:, None, None]).sum(-1)  # [P, 64, 64]
        pictures = (np.exp(-distance / 200)[..., None] * colours[:, None, None]).astype(np.uint8)
        self.pictures = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)) if channels_first else pictures
        self.observation_space = gym.spaces.Box(0, 255, self.pictures.shape[1:], np.uint8)
        self.action_space = gym.spaces.Discrete(2)
        self.place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(PICTURES))
        return self.pictures[self.place], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = (self.place + 2 * int(action) - 1) % PICTURES
        return self.pictures[self.place], float(self.place == 0), False, False, {}

    def render(self) -> Any:
        return self.pictures[self.place]


def register() -> None:
    """Make `Pictures-v0` known to Gymnasium."""
    gym.register("Pictures-v0", entry_point=Pictures, max_episode_steps=EPISODE)
