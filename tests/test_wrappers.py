"""Gymnasium's wrappers by name, text in observations, and drawing without a display."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import gymnast
from gymnast import TrainOptions
from gymnast.cli.main import main
from gymnast.envs import EnvWarning, make
from gymnast.envs.errors import display_hint
from gymnast.envs.rows import wrappers


def test_wrappers_are_put_around_every_row() -> None:
    names = ("TimeAwareObservation", "FrameStackObservation:stack_size=3")
    env = make("CartPole-v1", 20, wrappers=names)  # as many rows as would step natively
    assert env.single_observation_space.shape == (3, 5)
    env.reset()
    (step,) = (env.step(torch.zeros(20, dtype=torch.int64)) for _ in range(1))
    assert step.obs.shape == (20, 3, 5)  # type: ignore[union-attr]
    assert step.obs[:, -1, -1].tolist() == [1.0] * 20  # type: ignore[index]
    env.close()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("ClipReward", {}),
        ("ClipReward:min_reward=-1:max_reward=1", {"min_reward": -1, "max_reward": 1}),
        ("ResizeObservation:shape=[8,9]", {"shape": (8, 9)}),
        ("DtypeObservation:dtype=float32", {"dtype": "float32"}),
        ("FrameStackObservation:stack-size=2", {"stack_size": 2}),
    ],
)
def test_options_of_wrappers(text: str, options: dict[str, Any]) -> None:
    assert wrappers.parse(text)[1] == options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "ClipRewards",
            "--wrapper must be one of gymnasium.wrappers, as NAME[:OPTION=VALUE], got 'ClipRewards'; did you",
        ),
        ("ClipReward:max=1", "--wrapper ClipReward takes min_reward, max_reward, as in NAME:OPTION=VALUE, got 'max=1'"),
        ("ClipReward:max_reward", "got 'max_reward'; did you mean max_reward?"),
        ("FrameStackObservation", "--wrapper FrameStackObservation cannot be used: TypeError"),
        ("GrayscaleObservation", "--wrapper GrayscaleObservation cannot be used: "),
        ("ClipReward --vectorization native", "--wrapper ClipReward needs vectorization serial or async, got native"),
        ("ClipReward --native", "--wrapper: gymnast/CartPole-v1 steps its rows as one, and ClipReward wraps a single"),
        ("ClipReward --env gymnast/CartPole-v1", "gymnast/CartPole-v1 steps its rows as one"),
        ("ClipReward --env Pong", "Pong steps its rows as one"),
    ],
)
def test_wrong_wrappers_are_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    env = "" if "--env" in words else "--env CartPole-v1"
    assert main(f"train hill-climbing {env} --steps 60 --wrapper {words}".split()) == 2
    said = capsys.readouterr().err
    assert message.removeprefix("--") in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_wrappers_hold_in_training_evaluation_and_after_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train hill-climbing --env CartPole-v1 --wrapper ClipReward:max_reward=0.5 --wrapper TimeAwareObservation"
    assert main([*words.split(), "--steps", "200", "--no-video", "--name", "r", "--out", str(tmp_path)]) == 0
    path = tmp_path / "CartPole-v1" / "hill-climbing" / "r"
    config = json.loads((path / "config.json").read_text())
    assert config["run"]["wrapper"] == ["ClipReward:max_reward=0.5", "TimeAwareObservation"]
    assert main(["resume", str(path), "--steps", "400"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(path), "--episodes", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mean_return"] == 0.5 * found["mean_length"]


def test_wrappers_reach_worker_processes() -> None:
    env = make("CartPole-v1", 2, wrappers=("ClipReward:max_reward=0.25",), vectorization="async")
    try:
        env.reset()
        assert env.step(torch.zeros(2, dtype=torch.int64)).reward.tolist() == [0.25, 0.25]
    finally:
        env.close()


class Told(gym.Env[Any, Any]):
    """An image of numbers and a mission in words."""

    observation_space = gym.spaces.Dict(
        {
            "inner": gym.spaces.Dict({"note": gym.spaces.Text(5), "x": gym.spaces.Box(0.0, 1.0, (2,), np.float32)}),
            "mission": gym.spaces.Text(20),
            "y": gym.spaces.Discrete(3),
        }
    )
    action_space = gym.spaces.Discrete(2)

    def _obs(self) -> dict[str, Any]:
        return {"inner": {"note": "hi", "x": np.ones(2, np.float32)}, "mission": "go there", "y": self.at % 3}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        return self._obs(), 1.0, self.at == 5, False, {}


@pytest.mark.parametrize("vector", [False, True])
def test_text_in_a_dict_is_ignored_with_a_line(vector: bool) -> None:
    given: Any = gym.vector.SyncVectorEnv([Told, Told]) if vector else Told
    with pytest.warns(EnvWarning, match=r"the text 'mission' of its observations is ignored"):
        env = make(given, 2)
    obs: Any = env.reset()
    assert obs.keys() == {"inner", "y"}
    assert obs["inner"].keys() == {"x"}
    step: Any = env.step(torch.zeros(2, dtype=torch.int64))
    assert step.obs["y"].tolist() == [1, 1]
    env.close()


def test_an_agent_learns_beside_text(tmp_path: Path) -> None:
    options = TrainOptions(env="own", steps=64, num_envs=2, video=False, out=str(tmp_path))
    with pytest.warns(EnvWarning, match="is ignored"):
        assert gymnast.train("ppo", options, env=Told).exit_code == 0


def test_what_helps_without_a_display_is_said_once_it_matters() -> None:
    assert "MUJOCO_GL=egl" in display_hint("an OpenGL platform library has not been loaded into this process")
    assert "MUJOCO_GL=egl" in display_hint("X11: The DISPLAY environment variable is missing")
    assert display_hint("division by zero") == ""


class Dark(Told):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> Any:
        raise RuntimeError("an OpenGL platform library has not been loaded into this process")


def test_an_environment_that_cannot_draw_costs_a_line_and_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = gymnast.train("hill-climbing", TrainOptions(env="own", steps=40, out=str(tmp_path)), env=Dark)
    assert result.exit_code == 0
    assert result.final is not None
    assert "video" not in result.files
    said = capsys.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if "no video" in line]
    assert "set MUJOCO_GL=egl" in line


# The extras, where they are installed.


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("Box2D", "ppo --env LunarLander-v3"),
        ("mujoco", "ppo --env InvertedPendulum-v5"),
        ("minigrid", "ppo --env minigrid:MiniGrid-Empty-5x5-v0"),
    ],
)
def test_extras(package: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(package)
    small = "--steps 64 --rollout-steps 16 --num-envs 2 --eval-episodes 1 --max-episode-steps 50 --name r --no-video"
    assert main([*f"train {words} {small}".split(), "--out", str(tmp_path)]) == 0, capsys.readouterr().err
    (path,) = tmp_path.glob("*/ppo/r")
    assert main(["evaluate", str(path), "--episodes", "1", "--trust"]) == 0
