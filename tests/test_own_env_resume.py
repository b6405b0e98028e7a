"""A run resumes in the environment that it was trained in, with what outlives episodes, or says so (rows 40, 48)."""

import json
import random
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import (
    FrameStackObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    StickyAction,
    TimeAwareObservation,
)

from gymnast import envs
from gymnast.cli.main import main
from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows import lasting
from gymnast.envs.rows import row as row_module
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, metrics_log
from gymnast.training.train import RunResult, resume, train
from tests.test_resume import config, last_state, same
from tests.walks import Curriculum, Walk

SMALL = {"hidden_sizes": (8,), "batch_size": 8, "replay_size": 200, "learning_starts": 40}


class OwnGenerators(Walk):
    """Generators that no reset seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.own = [np.random.default_rng(1), np.random.RandomState(2), random.Random(3)]

    def noise(self) -> float:
        return float(self.own[0].normal() + self.own[1].normal() + self.own[2].random())


class Tracker:
    """An object that a user keeps things in."""

    def __init__(self) -> None:
        self.best, self.seen = 0.0, {"steps": np.zeros(3), "names": ["a"], "pairs": {(1, 2): 3}}


class Tracked(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.tracker = Tracker()

    def noise(self) -> float:
        self.tracker.seen["steps"] += 1
        self.tracker.best = max(self.tracker.best, float(self.place.sum()))
        return float(self.np_random.normal() + self.tracker.best / 10 + self.tracker.seen["steps"][0] / 1000)


class Unseeded(Walk):
    """A generator that everybody shares, or one that is made anew: no seed and no attribute brings it back."""

    def noise(self) -> float:
        return float(np.random.default_rng().normal())


class Global(Walk):
    def noise(self) -> float:
        return float(np.random.normal())  # noqa: NPY002 - what is tested


class Endless(Walk):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, *_ = super().step(action)
        return obs, reward, False, False, {}


BUILDERS = {
    "plain": Walk,
    "curriculum": Curriculum,
    "generators": OwnGenerators,
    "object": Tracked,
    "rewards": lambda: NormalizeReward(Walk()),
    "observations": lambda: NormalizeObservation(Curriculum()),
    "statistics": lambda: RecordEpisodeStatistics(Walk()),
    "known, rewards": lambda: NormalizeReward(gym.make("CartPole-v1")),
    "known, both": lambda: NormalizeObservation(NormalizeReward(gym.make("Pendulum-v1", max_episode_steps=31))),
    "known, stack": lambda: TimeAwareObservation(FrameStackObservation(gym.make("CartPole-v1"), 3)),
    "known, sticky": lambda: StickyAction(gym.make("CartPole-v1"), 0.3),
}


def options(tmp_path: Path, **changes: Any) -> TrainOptions:
    settings = {"eval_every": 0, "eval_episodes": 2, "log_every": 50, "video": False, "max_episode_steps": 60}
    return TrainOptions(env="CartPole-v1", out=str(tmp_path), name="run", **{**settings, **changes})


def run(tmp_path: Path, env: Any, *, agent: str = "ppo", **changes: Any) -> RunResult:
    small = SMALL if agent == "dqn" else {"rollout_steps": 16, "minibatches": 2, "hidden_sizes": (8,)}
    return train(agent, options(tmp_path, **changes), config(agent, small), env=env)


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["serial", "async"])
@pytest.mark.parametrize("name", BUILDERS)
def test_resumed_equals_uninterrupted(
    tmp_path: Path,
    name: str,
    vectorization: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if vectorization == "async" and name != "curriculum":
        pytest.skip("processes are slow to start; the code is the same")
    if vectorization == "serial":  # several seeded resets
        monkeypatch.setattr(row_module, "RESEED_AFTER", 60)
    build = BUILDERS[name]
    settings = {"vectorization": vectorization, "num_envs": 2}
    whole = run(tmp_path / "a", build, steps=800, **settings)
    half = run(tmp_path / "b", build, steps=400, **settings)
    capsys.readouterr()
    rest = resume(half.path, steps=800, env=build)
    assert "new episodes" not in capsys.readouterr().err
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    if "statistics" not in name:  # which keep times
        same(last_state(whole.path), last_state(rest.path))


@pytest.mark.parametrize("build", [Unseeded, Global])
def test_what_cannot_be_restored_is_said_first_and_resumed_all_the_same(
    tmp_path: Path, build: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    half = run(tmp_path, build, steps=400)
    said = capsys.readouterr().err.splitlines()
    assert f"{build.__name__} cannot be restored exactly: if this run is resumed, it starts new episodes" in said[1]
    for steps in (807, 1205):
        rest = resume(half.path, steps=steps, env=build)
        assert (rest.exit_code, rest.env_step) == (0, steps)
        assert "cannot be restored: the same seed and actions led to a different" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"exact_resume: .*--no-exact-resume") as caught:
        resume(half.path, steps=1600, env=build, exact_resume=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=f"exact_resume: {build.__name__} cannot be restored exactly"):
        run(tmp_path / "exact", build, steps=400, exact_resume=True)
    assert not (tmp_path / "exact").exists()


def test_statistics_survive_where_the_episodes_do_not(tmp_path: Path) -> None:
    made: list[Any] = []

    def build() -> Any:
        made.append(NormalizeObservation(Unseeded()))
        return made[-1]

    half = run(tmp_path, build, steps=400)
    count = made[0].obs_rms.count
    assert count > 400
    made.clear()
    resume(half.path, steps=600, env=build)
    assert max(env.obs_rms.count for env in made) > count + 190


def test_a_run_from_python_code_demands_its_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = run(tmp_path, Walk, steps=100)
    kept = json.loads((half.path / "config.json").read_text())
    assert kept["own_env"] == {"kind": "function", "name": "Walk"}
    assert main(["resume", str(half.path), "--steps", "200"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "was trained in an environment from Python code, the function Walk: resume it from Python" in said
    before = (half.path / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"observations Box\(.*\), but the run was trained with Box\(-100"):
        resume(half.path, steps=200, env=lambda: gym.make("CartPole-v1"))
    assert (half.path / "metrics.jsonl").read_bytes() == before
    del kept["own_env"]  # as earlier builds left it
    (half.path / "config.json").write_text(json.dumps(kept))
    with pytest.raises(UsageError, match=r"from Python code, the function .*Walk"):
        resume(half.path, steps=200)
    assert resume(half.path, steps=200, env=Walk).env_step == 200


def test_statistics_that_processes_keep_are_said_to_be_lost_at_the_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build() -> Any:
        return NormalizeReward(NormalizeObservation(gym.make("CartPole-v1")))

    lost = ", and the statistics of NormalizeObservation and NormalizeReward in its processes restart"
    ran = run(tmp_path / "a", gym.vector.AsyncVectorEnv([build] * 2), steps=32, max_episode_steps=None)
    assert ran.exit_code == 0
    assert lost in capsys.readouterr().err.splitlines()[1]
    plain = gym.vector.AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)
    run(tmp_path / "b", plain, steps=32, max_episode_steps=None)
    assert "and the statistics of" not in capsys.readouterr().err


def test_a_vector_environment_is_demanded_too(tmp_path: Path) -> None:
    def make() -> Any:
        return gym.wrappers.vector.NormalizeObservation(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"))

    env = make()
    half = run(tmp_path, env, steps=100, num_envs=2, max_episode_steps=None)
    count = env.obs_rms.count
    with pytest.raises(UsageError, match=r"Python code, the VectorEnv CartPole-v1"):
        resume(half.path, steps=200)
    other = make()
    rest = resume(half.path, steps=200, env=other)
    assert rest.env_step >= 200
    assert other.obs_rms.count > count + 90


def test_a_run_from_an_id_takes_no_other_environment(tmp_path: Path) -> None:
    half = run(tmp_path, "Acrobot-v1", steps=100)
    assert json.loads((half.path / "config.json").read_text())["run"]["env"] == "Acrobot-v1"
    with pytest.raises(UsageError, match="was trained in Acrobot-v1: env= cannot replace it"):
        resume(half.path, steps=200, env=Walk)
    assert resume(half.path, steps=200).env_step == 200


@pytest.mark.parametrize(
    "space",
    [pytest.param(spaces.Discrete(2), marks=pytest.mark.long), spaces.Box(-1, 1, (3,), np.float32)],
    ids=["ints", "floats"],
)
def test_endless_episodes_keep_a_flat_memory(
    tmp_path: Path, space: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(row_module, "REPLAY_LIMIT", 300)

    def build() -> Endless:
        return Endless(space)

    env = envs.make(build, 2)
    env.reset()
    action = torch.from_numpy(np.stack([space.sample(), space.sample()]))
    sizes: list[int] = []

    def play() -> None:
        for _ in range(10):
            for _ in range(100):
                env.step(action)
            torch.save(env.snapshot(), tmp_path / "snapshot")
            sizes.append((tmp_path / "snapshot").stat().st_size)

    with pytest.warns(EnvWarning, match="build: an episode exceeds the 300 actions"):
        play()
    assert len(set(sizes[3:])) == 1
    assert sizes[-1] < sizes[0] + 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvWarning)
        run_ = run(tmp_path, build, steps=900, max_episode_steps=20_000, num_envs=2, eval_episodes=1)
        capsys.readouterr()
        rest = resume(run_.path, steps=1800, env=build)
    assert (rest.exit_code, rest.env_step) == (0, 1800)
    assert "the episodes of row 0, 1 are too long to be replayed: resuming with new episodes" in capsys.readouterr().err
    with pytest.raises(UsageError, match="exact_resume: build: the episodes of row 0, 1 are too long"):
        resume(run_.path, steps=2000, env=build, exact_resume=True)


def test_only_rows_with_long_episodes_begin_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "REPLAY_LIMIT", 50)
    monkeypatch.setattr(row_module, "RESEED_AFTER", 20)
    made: list[int] = []

    def build() -> gym.Env[Any, Any]:
        made.append(1)
        return Endless() if len(made) % 2 else Walk()

    env = envs.make(build, 2, seed=1)
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvWarning)
        for _ in range(150):
            env.step(torch.tensor([1, 0]))
    snapshot, obs = env.snapshot(), env.obs
    other = envs.make(build, 2, seed=1)
    other.restore(snapshot)
    assert other.fresh_rows == (0,)
    assert other.start.tolist()[0] is True
    assert torch.equal(other.obs[1], obs[1])
    assert not torch.equal(other.obs[0], obs[0])
    assert other.episode[0] == snapshot["begun"]
    assert torch.equal(env.step(torch.tensor([1, 0])).next_obs[1], other.step(torch.tensor([1, 0])).next_obs[1])


def test_actions_are_kept_in_as_many_bytes_as_they_have() -> None:
    env = envs.make(Endless)
    env.reset()
    for _ in range(1000):
        env.step(torch.tensor([1]))
    actions = env.snapshot()["rows"][0]["actions"]
    assert (actions.dtype, actions.shape) == (torch.uint8, (1000,))


def test_a_run_whose_environment_failed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail = True

    class Fails(Curriculum):
        def step(self, action: Any) -> Any:
            if fail and self.episodes == 9:
                raise OSError("the simulator is gone")
            return super().step(action)

    first = run(tmp_path, Fails, steps=800, eval_episodes=1)
    assert first.exit_code == 1
    assert 0 < first.env_step < 800
    assert "Fails: step raised OSError: the simulator is gone (step 1 of episode 9)" in capsys.readouterr().err
    fail = False
    rest = resume(first.path, env=Fails)
    assert (rest.exit_code, rest.env_step) == (0, 800)
    said = capsys.readouterr().err
    assert "Fails cannot be restored exactly (its state is not in the checkpoint): resuming with new episodes" in said
    steps = [row["env_step"] for row in metrics_log.read(first.path / "metrics.jsonl") if row["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert checkpoint.read(first.path / "checkpoints" / "last.pt")[0].env_step == 800


class Nameless(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise AttributeError("__module__")


class Foreign(metaclass=Nameless):
    """As SWIG makes types, Box2D's among them: they do not say where they come from."""


def test_objects_of_types_without_a_module_are_searched_too() -> None:
    env = Walk()
    env.body = Foreign()  # type: ignore[attr-defined]
    env.laps = 3  # type: ignore[attr-defined]
    (kept,) = lasting.take(env)
    assert kept["laps"] == lasting.take(env)[0]["laps"]
    assert "body" in kept
