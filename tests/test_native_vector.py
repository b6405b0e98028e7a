"""Device-native vector environments: bookkeeping against a plain loop, seeds, snapshots, Gymnasium's API."""

from __future__ import annotations

import io
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from gymnast.envs import EnvError, make
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NATIVE, NATIVE_OF
from tests.conformance import check_env, check_vector_env
from tests.counter import Counter, SingleCounter

PATH = "tests.counter:Counter"


def counters(num_envs: int = 1, **options: Any) -> NativeVectorEnv:
    return NativeVectorEnv(Counter, num_envs, **options)


def random_script(steps: int, num_envs: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice(3, (steps, num_envs), p=(0.5, 0.2, 0.3)))


def run(env: NativeVectorEnv, script: Tensor) -> list[dict[str, Tensor]]:
    """What the steps gave, and the episode numbers after each."""
    return [{**env.move(action)._asdict(), "episode": env.world.episode} for action in script]


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    return all(
        one[name] is None if other[name] is None else torch.equal(one[name], other[name])
        for one, other in zip(left, right, strict=True)
        for name in one
    )


def test_one_row_by_hand() -> None:
    env = counters(max_episode_steps=3)
    obs, infos = env.reset(seed=0)
    assert (obs[0, :2].tolist(), infos) == ([0.0, -1.0], {})
    #       action  obs[:2] next_obs[:2] reward ended (terminated, truncated) return, length
    table = [
        (0, (1, 0), (1, 0), 0.125, (False, False), 0.125, 1),
        (1, (0, -1), (2, 1), 1.25, (True, False), 1.375, 2),
        (1, (0, -1), (1, 1), 1.125, (True, False), 1.125, 1),
        (2, (1, 2), (1, 2), 2.125, (False, False), 2.125, 1),
        (0, (2, 0), (2, 0), 0.25, (False, False), 2.375, 2),
        (2, (0, -1), (3, 2), 2.375, (False, True), 4.75, 3),
        (0, (1, 0), (1, 0), 0.125, (False, False), 0.125, 1),
        (0, (2, 0), (2, 0), 0.25, (False, False), 0.375, 2),
        (1, (0, -1), (3, 1), 1.375, (True, True), 1.75, 3),
        (0, (1, 0), (1, 0), 0.125, (False, False), 0.125, 1),
    ]
    for action, seen, successor, reward, ended, total, length in table:
        moved = env.move(torch.tensor([action]))
        assert moved.obs[0, :2].tolist() == list(seen)
        assert moved.next_obs[0, :2].tolist() == list(successor)
        assert moved.reward.tolist() == [reward]
        assert (bool(moved.terminated[0]), bool(moved.truncated[0])) == ended
        assert (moved.total.tolist(), moved.length.tolist()) == ([total], [length])
    assert (env.world.episode.tolist(), int(env.world.begun)) == ([4], 5)


def test_every_row_equals_gymnasiums_time_limit_around_the_single_environment() -> None:
    rows, script = 5, random_script(200, 5)
    env = counters(rows, max_episode_steps=4)
    singles = [gym.wrappers.TimeLimit(SingleCounter(), 4) for _ in range(rows)]
    env.reset(seed=1)
    for single in singles:
        single.reset()
    numbers, begun = list(range(rows)), rows
    returns, lengths, seen = [0.0] * rows, [0] * rows, set()
    for action in script:
        obs, reward, terminated, truncated, infos = env.step(action)
        for row, single in enumerate(singles):
            after, pay, over, cut, _ = single.step(int(action[row]))
            assert infos["final_obs"][row, :2].tolist() == after.tolist()
            assert (float(reward[row]), bool(terminated[row]), bool(truncated[row])) == (pay, over, cut)
            assert bool(infos["_final_obs"][row]) == (over or cut)
            seen.add((over, cut))
            returns[row], lengths[row] = returns[row] + pay, lengths[row] + 1
            if over or cut:
                numbers[row], begun = begun, begun + 1
                returns[row], lengths[row], after = 0.0, 0, single.reset()[0]
            assert obs[row, :2].tolist() == after.tolist()
        assert env.world.episode.tolist() == numbers
        assert (env.world.total.tolist(), env.world.length.tolist()) == (returns, lengths)
    assert seen == {(False, False), (True, False), (False, True), (True, True)}
    assert int(env.world.begun) == begun


def test_luck_is_that_of_the_episode_and_new_in_each_step() -> None:
    env = counters(200, max_episode_steps=7)
    env.reset(seed=2)
    lucks, nows, repeated = [env.observe()[0][:, 2]], [], []
    for action in random_script(40, 200):
        moved = env.move(action)
        ended = moved.terminated | moved.truncated
        assert torch.equal(moved.next_obs[:, 2], lucks[-1])
        assert torch.equal(moved.obs[~ended, 2], lucks[-1][~ended])
        repeated += (moved.obs[ended, 2] == lucks[-1][ended]).tolist()
        lucks.append(moved.obs[:, 2])
        nows.append(moved.next_obs[:, 3])
        repeated += (moved.next_obs[:, 3] == moved.next_obs[:, 2]).tolist()
    assert np.mean(repeated) < 0.01
    drawn = torch.stack(nows)
    assert len(drawn.unique()) >= 995  # 8,000 draws of 0 .. 999 leave out one in three times
    assert (drawn[1:] == drawn[:-1]).double().mean() < 0.01


def test_a_row_depends_on_its_seed_and_actions_alone() -> None:
    few, many, script = counters(2, max_episode_steps=5), counters(7, max_episode_steps=5), random_script(60, 7)
    few.reset(seed=4)
    many.reset(seed=4)
    for one, other in zip(run(few, script[:, :2]), run(many, script), strict=True):
        assert all(torch.equal(one[name], other[name][:2]) for name in ("obs", "next_obs", "reward", "total"))


def test_seeds_repeat_and_a_reset_without_one_goes_on() -> None:
    env, other, script = counters(20), counters(20), random_script(10, 20)
    one = [env.reset(seed=3)[0], env.reset()[0], env.reset()[0]]
    other.reset(seed=8)
    run(other, script)
    two = [other.reset(seed=3)[0], other.reset()[0], other.reset()[0]]
    assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))
    lucks = torch.cat([obs[:, 2] for obs in one])
    assert len(lucks.unique()) > 50  # of 60 draws
    assert not torch.equal(env.reset(seed=4)[0], one[0])


def episodes_by_seed(num_envs: int, seeds: list[int], steps: int = 60) -> dict[int, list[list[float]]]:
    """The observations of each episode by its number; what is done depends on the observation alone."""
    env = counters(num_envs, max_episode_steps=6)
    obs, _ = env.reset_by(torch.tensor(seeds))
    seen: dict[int, list[list[float]]] = {number: [row] for number, row in enumerate(obs.tolist())}
    for _ in range(steps):
        numbers = env.world.episode.tolist()
        moved = env.move((obs[:, 2] + obs[:, 0]).to(torch.int64) % 3)
        obs = moved.obs
        for row, number in enumerate(numbers):
            seen[number].append(moved.next_obs[row].tolist())
        for row, number in enumerate(env.world.episode.tolist()):
            seen.setdefault(number, [obs[row].tolist()])
    return seen


@pytest.mark.parametrize("num_envs", [2, 3, 11])
def test_an_episode_with_a_seed_of_its_own_is_the_same_in_any_row(num_envs: int) -> None:
    seeds = [5, 99, 0, 7, 7, 2**40, 1, 3]
    alone, together = episodes_by_seed(1, seeds), episodes_by_seed(num_envs, seeds)
    for number in range(len(seeds)):
        assert alone[number] == together[number]
    assert alone[3] == alone[4] != alone[0]
    assert len({tuple(together[number][0]) for number in range(len(seeds), len(together))}) > 5  # past the last seed


def test_a_masked_reset_begins_some_rows_anew() -> None:
    env, script = counters(4), random_script(5, 4).clamp(min=2)
    env.reset(seed=0)
    run(env, script)
    before = env.world
    obs, _ = env.reset(options={"reset_mask": np.array([True, False, False, True])})
    assert obs[:, 0].tolist() == [0.0, 5.0, 5.0, 0.0]
    assert torch.equal(obs[1:3, 2].to(torch.int64), before.state["luck"][1:3])
    assert obs[0, 2] != before.state["luck"][0]
    assert (env.world.episode.tolist(), int(env.world.begun)) == ([4, 1, 2, 5], 6)
    assert env.world.length.tolist() == [0, 5, 5, 0]
    assert (env.world.total == 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize("seeded", [False, True])
def test_a_snapshot_goes_on_in_another_environment(seeded: bool) -> None:
    env, other, script = (*(counters(6, max_episode_steps=5) for _ in range(2)), random_script(60, 6))
    if seeded:
        env.reset_by(torch.arange(100))  # more than begin before the snapshot
    else:
        env.reset(seed=6)
    run(env, script[:20])
    file = io.BytesIO()
    torch.save(env.snapshot(), file)
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    assert torch.equal(env.observe()[0], other.observe()[0])
    assert same(run(env, script[20:]), run(other, script[20:]))
    assert torch.equal(env.reset()[0], other.reset()[0])


def test_a_snapshot_of_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="the snapshot has 3 rows, this environment 2"):
        counters(2).restore(counters(3).snapshot())


def test_action_masks_are_those_of_what_is_seen() -> None:
    env = counters(3, masked=True, max_episode_steps=2)
    _, infos = env.reset(seed=0)
    assert infos["action_mask"].tolist() == [[False, True, True]] * 3
    *_, infos = env.step([2, 1, 2])
    assert infos["action_mask"].tolist() == [[True, False, True], [False, True, True], [True, False, True]]
    *_, infos = env.step([2, 2, 2])
    assert infos["action_mask"][[0, 2]].tolist() == [[False, True, True]] * 2
    assert infos["final_info"]["action_mask"].tolist() == [
        [True, True, False],
        [True, False, True],
        [True, True, False],
    ]


def test_pictures() -> None:
    assert counters().render() is None
    env = counters(2, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.array([2, 1]))
    pictures = env.render()
    assert pictures is not None
    assert [(picture.shape, int(picture.max())) for picture in pictures] == [((4, 6, 3), 1), ((4, 6, 3), 0)]
    assert [int(env.picture(row, final=True).max()) for row in range(2)] == [1, 1]
    with pytest.raises(ValueError, match="render_mode must be None or rgb_array, got 'human'"):
        counters(render_mode="human")


def test_rules_are_found_by_name_and_take_options() -> None:
    env = NativeVectorEnv(PATH, 2, start=3)
    assert env.reset(seed=0)[0][:, 0].tolist() == [3.0, 3.0]
    for build, message in [
        (lambda: counters(0), "num_envs must be >= 1, got 0"),
        (lambda: counters(start=-1), "start must be >= 0, got -1"),
        (lambda: counters().reset(seed=-1), "seed must be from 0 to"),
        (lambda: counters().reset(seed=1, options={"reset_mask": [True]}), "reset_mask cannot be combined with seed"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.slow
def test_a_compiled_step_equals_an_eager_one() -> None:
    eager, compiled, script = (
        *(counters(6, max_episode_steps=5, compile=how) for how in (False, True)),
        random_script(40, 6),
    )
    for env in (eager, compiled):
        env.reset(seed=1)
    assert same(run(eager, script), run(compiled, script))


@pytest.mark.long
def test_a_process_may_compile_many_games() -> None:
    """More than Dynamo's limit for one function: eight, which is two here, for each takes seconds to compile."""
    with torch._dynamo.config.patch(recompile_limit=2), warnings.catch_warnings():
        warnings.filterwarnings("error", message="compile: ")  # no falling back
        for rows in range(1, 4):
            env = counters(rows, compile=True)
            env.reset(seed=1)
            assert env.move(torch.zeros(rows, dtype=torch.int64)).reward.shape == (rows,)


@pytest.mark.slow
def test_without_a_compiler_steps_run_uncompiled() -> None:
    torch.compiler.reset()
    eager, compiled, script = counters(5), counters(5, compile=True), random_script(4, 5)
    for env in (eager, compiled):
        env.reset(seed=1)
    settings = {"cpp.cxx": (None, "/nowhere/c++"), "force_disable_caches": True}
    with (
        torch._inductor.config.patch(settings),
        pytest.warns(UserWarning, match=r"compile: steps run uncompiled.*No working C\+\+ compiler") as said,
    ):
        ours = run(compiled, script)
    assert len([warning for warning in said if "compile:" in str(warning.message)]) == 1
    assert same(run(eager, script), ours)


def test_gymnasium_makes_it() -> None:
    env = gym.make_vec("gymnast/CartPole-v1", num_envs=64, device="cpu")
    assert isinstance(env.unwrapped, NativeVectorEnv)
    assert (env.num_envs, env.limit) == (64, 500)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (64, 4)
    for _ in range(3):
        obs, reward, *_ = env.step(env.action_space.sample())
    assert (obs.shape, reward.tolist()) == ((64, 4), [1.0] * 64)
    assert gym.make_vec("gymnast/CartPole-v1", num_envs=2, max_episode_steps=7).limit == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"lenght": 2}}, "unexpected keyword argument 'lenght'"),
        ({"vectorization": "async"}, "vectorization of gymnast/CartPole-v1 must be auto or native, got async"),
        ({"native": False}, "gymnast/CartPole-v1 has only a device-native version"),
        ({"num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be >= 1, got 0"),
    ],
)
def test_make_refuses_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make("gymnast/CartPole-v1", **{"num_envs": 2, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("env", [counters(5, max_episode_steps=6), counters(1, masked=True, max_episode_steps=6)])
def test_the_counter_conforms(env: NativeVectorEnv) -> None:
    check_vector_env(env)


@pytest.mark.parametrize("id", sorted(NATIVE))
def test_every_id_conforms(id: str) -> None:
    check_vector_env(gym.make_vec(id, num_envs=5, vectorization_mode="vector_entry_point"))
    check_env(make(id, 3, native=True), steps=40)


def test_device_native_versions_are_registered() -> None:
    assert set(NATIVE_OF.values()) <= set(NATIVE)
    for id, own in NATIVE_OF.items():
        assert make(own, 1).single_action_space == gym.make(id).action_space


@pytest.mark.parametrize("seed", [np.int64(7), np.uint32(7), np.int8(7), True, np.uint64(2**63 - 1)])
def test_numpy_integers_are_seeds(seed: Any) -> None:
    one, other = counters(3), counters(3)
    one.reset(seed=seed)
    other.reset(seed=int(seed))
    assert torch.equal(one.world.key, other.world.key)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (1.5, "seed must be an integer, got 1.5"),
        ("7", "seed must be an integer, got '7'"),
        (np.int64(-1), "seed must be from 0 to 2**63 - 1, got -1"),
        (np.uint64(2**63), f"seed must be from 0 to 2**63 - 1, got {2**63}"),
    ],
)
def test_other_seeds_are_refused(seed: Any, message: str) -> None:
    with pytest.raises(ValueError, match="seed must be") as error:
        counters(2).reset(seed=seed)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True], "reset_mask must be bool [3], got bool [1]"),
        (np.array(True), "reset_mask must be bool [3], got bool []"),
        (np.ones((3, 1), np.bool_), "reset_mask must be bool [3], got bool [3, 1]"),
        (torch.ones(4, dtype=torch.bool), "reset_mask must be bool [3], got bool [4]"),
        (np.ones(3, np.int64), "reset_mask must be bool [3], got int64 [3]"),
    ],
)
def test_a_reset_mask_of_another_form_is_refused_and_resets_nothing(mask: Any, message: str) -> None:
    env = counters(3)
    env.reset(seed=0)
    before = env.world.key
    with pytest.raises(ValueError, match="reset_mask must be") as error:
        env.reset(options={"reset_mask": mask})
    assert str(error.value) == message
    assert torch.equal(env.world.key, before)


@pytest.mark.parametrize("id", NATIVE)
def test_actions_outside_their_space_are_refused_where_that_is_asked_for(id: str) -> None:
    env = gym.make_vec(id, 2, check_actions=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    space = env.single_action_space
    wrong: list[Any] = [np.full(space.shape, value) for value in (-1000, 1000)]
    for value in wrong:
        with pytest.raises(EnvError, match="which is outside") as error:
            env.step(np.stack([space.sample(), value]))
        assert id in str(error.value)
        assert "row 1" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(EnvError, match="takes actions of shape"):
        env.step(np.zeros((2, 5)))
    if isinstance(space, gym.spaces.Discrete):
        for value in (space.start - 1, space.start + space.n):
            with pytest.raises(EnvError, match="which is outside"):
                env.step(np.array([space.start, value]))
    else:
        with pytest.raises(EnvError, match="which is outside"):
            env.step(np.full((2, *space.shape), np.nan))


def test_actions_are_checked_by_make_too() -> None:
    env = make("gymnast/Catch-v0", 2, native=True, check_actions=True)
    env.reset()
    env.step(torch.tensor([0, 2]))
    with pytest.raises(EnvError, match=r"gymnast/Catch-v0 got the action 3 in row 1, which is outside Discrete\(3\)"):
        env.step(torch.tensor([0, 3]))


@pytest.mark.parametrize("limit", [10**9, 2**31, 2**63 - 1, 2**63, 10**20])
@pytest.mark.parametrize("id", ["gymnast/CartPole-v1", "CartPole-v1", "gymnast/FrozenLake-v1", "Taxi-v4"])
@pytest.mark.parametrize("rows", [1, 16])
def test_time_limits_may_be_as_long_as_one_likes(id: str, limit: int, rows: int) -> None:
    env = make(id, rows, max_episode_steps=limit)
    env.reset()
    for _ in range(3):
        step = env.step(torch.zeros(rows, dtype=torch.int64))
        assert not step.truncated.any()
    env.close()
