"""Row 1, 6 and 26 of the correctness list: every autoreset mode gives the oracle's transitions, once each."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import TransformObservation

from gymnast import envs
from gymnast.envs.env import Env
from gymnast.envs.rows.processes import WorkersEnv
from gymnast.envs.rows.serial import SerialEnv
from tests.conformance import check_env
from tests.scripted import Scripted, oracle

ROWS = 3
CPU = torch.device("cpu")


def functions(**options: Any) -> list[Any]:
    return [partial(Scripted, row, **options) for row in range(ROWS)]


def serial(**options: Any) -> Env:
    rows = [make() for make in functions(**options)]
    return SerialEnv("Scripted", rows, seed=np.random.SeedSequence(0), device=CPU)


def sync_vector(mode: AutoresetMode, *, copy: bool = True, **options: Any) -> SyncVectorEnv:
    # Gymnasium keeps a reference to the final observation over the reset of SAME_STEP: a reused buffer is lost there
    made = functions(reuse=mode is not AutoresetMode.SAME_STEP, **options)
    return SyncVectorEnv(made, copy=copy, autoreset_mode=mode)


def sync(mode: AutoresetMode, **options: Any) -> Env:
    return envs.make(sync_vector(mode, **options))


def wrapped(mode: AutoresetMode, **options: Any) -> Env:
    """Behind a wrapper nobody knows whether a masked reset clears the pending one: rows are inactive instead."""
    return envs.make(VectorWrapper(sync_vector(mode, **options)))


def asynchronous(mode: AutoresetMode, **options: Any) -> Env:
    shared = options.pop("shared_memory", True)
    made = functions(reuse=mode is not AutoresetMode.SAME_STEP, **options)
    vector = AsyncVectorEnv(made, context="spawn", shared_memory=shared, copy=False, autoreset_mode=mode)
    return envs.make(vector)


FAST = {
    "serial": serial,
    **{f"sync {mode.name}": partial(sync, mode) for mode in AutoresetMode},
    **{f"sync uncopied {mode.name}": partial(sync, mode, copy=False) for mode in AutoresetMode},
    "wrapped NEXT_STEP": partial(wrapped, AutoresetMode.NEXT_STEP),
    "wrapped SAME_STEP": partial(wrapped, AutoresetMode.SAME_STEP),
}
SLOW = {
    **{f"async {mode.name}": partial(asynchronous, mode) for mode in AutoresetMode},
    "async NEXT_STEP without shared memory": partial(asynchronous, AutoresetMode.NEXT_STEP, shared_memory=False),
}
MAKERS = [
    *(pytest.param(make, id=name) for name, make in FAST.items()),
    *(pytest.param(make, id=name, marks=pytest.mark.slow) for name, make in SLOW.items()),
]


@pytest.mark.parametrize("make", MAKERS)
def test_every_mode_gives_the_transitions_of_the_naive_loop(make: Any) -> None:
    env = make()
    kept, taken = [], [[] for _ in range(ROWS)]  # tensors are kept as they are: nothing may write into them later
    obs = env.reset()
    rng = np.random.default_rng(0)
    while min(map(len, taken)) < 60:
        action = torch.from_numpy(rng.integers(3, size=ROWS))
        step = env.step(action)
        kept.append((obs, action, step))
        active = torch.ones(ROWS, dtype=torch.bool) if step.active is None else step.active
        for row in active.nonzero().flatten().tolist():
            taken[row].append(int(action[row]))
        obs = step.obs
    env.close()

    streams, ended = [[] for _ in range(ROWS)], [[] for _ in range(ROWS)]
    for obs, action, step in kept:
        for row in range(ROWS):
            if step.active is not None and not step.active[row]:
                assert step.start[row]
                continue
            flags = bool(step.terminated[row]), bool(step.truncated[row])
            values = obs[row].tolist(), int(action[row]), float(step.reward[row]), step.next_obs[row].tolist()
            streams[row].append((*values, *flags))
            if any(flags):
                ended[row].append((float(step.episode_return[row]), int(step.episode_length[row])))
    for row in range(ROWS):
        transitions, episodes = oracle(row, taken[row])
        assert streams[row] == transitions
        assert ended[row] == episodes
    assert sum(step.num_active for _, _, step in kept) == sum(map(len, taken))


@pytest.mark.parametrize("make", MAKERS)
def test_start_marks_the_first_observation_of_every_episode(make: Any) -> None:
    env = make()
    env.reset()
    for _ in range(40):
        step = env.step(torch.zeros(ROWS, dtype=torch.int64))
        fresh = (step.obs[:, 2] == 0) & (step.obs[:, 3] == -1)  # time 0, no action yet
        assert torch.equal(step.start, fresh)
    env.close()


@pytest.mark.parametrize("name", ["serial", "sync DISABLED", "sync SAME_STEP", "sync NEXT_STEP"])
def test_lives_and_action_masks_belong_to_their_observation(name: str) -> None:
    env = FAST[name](lives=True)
    env.reset()
    assert env.action_mask.tolist() == [[False, True, True]] * ROWS
    for _ in range(30):
        step = env.step(torch.zeros(ROWS, dtype=torch.int64))
        for row in range(ROWS):
            for obs, mask in ((step.obs[row], step.action_mask[row]), (step.next_obs[row], step.next_action_mask[row])):
                assert mask.tolist() == [index != int(obs[2]) % 3 for index in range(3)]
            assert int(step.lives[row]) == 100 * int(step.next_obs[row, 1]) + int(step.next_obs[row, 2])
    env.close()


@pytest.mark.parametrize("make", MAKERS)
def test_conformance(make: Any) -> None:
    check_env(make())


def test_one_row_shares_no_memory_with_its_env() -> None:
    check_env(envs.make(Scripted))  # keeps every step and compares it with what it was


def test_an_env_without_a_mode_is_refused() -> None:
    vector = SyncVectorEnv(functions())
    vector.metadata = {}
    with pytest.raises(ValueError, match="SyncVectorEnv declares no autoreset mode"):
        envs.make(vector)
    vector.close()


def test_an_env_that_ignores_the_reset_mask_is_refused() -> None:
    class Deaf(SyncVectorEnv):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return super().reset(seed=seed)

    env = envs.make(Deaf(functions(), autoreset_mode=AutoresetMode.DISABLED))
    env.reset()
    with pytest.raises(RuntimeError, match="ignores reset_mask"):
        env.step(torch.zeros(ROWS, dtype=torch.int64))  # row 1 ends here, the others go on
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_nested_observations_in_every_mode(mode: AutoresetMode, kind: str) -> None:
    def nested(row: int) -> gym.Env:
        env = Scripted(row)
        box, counter = env.observation_space, gym.spaces.Discrete(100)
        if kind == "dict":
            space = gym.spaces.Dict({"a": box, "b": gym.spaces.Dict({"c": counter})})
            return TransformObservation(env, lambda obs: {"a": obs, "b": {"c": int(obs[1])}}, space)
        return TransformObservation(env, lambda obs: (obs, int(obs[1])), gym.spaces.Tuple([box, counter]))

    env = envs.make(SyncVectorEnv([partial(nested, row) for row in range(2)], autoreset_mode=mode))
    plain = serial()
    obs, expected = env.reset(), plain.reset()
    for _ in range(20):
        inner = (obs["a"], obs["b"]["c"]) if kind == "dict" else (obs["0"], obs["1"])
        assert torch.equal(inner[0], expected[:2])
        assert inner[1].dtype == torch.int64
        assert torch.equal(inner[1], expected[:2, 1].to(torch.int64))
        obs = env.step(torch.zeros(2, dtype=torch.int64)).obs
        expected = plain.step(torch.zeros(3, dtype=torch.int64)).obs
    env.close()


@pytest.mark.slow
def test_worker_processes_give_the_stream_of_the_serial_env() -> None:
    env = WorkersEnv("Scripted", Scripted, ROWS, seed=np.random.SeedSequence(0), device=CPU)
    plain = SerialEnv("Scripted", [Scripted() for _ in range(ROWS)], seed=np.random.SeedSequence(0), device=CPU)
    assert torch.equal(env.reset(), plain.reset())
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = torch.from_numpy(rng.integers(3, size=ROWS))
        one, other = env.step(action), plain.step(action)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated", "start"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert one.num_ended == other.num_ended
        if one.num_ended:
            assert torch.equal(one.episode_return, other.episode_return)
            assert torch.equal(one.episode_length, other.episode_length)
        assert env.episode == plain.episode
    check_env(env)
