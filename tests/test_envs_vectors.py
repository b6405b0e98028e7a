"""Vector environments as people bring them: EnvPool's form, lists of infos, masks, ale-py's own, wrong values."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList

from gymnast import TrainOptions, train
from gymnast.envs import EnvError, EnvWarning, make
from gymnast.errors import UsageError

MODES = list(AutoresetMode)


class Countdown(gym.Env[Any, Any]):
    """Episodes of `length` steps, reward 1; observations [step, episode]; at step t the action t % 3 is not allowed."""

    observation_space: gym.Space[Any] = spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space: gym.Space[Any] = spaces.Discrete(3)

    def __init__(self, length: int = 3) -> None:
        self.length, self.time, self.number = length, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.number = 0
        self.time, self.number = 0, self.number + 1
        return self._seen(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._seen(), 1.0, self.time >= self.length, False, self._info()

    def _seen(self) -> Any:
        return np.array([self.time, self.number], np.float32)

    def mask(self) -> Any:
        """None is allowed at the end of an episode."""
        return (np.arange(3) != self.time % 3) & (self.time < self.length)

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.mask(), "lives": 5 - self.time}


class Method(Countdown):
    def action_masks(self) -> Any:
        return self.mask()

    def _info(self) -> dict[str, Any]:
        return {}


class Part(Countdown):
    observation_space = spaces.Dict({"seen": Countdown.observation_space, "action_mask": spaces.MultiBinary(3)})

    def _seen(self) -> Any:
        return {"seen": super()._seen(), "action_mask": self.mask().astype(np.int8)}

    def _info(self) -> dict[str, Any]:
        return {}


class Parts(Countdown):
    """A mask for each part of its actions."""

    action_space = spaces.MultiDiscrete([3, 2])

    def _info(self) -> dict[str, Any]:
        alive = self.time < self.length
        return {"action_mask": (self.mask(), np.array([alive, self.time % 2 == 1]))}


def vector(kind: type[Countdown], mode: AutoresetMode, lengths: tuple[int, ...] = (2, 3)) -> SyncVectorEnv:
    return SyncVectorEnv([lambda length=length: kind(length) for length in lengths], autoreset_mode=mode)


def stream(env: Any, steps: int = 7) -> list[Any]:
    """What matters of the active steps of each row, row by row: the same in every autoreset mode."""
    made = make(env)
    made.reset()
    found: list[Any] = [[] for _ in range(made.num_envs)]
    for _ in range(steps):
        before = made.action_mask
        step = made.step(torch.zeros(made.num_envs, *made.single_action_space.shape, dtype=torch.int64))
        for row in range(made.num_envs):
            if step.active is not None and not step.active[row]:
                continue
            next_obs = step.next_obs["seen"] if isinstance(step.next_obs, dict) else step.next_obs
            mask = None if before is None else before[row].tolist()
            following = None if step.next_action_mask is None else step.next_action_mask[row].tolist()
            lives = None if step.lives is None else int(step.lives[row])
            seen = (next_obs[row, 0].item(), bool(step.terminated[row]), mask, following, lives)
            found[row].append(seen)
    made.close()
    return [row[:4] for row in found]


def expected(length: int, *, lives: bool = True) -> list[Any]:
    """The first four steps of a row of `Countdown`; no action follows its last one, and its mask allows all."""
    rows: list[Any] = []
    for step in range(4):
        time = step % length
        ends = time + 1 == length
        mask = [action != time % 3 for action in range(3)]
        following = [True] * 3 if ends else [action != (time + 1) % 3 for action in range(3)]
        rows.append((time + 1.0, ends, mask, following, 4 - time if lives else None))
    return rows


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_list", [False, True])
def test_masks_lives_and_final_observations_in_infos(mode: AutoresetMode, as_list: bool) -> None:
    env: Any = vector(Countdown, mode)
    found = stream(DictInfoToList(env) if as_list else env)
    assert found == [expected(2), expected(3)]


@pytest.mark.parametrize("mode", MODES)
def test_masks_in_a_part_of_the_observation(mode: AutoresetMode) -> None:
    assert stream(vector(Part, mode)) == [expected(length, lives=False) for length in (2, 3)]


@pytest.mark.parametrize("mode", MODES)
def test_masks_of_a_method(mode: AutoresetMode) -> None:
    assert stream(vector(Method, mode)) == [expected(length, lives=False) for length in (2, 3)]


@pytest.mark.parametrize("mode", MODES)
def test_masks_of_a_method_in_processes(mode: AutoresetMode) -> None:
    functions = [lambda length=length: Method(length) for length in (2, 3)]
    found = stream(AsyncVectorEnv(functions, autoreset_mode=mode))
    assert found == [expected(length, lives=False) for length in (2, 3)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_list", [False, True])
def test_a_mask_for_each_part_of_an_action(mode: AutoresetMode, as_list: bool) -> None:
    env: Any = vector(Parts, mode)
    made = make(DictInfoToList(env) if as_list else env)
    made.reset()
    assert made.action_mask is not None
    assert made.action_mask.tolist() == [[False, True, True, True, False]] * 2
    step = made.step(torch.zeros(2, 2, dtype=torch.int64))
    assert step.next_action_mask is not None
    assert step.next_action_mask.tolist() == [[True, False, True, True, True]] * 2


class Faulty(Countdown):
    """Its infos go wrong at step 2 of 5."""

    def __init__(self, infos: dict[str, Any]) -> None:
        super().__init__(5)
        self.infos = infos

    def _info(self) -> dict[str, Any]:
        return super()._info() if self.time != 2 else self.infos


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ({"lives": 1}, "gave no 'action_mask' in its infos for row 1, which it gave at its first reset (step 2)"),
        ({"action_mask": np.ones(3, bool)}, "gave no 'lives' in its infos for row 1"),
        ({"action_mask": np.zeros(3, bool), "lives": 1}, "allows no action in row 1, in the middle of an episode"),
    ],
)
def test_infos_that_go_wrong_are_one_line(
    mode: AutoresetMode, as_list: bool, infos: dict[str, Any], message: str
) -> None:
    env: Any = SyncVectorEnv([lambda: Countdown(5), lambda: Faulty(infos)], autoreset_mode=mode)
    made = make(DictInfoToList(env) if as_list else env)
    made.reset()
    made.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(EnvError) as error:
        made.step(torch.zeros(2, dtype=torch.int64))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Pool(gym.vector.VectorEnv[Any, Any, Any]):
    """Of EnvPool's form: NEXT_STEP, a `spec` without an id, spaces of one row, seeds given when it is made.

    Rows have episodes of 2, 3, 4 … steps; an observation is [step, a number drawn at the reset].
    """

    metadata = {"render_modes": ["rgb_array", "human"], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012
    single_observation_space = observation_space = spaces.Box(-10.0, 10.0, (2,), np.float64)
    single_action_space = action_space = spaces.Discrete(2)
    render_mode = None

    def __init__(self, num_envs: int, seed: int = 0, *, answering: int | None = None, warns: bool = True) -> None:
        self.spec = SimpleNamespace(config=SimpleNamespace(num_envs=num_envs), gymnasium_observation_space=None)  # type: ignore[assignment]
        self.num_envs, self.warns = num_envs, warns
        self.answering = answering or num_envs
        self.rng = np.random.default_rng(seed)
        self.time, self.done = np.zeros(num_envs, np.int64), np.zeros(num_envs, bool)
        self.luck = self.rng.random(num_envs)

    def reset(self, env_id: Any = None, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None and self.warns:
            warnings.warn(
                "EnvPool seeds are fixed when the environment is created. reset(seed=...) is ignored", stacklevel=2
            )
        self._begin(np.ones(self.num_envs, bool))
        self.done[:] = False
        return self._seen(), self._info()

    def _begin(self, rows: Any) -> None:
        self.time[rows] = 0
        self.luck = np.where(rows, self.rng.random(self.num_envs), self.luck)

    def _seen(self) -> Any:
        return np.stack([self.time, self.luck], 1)[: self.answering]

    def _info(self) -> dict[str, Any]:
        ids = np.arange(self.answering, dtype=np.int32)
        return {"env_id": ids, "players": {"env_id": ids}, "elapsed_step": self.time[: self.answering].astype(np.int32)}

    def step(self, actions: Any, env_id: Any = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        reset = self.done.copy()
        self.time += 1
        self._begin(reset)
        self.done = (self.time >= np.arange(2, self.num_envs + 2)) & ~reset
        reward = np.where(reset, 0.0, 1.0).astype(np.float32)[: self.answering]
        done = self.done[: self.answering]
        return self._seen(), reward, done, np.zeros_like(done), self._info()


@pytest.mark.parametrize("warns", [True, False])
def test_envpool_runs_and_its_ignored_seeds_are_said_once(warns: bool) -> None:
    env = make(Pool(3, warns=warns))
    assert (env.id, env.num_envs) == ("Pool", 3)
    with pytest.warns(EnvWarning, match="Pool ignores the seed of a reset") as said:
        env.reset()
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset()
        lengths: list[int] = []
        for _ in range(20):
            step = env.step(torch.zeros(3, dtype=torch.int64))
            if step.episode_length is not None and step.episode_return is not None:
                lengths += step.episode_length[step.ended].tolist()
                assert torch.equal(step.episode_return[step.ended].long(), step.episode_length[step.ended])
        env.close()
    assert set(lengths) == {2, 3, 4}


def test_an_environment_that_answers_for_some_rows_only_is_refused() -> None:
    """EnvPool's and ale-py's `batch_size`."""
    env = make(Pool(4, answering=2))
    with pytest.raises(EnvError, match=r"Pool gave observations of 2 rows, but it has 4 \(reset\)"):
        env.reset()


class Rewards(SyncVectorEnv):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__([Countdown] * 3)
        self.shape = shape

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, _, terminated, truncated, infos = super().step(actions)
        return observations, np.ones(self.shape), terminated, truncated, infos


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3)])
def test_one_reward_a_row_is_taken_in_any_shape(shape: tuple[int, ...]) -> None:
    env = make(Rewards(shape))
    env.reset()
    assert env.step(torch.zeros(3, dtype=torch.int64)).reward.tolist() == [1.0] * 3


@pytest.mark.parametrize("shape", [(3, 2), (3, 3), (2,), ()])
def test_a_vector_of_rewards_is_refused_in_one_line(shape: tuple[int, ...]) -> None:
    env = make(Rewards(shape))
    env.reset()
    with pytest.raises(EnvError) as error:
        env.step(torch.zeros(3, dtype=torch.int64))
    assert f"gave rewards of shape {shape} for 3 rows: each row needs one number (step 1)" in str(error.value)


def emulators(num_envs: int = 2, **options: Any) -> Any:
    from ale_py.vector_env import AtariVectorEnv

    return AtariVectorEnv("breakout", num_envs, img_height=36, img_width=36, noop_max=1, **options)


@pytest.mark.parametrize("seed", range(20))
def test_ale_pys_own_environment_takes_every_default_seed(seed: int) -> None:
    env = make(emulators(), seed=seed)
    env.reset()
    env.reset()
    env.close()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_ale_pys_own_environment_plays_whole_games(mode: AutoresetMode) -> None:
    env = make(emulators(autoreset_mode=mode))
    env.reset()
    ended, left = 0, []
    for _ in range(900):
        step = env.step(torch.ones(2, dtype=torch.int64))
        if step.num_ended:
            assert step.lives is not None
            ended, left = ended + int(step.ended.sum()), left + step.lives[step.ended].tolist()
    env.close()
    assert ended > 2
    assert mode is AutoresetMode.SAME_STEP or set(left) == {0}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_ale_pys_life_loss_info_is_refused(mode: AutoresetMode) -> None:
    env = make(emulators(autoreset_mode=mode, life_loss_info=True))
    env.reset()

    def play() -> None:
        for _ in range(900):
            env.step(torch.ones(2, dtype=torch.int64))

    with pytest.raises(EnvError, match="continued a game whose episode had ended") as error:
        play()
    assert "life_loss_info" in str(error.value)
    env.close()


def options_of(tmp_path: Path, **given: Any) -> TrainOptions:
    return TrainOptions(
        "CartPole-v1", steps=200, out=str(tmp_path), name="run", eval_episodes=1, video=False, log_every=50, **given
    )


@pytest.mark.parametrize("agent", ["ppo", "dqn", "reinforce", "es"])
@pytest.mark.parametrize("given", [{}, {"num_envs": 4}])
def test_a_vector_environment_decides_the_number_of_rows(agent: str, given: dict[str, int], tmp_path: Path) -> None:
    result = train(agent, options_of(tmp_path, **given), env=gym.make_vec("CartPole-v1", 4, vectorization_mode="sync"))
    assert result.exit_code == 0
    assert result.env_step == 200
    assert json.loads((result.path / "config.json").read_text())["run"]["num_envs"] == 4


@pytest.mark.parametrize("asked", [1, 2, 8])
def test_another_number_of_rows_is_one_line(asked: int, tmp_path: Path) -> None:
    env = gym.make_vec("CartPole-v1", 4, vectorization_mode="sync")
    with pytest.raises(UsageError) as error:
        train("ppo", options_of(tmp_path, num_envs=asked), env=env)
    assert str(error.value) == f"num_envs {asked} contradicts the VectorEnv, which has 4 rows; leave num_envs out"
    assert not list(tmp_path.iterdir())


def test_envpool_trains_and_the_run_says_that_seeds_are_ignored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class CartPole(Pool):
        single_observation_space = observation_space = gym.make("CartPole-v1").observation_space

        def _seen(self) -> Any:
            return np.zeros((self.num_envs, 4), np.float32) + self.luck[:, None]

    result = train("ppo", options_of(tmp_path), env=CartPole(3))
    assert result.exit_code == 0
    assert capfd.readouterr().err.count("CartPole ignores the seed of a reset") == 1


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("own", "with a VectorEnv, evaluations use the env named in the options, 'own': unknown environment"),
        ("Pendulum-v1", "'Pendulum-v1', whose observations are Box"),
        ("Acrobot-v1", "'Acrobot-v1', whose observations are Box"),
    ],
)
def test_evaluations_of_another_kind_are_refused_before_the_run(id: str, message: str, tmp_path: Path) -> None:
    options = TrainOptions(id, out=str(tmp_path))
    with pytest.raises(UsageError, match=message):
        train("ppo", options, env=gym.make_vec("CartPole-v1", 4, vectorization_mode="sync"))
    assert not list(tmp_path.iterdir())
