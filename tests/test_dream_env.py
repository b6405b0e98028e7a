"""Dreams as environments: their steps against a naive loop, their seeds, limits, snapshots and refusals."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast import envs
from gymnast.agents.base import Imagined, WorldModel
from gymnast.envs.dreams.adapter import DreamEnv
from gymnast.envs.dreams.model import IntoSpace
from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.evaluation.environment import in_dream
from gymnast.evaluation.play import evaluate
from tests.conformance import check_env, check_vector_env
from tests.dream_worlds import Catcher, ExactConfig, Physics

CPU = torch.device("cpu")


def physics(**settings: Any) -> Physics:
    return Physics(Physics.game.observation_space, Physics.game.action_space, ExactConfig(**settings))


def dream(rows: int = 3, *, limit: int | None = 500, temperature: float = 1.0, seed: int = 0, **settings: Any) -> Any:
    model = physics(**settings)
    return DreamVectorEnv(model, rows, seed=seed, temperature=temperature, max_episode_steps=limit, model_digest=7)


def actions(rows: int, steps: int = 60, seed: int = 0) -> Tensor:
    return torch.randint(2, (steps, rows), generator=torch.Generator().manual_seed(seed))


def adapted(env: DreamVectorEnv, seed: int = 0) -> Env:
    return envs.make(env, env.num_envs, seed=seed)


def test_the_fakes_are_world_models() -> None:
    assert isinstance(physics(), WorldModel)
    assert not isinstance(Physics.game, WorldModel)


def test_conformance() -> None:
    check_env(adapted(dream(limit=12)))
    check_env(adapted(dream(1, limit=None)))
    check_vector_env(dream(limit=12))


def test_steps_are_those_of_a_naive_loop() -> None:
    """Row by row, in Python: the same draws in the same order, limits, returns and numbers of episodes."""
    rows, limit = 3, 15
    env, model, generator = dream(rows, limit=limit, noise=0.01), physics(noise=0.01), torch.Generator().manual_seed(5)
    obs, _ = env.reset(seed=5)
    state, first = model.dream_start(rows, generator)
    assert torch.equal(obs, first)
    length, total, number, begun = [0] * rows, [0.0] * rows, list(range(rows)), rows
    ended_rows = set()
    for action in actions(rows):
        moved = env.move(action)
        after = model.dream_step(state, action, generator)
        state, shown = after.state.clone(), after.obs.clone()
        fresh = []
        for row in range(rows):
            length[row] += 1
            total[row] += float(after.reward[row])
            assert (int(moved.length[row]), float(moved.total[row])) == (length[row], total[row])
            assert bool(moved.truncated[row]) == (length[row] == limit)
            if after.terminated[row] or length[row] == limit:
                fresh.append(row)
        assert torch.equal(moved.next_obs, after.obs)
        if fresh:
            new_state, new_obs = model.dream_start(len(fresh), generator)
            for place, row in enumerate(fresh):
                state[row], shown[row] = new_state[place], new_obs[place]
                length[row], total[row], number[row] = 0, 0.0, begun
                begun += 1
        ended_rows |= set(fresh)
        assert torch.equal(moved.obs, shown)
        assert env.now.episode.tolist() == number
    assert ended_rows == {0, 1, 2}
    assert begun > 10


def test_a_gpu_imagines_new_episodes_in_all_rows_and_takes_those_that_ended() -> None:
    """The form without waiting for the host, run here on the CPU."""
    env = dream(4, limit=3)
    env._on_host = False
    env.reset(seed=1)
    for step, action in enumerate(actions(4, 9)):
        moved = env.move(action)
        at_end = (step + 1) % 3 == 0
        assert bool(moved.truncated.all()) == at_end
        assert bool((moved.obs.abs() < 0.05).all()) or not at_end
        assert torch.equal(moved.obs, moved.next_obs) != at_end
    assert env.now.episode.tolist() == [12, 13, 14, 15]


def test_seeds_decide_everything() -> None:
    def played(env: Any, **reset: Any) -> Tensor:
        env.reset(**reset)
        return torch.stack([env.move(action).obs for action in actions(3)])

    assert torch.equal(played(dream(noise=0.1), seed=4), played(dream(noise=0.1, seed=9), seed=4))
    assert torch.equal(played(dream(noise=0.1, seed=9)), played(dream(noise=0.1, seed=9)))
    assert not torch.equal(played(dream(noise=0.1), seed=4), played(dream(noise=0.1), seed=5))
    before = torch.get_rng_state()
    played(dream(noise=0.1))
    assert torch.equal(torch.get_rng_state(), before)


def test_temperature_scales_the_randomness() -> None:
    found = []
    for temperature in (0.0, 0.5, 1.0):
        env = dream(temperature=temperature, noise=0.01)
        state = env.now.state
        exact = physics().dream_step(state, actions(3)[0], torch.Generator())
        found.append(env.move(actions(3)[0]).next_obs - exact.obs)
    assert bool((found[0] == 0.0).all())
    torch.testing.assert_close(found[1] * 2.0, found[2], rtol=1e-4, atol=1e-6)
    assert bool((found[2] != 0.0).all())


def test_a_reset_mask_resets_only_its_rows() -> None:
    env = dream(noise=0.1)
    for action in actions(3, 5):
        env.move(action)
    before = env.now
    obs, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    kept = torch.tensor([0, 2])
    assert torch.equal(obs[kept], before.obs[kept])
    assert bool((obs[1].abs() < 0.05).all())
    assert env.now.length.tolist() == [5, 0, 5]
    assert env.now.episode.tolist() == [0, 3, 2]
    with pytest.raises(ValueError, match=r"reset_mask must be bool \[3\]"):
        env.reset(options={"reset_mask": np.array([1, 0, 0])})
    with pytest.raises(ValueError, match="reset_mask cannot be combined with seed"):
        env.reset(seed=1, options={"reset_mask": np.array([True, False, False])})


def test_a_snapshot_goes_on_bit_for_bit() -> None:
    one, other = dream(limit=9, noise=0.05), dream(limit=9, noise=0.05, seed=3)
    for action in actions(3, 20):
        one.move(action)
    other.restore(one.snapshot())
    for action in actions(3, 40, seed=1):
        ours, theirs = one.move(action), other.move(action)
        assert all(torch.equal(ours[place], theirs[place]) for place in range(7))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": 8}, "its world model has changed"),
        ({"generator": torch.zeros(16, dtype=torch.uint8)}, "random numbers on cpu differ"),
        ({"length": torch.zeros(2)}, "the snapshot has 2 rows, this environment 3"),
    ],
)
def test_other_snapshots_are_refused(changes: dict[str, Any], said: str) -> None:
    env = dream()
    with pytest.raises(ValueError, match=said):
        env.restore(env.snapshot() | changes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": -0.1}, "temperature must be a number >= 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be a number >= 0, got nan"),
        ({"rows": 0}, "num_envs must be >= 1, got 0"),
        ({"limit": 0}, "max_episode_steps must be >= 1, got 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"decoder": False}, "the model was trained without a decoder"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dream(**options)


class Wrong(Physics):
    """Gives observations of another type."""

    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        state, obs = super().dream_start(num, generator)
        return state, obs.double()


class Broken(Physics):
    """Gives a reward that is not a number in its second step."""

    steps = 0

    def dream_step(self, state: Tensor, action: Tensor, generator: torch.Generator, **settings: Any) -> Imagined:
        self.steps += 1
        found = super().dream_step(state, action, generator, **settings)
        found.reward = found.reward / (0.0 if self.steps > 1 else 1.0)
        return found


def test_what_a_model_gives_is_checked() -> None:
    spaces_ = Physics.game.observation_space, Physics.game.action_space
    with pytest.raises(ValueError, match=r"are float32 \[2, 4\], the model's float64 \[2, 4\]"):
        DreamVectorEnv(Wrong(*spaces_), 2)
    env = DreamVectorEnv(Broken(*spaces_), 2, id="dream:x")
    env.move(torch.tensor([0, 1]))
    with pytest.raises(EnvError, match="dream:x imagined an observation or a reward that is infinite or not a number"):
        env.move(torch.tensor([0, 1]))


def test_actions_outside_the_space_are_refused_where_they_are_checked() -> None:
    env = adapted(dream(2))
    assert isinstance(env, DreamEnv)
    env.env.check_actions = True
    with pytest.raises(EnvError, match="got the action 2 in row 1"):
        env.step(torch.tensor([0, 2]))


def test_observations_are_clipped_to_their_space() -> None:
    high = np.array([2.0, np.inf, 1.0], np.float32)
    box = IntoSpace(spaces.Box(-high, high), CPU)
    assert box(torch.tensor([[3.0, 1e9, -2.0]])).tolist() == [[2.0, 1e9, -1.0]]  # type: ignore[union-attr]
    bytes_ = IntoSpace(spaces.Box(10, 200, (2,), np.uint8), CPU)
    assert bytes_(torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[10, 200]]  # type: ignore[union-attr]
    place = IntoSpace(spaces.Discrete(3, start=4), CPU)
    assert place(torch.tensor([3, 5, 9])).tolist() == [4, 5, 6]  # type: ignore[union-attr]
    both = IntoSpace(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.MultiBinary(2)}), CPU)
    clipped = both({"a": torch.tensor([5]), "b": torch.tensor([[0, 3]], dtype=torch.int8)})
    assert isinstance(clipped, dict)
    assert (clipped["a"].tolist(), clipped["b"].tolist()) == ([1], [[0, 1]])  # type: ignore[union-attr]
    whole = torch.tensor([[0, 255]], dtype=torch.uint8)
    assert IntoSpace(spaces.Box(0, 255, (2,), np.uint8), CPU)(whole) is whole
    with pytest.raises(ValueError, match="not a dict of a, b"):
        both.check(torch.zeros(1), 1)
    both.check({"a": torch.tensor([1]), "b": torch.zeros((1, 2), dtype=torch.int8)}, 1)


def test_a_drifting_model_stays_in_its_space() -> None:
    env = dream(1, drift=1.0)
    obs = env.move(torch.tensor([0])).next_obs
    assert float(obs[0, 2]) == float(env.single_observation_space.high[2])
    assert float(obs[0, 1]) > 0.7  # a velocity has no bound


def test_evaluation_is_decided_by_its_seed() -> None:
    def returns(seed: int, env: Env) -> tuple[float, ...]:
        return evaluate(physics(), env, episodes=5, seed=seed).returns

    env = in_dream(dream(2, limit=40, noise=1.0))
    assert returns(3, env) == returns(3, env) == returns(3, in_dream(dream(2, limit=40, noise=1.0, seed=8)))
    assert returns(3, env) != returns(4, env)


def test_a_dream_without_a_limit_gets_that_of_evaluations() -> None:
    made = in_dream(dream(limit=None))
    assert isinstance(made, DreamEnv)
    assert (made.step_limit, made.env.limit) == (10_000, 10_000)
    given = adapted(dream(2, limit=None))
    assert isinstance(given, DreamEnv)
    model = Catcher(Catcher.game.observation_space, Catcher.game.action_space)
    evaluate(model, adapted(DreamVectorEnv(model, 2)), episodes=3)
    assert given.impose_limit(7)
    assert given.env.limit == 7
    assert given.impose_limit(None)
    assert given.env.limit is None
    assert not adapted(dream(2)).impose_limit(7)  # type: ignore[attr-defined]


def test_other_episodes_of_the_same_model() -> None:
    env = dream(3, limit=9, temperature=0.5)
    other = env.another(5, seed=2)
    assert other.model is env.model
    assert (other.num_envs, other.limit, other.temperature, other.model_digest) == (5, 9, 0.5, 7)


def test_settings_that_a_dream_does_not_take() -> None:
    with pytest.raises(ValueError, match="cannot be set for a VectorEnv"):
        envs.make(dream(2), 2, max_episode_steps=9)
    with pytest.raises(ValueError, match="this command plays real environments; train and evaluate play dreams"):
        envs.make("dream:runs/x")
