"""The contenders of gpu_envs.py that are written in JAX: gymnax and pgx, whole runs as one jitted scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from contest import Profiler, Result

if TYPE_CHECKING:
    from gpu_envs_task import Task

PGX_NAMES = {"SpaceInvaders": "space_invaders"}
"""Games whose name there is more than the lower case of ours."""


def run_gymnax(task: Task, profiler: Profiler) -> Result:
    import gymnax
    import jax

    name = f"{task.name}-MinAtar" if task.game.startswith("MinAtar/") else task.game
    env, params = gymnax.make(name)

    def begin(key: Any) -> tuple[Any, Any]:
        obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(key, task.envs), params)
        return state, obs

    def step(key: Any, state: Any, action: Any) -> tuple[Any, Any, Any]:
        obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key, task.envs), state, action, params
        )
        return state, obs, reward

    return _scan(task, begin, step, env.num_actions)


def run_pgx(task: Task, profiler: Profiler) -> Result:
    import jax
    import pgx
    from pgx.experimental import auto_reset

    env = pgx.make(f"minatar-{PGX_NAMES.get(task.name, task.name.lower())}")  # type: ignore[arg-type, unused-ignore]

    def begin(key: Any) -> tuple[Any, Any]:
        state = jax.vmap(env.init)(jax.random.split(key, task.envs))
        return state, state.observation

    def step(key: Any, state: Any, action: Any) -> tuple[Any, Any, Any]:
        state = jax.vmap(auto_reset(env.step, env.init))(state, action, jax.random.split(key, task.envs))
        return state, state.observation, state.rewards[:, 0]

    return _scan(task, begin, step, env.num_actions)


def _scan(task: Task, begin: Callable[..., Any], step: Callable[..., Any], actions: int) -> Result:
    """All steps as one jitted scan: called twice to warm up, and once more, on from there, to be timed."""
    import jax
    import jax.numpy as jnp

    began = time.perf_counter()

    def one(kept: Any, key: Any) -> tuple[Any, None]:
        state, _, total = kept
        key, of_action = jax.random.split(key)
        action = jax.random.randint(of_action, (task.envs,), 0, actions)
        state, obs, reward = step(key, state, action)
        return (state, obs, total + reward), None

    def rollout(kept: Any, key: Any) -> Any:
        return jax.lax.scan(one, kept, jax.random.split(key, task.steps))[0]

    state, obs = jax.jit(begin)(jax.random.PRNGKey(0))
    compiled = jax.jit(rollout)
    kept = (state, obs, jnp.zeros(task.envs))
    for _ in range(2):  # the first arguments may be weakly typed, which compiles once more for the results
        kept = jax.block_until_ready(compiled(kept, jax.random.PRNGKey(1)))

    def play() -> int:
        jax.block_until_ready(compiled(kept, jax.random.PRNGKey(2)))
        return task.steps

    return task.timed(began, play)
