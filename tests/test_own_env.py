"""Environments and networks of the user's own, named as code: trained, resumed, evaluated, or refused in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest

import gymnast
from gymnast import TrainOptions
from gymnast.cli.main import main
from gymnast.envs import imports, make

LINES = """
import threading
import gymnasium as gym
import numpy as np

LOCK = threading.Lock()  # what no other process can be sent
number = 3

class Line(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=4, render_mode=None):
        self.length, self.render_mode = length, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.eye(4, dtype=np.float32)[0], {}

    def step(self, action):
        with LOCK:
            self.at += 1
        return np.eye(4, dtype=np.float32)[self.at % 4], float(action), self.at == self.length, False, {}

def line(length=4):
    return Line(length)

def nothing():
    return 1

gym.register("my/Line-v0", entry_point=f"{__name__}:Line")
"""
NETS = """
from torch import nn

class Small(nn.Module):
    out_features = 8

    def __init__(self, observation_space):
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, obs):
        return self.layer(obs).relu()

def small(observation_space):
    return Small(observation_space)
"""

Command = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def gymnast_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in a folder with the user's files; gives exit code, output, errors."""
    (tmp_path / "my_lines.py").write_text(LINES)
    (tmp_path / "my_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(words: str) -> tuple[int, str, str]:
        for name in [
            name for name in sys.modules if name in ("my_lines", "my_nets") or name.startswith("gymnast_file")
        ]:
            del sys.modules[name]
        gymnasium.registry.pop("my/Line-v0", None)
        code = main(words.split())
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ("my_lines:my/Line-v0", "my-Line-v0"),
        ("my_lines:my/Line", "my-Line-v0"),
        ("./my_lines.py:my/Line-v0", "my-Line-v0"),
        ("my_lines:line", "my_lines-line"),
        ("my_lines:Line", "my_lines-Line"),
        ("./my_lines.py:line", "my_lines.py-line"),
        ("./my_lines.py:Line", "my_lines.py-Line"),
    ],
)
def test_own_environment_trains_resumes_and_is_evaluated(gymnast_: Command, env: str, folder: str) -> None:
    options = "--steps 60 --learning-starts 20 --no-video --name r --batch-size 8 --env-options"
    code, shown, said = gymnast_(f'train dqn --env {env} {options} {{"length":5}}')
    assert code == 0, said
    run = f"runs/{folder}/dqn/r"
    assert run in shown
    for words in (f"resume {run} --steps 90", f"evaluate {run} --episodes 2"):
        code, shown, said = gymnast_(words)
        assert (code, shown, len(said.splitlines())) == (2, "", 1)
        assert "--trust" in said
    code, _, said = gymnast_(f"resume {run} --steps 90 --trust")
    assert code == 0, said
    code, shown, said = gymnast_(f"evaluate {run} --episodes 2 --trust --json")
    assert code == 0, said
    assert json.loads(shown)["mean_length"] == 5.0


@pytest.mark.slow
@pytest.mark.parametrize("words", ["dqn --learning-starts 20 --vectorization async", "a3c --workers 2"])
def test_own_files_reach_worker_processes(gymnast_: Command, words: str) -> None:
    own = "--env ./my_lines.py:line --network ./my_nets.py:Small"
    code, _, said = gymnast_(f"train {words} {own} --num-envs 2 --steps 60 --no-video --name r")
    assert code == 0, said


def test_own_backbone_in_a_file(gymnast_: Command) -> None:
    options = "--steps 60 --learning-starts 20 --no-video --name r --batch-size 8"
    code, _, said = gymnast_(f"train dqn --env CartPole-v1 --network ./my_nets.py:Small {options}")
    assert code == 0, said
    run = "runs/CartPole-v1/dqn/r"
    code, shown, said = gymnast_(f"evaluate {run} --episodes 1")
    assert (code, shown) == (2, "")
    assert "(--trust)" in said
    assert gymnast_(f"evaluate {run} --episodes 1 --trust")[0] == 0
    assert gymnast_(f"resume {run} --steps 90 --trust")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env ./nowhere.py:line", "environment './nowhere.py:line': no file nowhere.py"),
        ("--env ./my_lines.py", "name a function or class in it, as in ./my_lines.py:NAME"),
        ("--env ./my_lines.py:lin", "./my_lines.py neither registers nor defines lin; did you mean line?"),
        ("--env my_lines:number", "environment 'my_lines:number': it is an int, not a function or class"),
        ("--env my_lines:nothing", "environment my_lines:nothing cannot be used: the function returned an int"),
        ("--env no_such_module:Env-v0", "no module no_such_module; use ./file.py:NAME for a file"),
        ("--env CartPole-v1 --network ./my_nets.py:Smal", "./my_nets.py has no class Smal; did you mean Small?"),
        ("--env CartPole-v1 --network my_nets:small", "network my_nets:small is not an nn.Module"),
        ("--env CartPole-v1 --network ./nets.py:Small", "network ./nets.py:Small: no file nets.py"),
        ("--env ./my_lines.py:line --native", "./my_lines.py:line has no device-native version"),
    ],
)
def test_wrong_names_are_refused_before_a_folder_is_made(
    gymnast_: Command, tmp_path: Path, words: str, message: str
) -> None:
    code, _, said = gymnast_(f"train dqn {words} --steps 60")
    assert (code, len(said.splitlines())) == (2, 1), said
    assert message in said
    assert not (tmp_path / "runs").exists()


def test_functions_from_python(gymnast_: Command, tmp_path: Path) -> None:
    assert gymnast_("list agents")[0] == 0
    function = imports.find("./my_lines.py:line", "environment")
    options = TrainOptions(env=function, steps=40, video=False, out=str(tmp_path / "own"), name="r")
    assert options.env == f"{tmp_path / 'my_lines.py'}:line"
    result = gymnast.train("hill-climbing", options)
    assert result.exit_code == 0
    code, _, said = gymnast_(f"evaluate {result.path} --episodes 2 --trust")
    assert code == 0, said

    function = imports.find("./my_lines.py:line", "environment")
    given = gymnast.train("hill-climbing", TrainOptions(env="own", steps=40, video=False, name="f"), env=function)
    assert gymnast_(f"evaluate {given.path} --episodes 2 --trust")[0] == 0
    nameless = gymnast.train(
        "hill-climbing", TrainOptions(env="own", steps=40, video=False, name="l"), env=lambda: function()
    )
    code, _, said = gymnast_(f"evaluate {nameless.path} --episodes 2 --trust")
    assert code == 2
    assert "gymnast.evaluate(gymnast.load(path), function)" in said.splitlines()[-1]


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env must be an id, or a function or class that can be imported, got <func"):
        TrainOptions(env=lambda: None)  # type: ignore[arg-type]


def test_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder, length in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lines.py").write_text(LINES.replace("length=4", f"length={length}"))
    for folder, length in (("a", 2), ("b", 3)):
        env = make(f"{tmp_path / folder / 'lines.py'}:Line")
        assert env.id == "lines.py:Line"
        env.reset()
        assert env.rows[0].env.unwrapped.length == length  # type: ignore[attr-defined]
        env.close()
