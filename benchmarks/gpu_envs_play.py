"""Random play by the rules of a device-native environment: our contenders of gpu_envs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_envs_task import Task
from numba import njit
from torch import Tensor

from gymnast.agents.optim.compiled import Captured
from gymnast.envs import make
from gymnast.envs.kernels.draws import draws_of, integer
from gymnast.envs.native import world
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.draws import Draws, row_keys

BLOCK = 32
"""Steps of one CUDA graph."""
STEPS, ROWS = 64, 2_048
"""Of which both forms of a game are compared, at most."""


@njit(cache=True)
def _random_actions(keys: Any, counter: int, actions: int, out: Any) -> None:
    for row in range(len(keys)):
        out[row] = integer(draws_of(keys[row], counter), 0, actions)


def agree(task: Task) -> None:
    """SystemExit if rules of one row and of tensors differ on the device; rounded numbers may, a little."""
    count = min(task.envs, ROWS)
    rows, tensors = (_env(task, form, count) for form in ("rows", "tensors"))
    keys = row_keys(3, count, device=rows.device)
    actions = int(rows.single_action_space.n)  # type: ignore[attr-defined]
    for env in (rows, tensors):
        env.env.reset_keys(keys)
    for step in range(STEPS):
        action = Draws(keys, torch.full_like(keys, step)).integer(200, actions)
        one, two = rows.env.move(action), tensors.env.move(action)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated", "total", "length"):
            if not torch.allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-5):
                raise SystemExit(f"{task.game}: {name} of the rules of one row and of tensors differ in step {step}")
        rows.env.world = tensors.env.world


def _env(task: Task, form: str, count: int) -> NativeEnv:
    env = make(task.game, count, device=task.device, native=True, options={"engine": form})
    assert isinstance(env, NativeEnv)
    return env


class CudaPlay:
    """N environments of compiled rules on a GPU under random actions; `BLOCK` steps are one CUDA graph."""

    block = BLOCK

    def __init__(self, task: Task) -> None:
        self.env = _env(task, "rows", task.envs)
        self.device = self.env.device
        self.key = row_keys(1, task.envs, device=self.device)
        self.counter, self.total = torch.zeros_like(self.key), torch.zeros(task.envs, device=self.device)
        self.actions = int(self.env.single_action_space.n)  # type: ignore[attr-defined]
        self.obs = self.env.reset()
        self.recorded = Captured(self._record)

    def run(self, count: int) -> int:
        """Take at least this number of steps, in whole blocks; their number."""
        blocks = -(-count // BLOCK)
        for _ in range(blocks):
            self.recorded(())
        return blocks * BLOCK

    def _record(self) -> None:
        obs = self.obs
        for _ in range(BLOCK):
            moved = self.env.env.move(Draws(self.key, self.counter).integer(0, self.actions))
            self.total += moved.reward
            self.counter += 1
            obs = moved.obs
        self.obs.copy_(obs)  # type: ignore[arg-type, union-attr] # a Box's are tensors


class RowPlay:
    """N environments of compiled rules on the CPU under random actions, stepped as the training loop does."""

    block = 1

    def __init__(self, task: Task) -> None:
        self.env = _env(task, "rows", task.envs)
        self.device = self.env.device
        self.keys = row_keys(1, task.envs, device=self.device).numpy()
        self.actions = int(self.env.single_action_space.n)  # type: ignore[attr-defined]
        self.total, self.counter = torch.zeros(task.envs), 0
        self.env.reset()

    def run(self, count: int) -> int:
        """Take this number of steps."""
        for _ in range(count):
            action = torch.empty(len(self.keys), dtype=torch.int64)
            _random_actions(self.keys, self.counter, self.actions, action.numpy())
            step = self.env.step(action)
            self.obs, self.counter = step.obs, self.counter + 1
            self.total += step.reward
        return count


class Play:
    """N environments under random actions; on a GPU `BLOCK` steps are one CUDA graph."""

    def __init__(self, task: Task, *, compile: bool) -> None:
        env = _env(task, "tensors", task.envs)
        self.device = env.device
        self.key = row_keys(1, task.envs, device=env.device)
        compile = compile and (env.env.game.compiles_on_cpu or env.device.type != "cpu")
        self.step = torch.compile(_step(env), fullgraph=True, dynamic=False) if compile else _step(env)
        self.kept: tuple[Any, ...] = (
            env.env.world,
            torch.zeros_like(self.key),  # the counter of draws
            env.obs,
            torch.zeros(task.envs, device=env.device),  # the sum of rewards
        )
        self.recorded: Captured | None = None
        if env.device.type == "cuda":
            self.kept = _like(self.kept)
            self.recorded = Captured(self._record)

    @property
    def block(self) -> int:
        """Steps that are taken at once."""
        return 1 if self.recorded is None else BLOCK

    def run(self, count: int) -> int:
        """Take at least this number of steps, in whole blocks; their number."""
        blocks = -(-count // self.block)
        if self.recorded is None:
            self._play(count)
        else:
            for _ in range(blocks):
                self.recorded(())
        return blocks * self.block

    def _play(self, count: int) -> None:
        for _ in range(count):
            now, *rest = self.kept
            self.kept = self.step(now, self.key, *rest)

    def _record(self) -> None:
        """A block of steps, with the result copied back to the recording's tensors."""
        held = self.kept
        self._play(BLOCK)
        for place, value in zip(_leaves(held), _leaves(self.kept), strict=True):
            place.copy_(value)
        self.kept = held


def _step(env: NativeEnv) -> Callable[..., tuple[Any, ...]]:
    """A random action and its results: state, counter of draws, observation, sum of rewards."""
    game, limit, actions = env.env.game, env.env.limit, int(env.single_action_space.n)  # type: ignore[attr-defined]

    def step(now: world.World, key: Tensor, counter: Tensor, obs: Tensor, total: Tensor) -> tuple[Any, ...]:
        action = Draws(key, counter).integer(0, actions)
        following, moved = world.advance(game, now, action, limit)
        return following, counter + 1, moved.obs, total + moved.reward

    return step


def _leaves(value: Any) -> list[Any]:
    """All tensors of a nesting of tuples and dicts, in order."""
    if isinstance(value, (tuple, dict)):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(part)]
    return [value]


def _like(value: Any) -> Any:
    """The same nesting with separate tensors: a recording must not write to the same one twice."""
    if isinstance(value, dict):
        return {name: _like(part) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [_like(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value.clone()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
