"""Environments that raise or give numbers that are none: a checkpoint, one line, the right exit code (row 41)."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import envs
from gymnast.cli.main import main
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, metrics_log
from gymnast.training.train import RunResult, resume, train
from tests.test_resume import config

SMALL = {
    "dqn": {"hidden_sizes": (8,), "batch_size": 8, "replay_size": 200, "learning_starts": 40},
    "ppo": {"rollout_steps": 16, "minibatches": 2, "hidden_sizes": (8,)},
    "q-learning": {},
    "hill-climbing": {},
}


class Faulty(gym.Env[Any, Any]):
    """Episodes of five steps; one of its calls raises from the nth on, or pays something else."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        *,
        call: str = "",
        at: int = 1,
        space: gym.Space[Any] | None = None,
        reward: float = 1.0,
        frame: Any = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = space or spaces.Box(-1, 10, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.render_mode = render_mode
        self.call, self.left, self.reward, self.frame = call, at, reward, frame

    def _count(self, call: str) -> None:
        if call == self.call:
            self.left -= 1
            if self.left <= 0:
                raise ZeroDivisionError(f"the {call}\nof two lines")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._count("reset")
        self.time = 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._count("step")
        self.time += 1
        return self._obs(), self.reward, self.time == 5, False, {}

    def _obs(self) -> Any:
        return self.time if isinstance(self.observation_space, spaces.Discrete) else np.full(2, self.time, np.float32)

    def render(self) -> Any:
        self._count("render")
        return np.zeros((8, 8, 3), np.uint8) if self.frame is None else self.frame

    def close(self) -> None:
        self._count("close")


def faulty(**settings: Any) -> Callable[..., Faulty]:
    def build(render_mode: str | None = None) -> Faulty:
        return Faulty(render_mode=render_mode, **settings)

    return build


def run(
    tmp_path: Path, env: Any, agent: str = "dqn", *, eval_env: str = "CartPole-v1", **changes: Any
) -> tuple[RunResult, list[dict[str, Any]]]:
    settings = {"steps": 120, "eval_every": 0, "eval_episodes": 2, "log_every": 50, "video": False, **changes}
    options = TrainOptions(env=eval_env, out=str(tmp_path), name="run", **settings)
    result = train(agent, options, config(agent, SMALL[agent]), env=env)
    return result, metrics_log.read(result.path / "metrics.jsonl")


@pytest.fixture
def registered() -> Iterator[str]:
    gym.register("gymnast_tests/Well-v0", entry_point=faulty())
    yield "gymnast_tests/Well-v0"
    del gym.registry["gymnast_tests/Well-v0"]


@pytest.mark.parametrize("vectorization", ["serial", "async"])
@pytest.mark.parametrize("agent", SMALL)
@pytest.mark.parametrize("call", ["step", "reset"])
def test_a_failing_call_ends_in_one_line_and_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], call: str, agent: str, vectorization: str
) -> None:
    if vectorization == "async" and (agent, call) not in (("dqn", "step"), ("ppo", "reset")):
        pytest.skip("one of each kind is enough: processes are slow to start")
    space = spaces.Discrete(6) if agent == "q-learning" else None
    env = faulty(call=call, at=63 if call == "step" else 13, space=space)
    result, records = run(tmp_path, env, agent, vectorization=vectorization)
    assert result.exit_code == 1
    assert result.env_step == (62 if call == "step" else 59)
    assert result.final is None
    said = [line for line in capsys.readouterr().err.splitlines() if "ZeroDivisionError" in line]
    assert len(said) == 1
    where = "step 3 of episode 13" if call == "step" else "episode 13"
    assert f"build: {call} raised ZeroDivisionError: the {call} of two lines ({where})" in said[0]
    about, state = checkpoint.read(result.path / "checkpoints" / "last.pt")
    assert about.env_step == result.env_step
    assert state["env"] is None
    assert [record["kind"] for record in records] == ["train"]


def test_the_first_reset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = run(tmp_path, faulty(call="reset"))
    assert (result.exit_code, result.env_step) == (1, 0)
    assert "build: reset raised ZeroDivisionError" in capsys.readouterr().err
    assert (result.path / "checkpoints" / "last.pt").is_file()


def test_a_vector_environment(tmp_path: Path, registered: str, capsys: pytest.CaptureFixture[str]) -> None:
    mode = gym.vector.AutoresetMode.NEXT_STEP
    for call, at in (("step", 33), ("reset", 6)):
        env = gym.vector.SyncVectorEnv([faulty(), faulty(call=call, at=at)], autoreset_mode=mode)
        result, _ = run(tmp_path / call, env, num_envs=2, eval_env=registered)
        assert result.exit_code == 1
        assert 0 < result.env_step < 120
        assert f"{call} raised ZeroDivisionError: the {call} of two lines" in capsys.readouterr().err
        assert (result.path / "checkpoints" / "last.pt").is_file()


def test_an_evaluation_that_fails_during_training_is_repeated_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Faulty] = []
    broken = True

    def build() -> Faulty:
        made.append(Faulty(call="step" if broken and made else "", at=3))
        return made[-1]

    result, records = run(tmp_path, build, eval_every=60, log_every=1000, max_episode_steps=100)
    assert (result.exit_code, result.env_step) == (1, 60)
    assert "step raised ZeroDivisionError" in capsys.readouterr().err
    assert records == []
    assert checkpoint.read(result.path / "checkpoints" / "last.pt")[1]["session"]["next"]["eval"] == 60
    broken = False
    rest = resume(result.path, env=build)
    assert (rest.exit_code, rest.env_step) == (0, 120)
    kinds = [(record["kind"], record["env_step"]) for record in metrics_log.read(result.path / "metrics.jsonl")]
    assert kinds == [("eval", 60), ("eval", 120), ("final", 120)]


def test_a_final_evaluation_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Faulty] = []

    def build() -> Faulty:
        made.append(Faulty(call="reset" if made else "", at=1))
        return made[-1]

    result, _ = run(tmp_path, build)
    assert (result.exit_code, result.env_step, result.final) == (1, 120, None)
    assert "build: reset raised ZeroDivisionError" in capsys.readouterr().err
    assert checkpoint.read(result.path / "checkpoints" / "last.pt")[0].env_step == 120


def test_an_environment_that_cannot_be_built_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Faulty] = []

    def build() -> Faulty:
        if made:
            raise OSError("the port is taken")
        made.append(Faulty())
        return made[-1]

    result, _ = run(tmp_path, build)
    assert (result.exit_code, result.env_step) == (1, 120)
    assert "environment build cannot be made: OSError: the port is taken" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{"call": "render", "at": 3}, {"frame": "no picture"}], ids=["raises", "text"])
def test_a_failing_render_costs_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    result, records = run(tmp_path, faulty(**settings), video=True)
    assert result.exit_code == 0
    assert records[-1]["kind"] == "final"
    assert "video" not in result.files
    assert "no video: build" in capsys.readouterr().err
    assert list((result.path / "videos").iterdir()) == []


@pytest.mark.parametrize("vectorization", ["serial", "vector"])
def test_a_failing_close_costs_a_warning(tmp_path: Path, registered: str, vectorization: str) -> None:
    env: Any = faulty(call="close")
    if vectorization == "vector":
        env = gym.vector.SyncVectorEnv([env])
    with pytest.warns(EnvWarning, match="close raised ZeroDivisionError: the close of two lines"):
        result, _ = run(tmp_path, env, eval_env=registered)
    assert result.exit_code == 0
    assert result.final is not None


def test_a_vector_environment_unlike_that_of_its_evaluations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"with a VectorEnv, evaluations use the env .*'CartPole-v1', whose",
    ):
        run(tmp_path, gym.vector.SyncVectorEnv([faulty()]))
    assert list(tmp_path.iterdir()) == []


def test_evaluate_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = run(tmp_path, faulty())
    gym.register("gymnast_tests/Faulty-v0", entry_point=faulty(call="render"))
    gym.register("gymnast_tests/Broken-v0", entry_point=faulty(call="step", at=2))
    best = result.path / "checkpoints" / "best.pt"
    about, state = checkpoint.read(best)
    try:
        for env, code in (("gymnast_tests/Broken-v0", 1), ("gymnast_tests/Faulty-v0", 0)):
            checkpoint.save(tmp_path / "x.pt", type(about)(**{**vars(about), "env": env}), {"agent": state["agent"]})
            capsys.readouterr()
            words = [] if code else ["--video", str(tmp_path / "videos")]
            assert main(["evaluate", str(tmp_path / "x.pt"), "--episodes", "2", "--json", *words]) == code
            out, err = capsys.readouterr()
            if code:
                assert len(err.splitlines()) == 1
                assert "step raised ZeroDivisionError" in err
            else:
                assert json.loads(out)["mean_return"] == 5.0
                assert "no video" in err
    finally:
        del gym.registry["gymnast_tests/Faulty-v0"], gym.registry["gymnast_tests/Broken-v0"]


class _nothing:  # noqa: N801 - stands for a context manager
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize("reward", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("agent", ["dqn", "hill-climbing"])
def test_returns_that_are_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], agent: str, reward: float
) -> None:
    def build() -> Faulty:
        return Faulty(reward=reward)

    result, _ = run(tmp_path, build, agent, log_every=20, eval_every=20, steps=60)
    text = (result.path / "metrics.jsonl").read_text()
    for line in text.splitlines():
        json.loads(line, parse_constant=_refuse)
    said = capsys.readouterr().err
    assert "2 of 2 evaluation episodes have a return that is not finite" in said
    assert '"mean_return":null' in text
    assert "returns of training episodes are infinite or not a number" in said
    assert "Traceback" not in said
    assert json.loads(result.path.joinpath("config.json").read_text(), parse_constant=_refuse)


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def test_a_finite_evaluation_is_better_than_an_infinite_one(tmp_path: Path) -> None:
    class Sometimes(Faulty):
        """Pays infinity in the first evaluation."""

        own = 0

        def reset(self, **options: Any) -> Any:
            self.own += 1
            return super().reset(**options)

        def step(self, action: Any) -> Any:
            obs, _, *rest = super().step(action)
            return (obs, math.inf if self.evaluated and self.own < 2 else 1.0, *rest)

    count = 0

    def build() -> Sometimes:
        nonlocal count
        count += 1
        env = Sometimes()
        env.evaluated = count == 4  # after that of the training and two that are tried out
        return env

    result, _ = run(tmp_path, build, eval_every=40, eval_envs=1)
    about = checkpoint.read(result.path / "checkpoints" / "best.pt")[0]
    assert (about.env_step, about.score) == (80, 5.0)


GREY = np.arange(60, dtype=np.uint8).reshape(6, 10) * 4
RGB = np.stack([GREY, 255 - GREY, GREY // 2], -1)
FRAMES = {
    "rgb": (RGB, RGB),
    "channels first": (RGB.transpose(2, 0, 1), RGB),
    "floats": (RGB / np.float32(255), RGB),
    "floats up to 255": (RGB.astype(np.float64), RGB),
    "torch": (torch.from_numpy(RGB), RGB),
    "ints": (RGB.astype(np.int64), RGB),
    "rgba": (np.concatenate([RGB, np.full((6, 10, 1), 255, np.uint8)], -1), RGB),
    "rgba first, floats": (np.concatenate([RGB, RGB[:, :, :1]], -1).transpose(2, 0, 1) / 255, RGB),
    "grey": (GREY, np.stack([GREY] * 3, -1)),
    "grey last": (GREY[:, :, None], np.stack([GREY] * 3, -1)),
    "grey first": (GREY[None], np.stack([GREY] * 3, -1)),
    "bits": (GREY > 100, np.stack([np.where(GREY > 100, 255, 0)] * 3, -1)),
    "list": ([RGB * 0, RGB], RGB),
    "odd": (RGB[:5, :7], RGB[:5, :7]),
    "out of range": (RGB.astype(np.int32) * 2 - 1, np.clip(RGB.astype(np.int32) * 2 - 1, 0, 255)),
}


@pytest.mark.parametrize("vectorization", ["serial", "vector"])
@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_any_kind(name: str, vectorization: str) -> None:
    given, right = FRAMES[name]
    build = faulty(frame=given)
    if vectorization == "vector":
        env = envs.make(gym.vector.SyncVectorEnv([lambda: build("rgb_array")]))
    else:
        env = envs.make(build, render=True)
    env.reset()
    frame = env.render()
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, right)
    env.close()


@pytest.mark.parametrize("frame", ["text", np.zeros((2, 3, 4, 5)), np.zeros((5, 7, 9)), np.zeros((0, 4, 3)), {}])
def test_what_is_no_picture_is_named(frame: Any) -> None:
    env = envs.make(faulty(frame=frame), render=True)
    env.reset()
    with pytest.raises(EnvError, match=r"build gave .* which is not a picture \(render of episode 1\)"):
        env.render()


@pytest.mark.parametrize("frame", [RGB[:5, :7] / 255, GREY[:1, :1], RGB.transpose(2, 0, 1)], ids=["odd", "one", "chw"])
def test_videos_of_any_kind_are_made(tmp_path: Path, frame: Any) -> None:
    result, _ = run(tmp_path, faulty(frame=frame), video=True)
    assert result.exit_code == 0
    assert result.files["video"].stat().st_size > 0
