"""Bad input: one line that names the option, the value, what is allowed and the nearest name; exit code 2."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from gymnast.cli.main import main
from gymnast.errors import UsageError, nearest
from gymnast.settings import agents, flags, idle
from gymnast.settings.options import TrainOptions
from gymnast.training import train

TRAIN = ["train", "q-learning", "--env", "FrozenLake-v1"]
DQN = ["train", "dqn", "--env", "CartPole-v1"]
ONE_OF_EACH_CONFIG = list({agents.config_class(agents.agent_class(agent)): agent for agent in agents.AGENTS}.values())
"""Agents with a class of config of their own; the others have the same options."""


@pytest.fixture
def never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wrong command line gets as far as training."""

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("training was started")

    monkeypatch.setattr(train, "train", start)
    monkeypatch.setattr(train, "resume", start)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that refuses a command line."""
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert error.startswith("gymnast: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert out == ""
    return error[len("gymnast: ") : -1]


UNKNOWN = [
    (
        ["trian"],
        "unknown command 'trian'; choose from train, fit, pretrain, sample, probe, explain, dream, hopfield, resume, "
        "evaluate, record, export, import, serve, watch, benchmark, ablate, tune, report, list, check-env; "
        "did you mean train?",
    ),
    (["--verison"], "unknown option '--verison'"),
    (["train"], "train needs an agent first: gymnast train AGENT --env ID"),
    (["train", "--env", "CartPole-v1", "dqn"], "train needs an agent first"),
    (["train", "dqnn", "--env", "CartPole-v1"], "did you mean dqn?"),
    (["train", "zebra", "--env", "CartPole-v1"], "unknown agent 'zebra'; choose from q-learning, sarsa"),
    (["train", "DQN", "--env", "CartPole-v1"], "did you mean dqn?"),
    (["list", "agent"], "unknown list 'agent'; choose from agents, datasets, envs, networks, "),
    (["list", "agent"], "; did you mean agents?"),
    (["list"], "list needs agents|datasets|envs|networks|presets|protocols|references|scores|suites"),
    (["list", "agents", "envs"], "list does not take 'envs'"),
    (["list", "agents", "--jsn"], "list has no option --jsn; did you mean --json?"),
    ([*TRAIN, "--stepz", "5"], "train q-learning has no option --stepz; did you mean --steps?"),
    ([*TRAIN, "--st", "5"], "train q-learning has no option --st; did you mean"),
    ([*TRAIN, "--zzzzzz", "5"], "no option --zzzzzz; see gymnast train q-learning --help"),
    ([*TRAIN, "--no-steps"], "no option --no-steps"),
    ([*TRAIN, "-n", "5"], "train q-learning has no option -n"),
    ([*TRAIN, "--batch-size", "5"], "train q-learning has no option --batch-size"),
    ([*TRAIN, "--no-vidoe"], "did you mean --no-video?"),
    (["train", "q-learning", "extra", "--env", "X"], "train q-learning does not take 'extra'"),
    ([*DQN, "--preset", "cartpol"], "unknown preset 'cartpol'; choose from"),
    ([*DQN, "--preset", "cartpol"], "did you mean cartpole?"),
    ([*TRAIN, "--preset", "cartpole"], "the preset cartpole is for dqn, "),
    ([*TRAIN, "--preset", "cartpole"], ", not for q-learning"),
    (["train", "dqn", "--preset", "cartpol", "--help"], "did you mean cartpole?"),
    (["evaluate", "runs/x", "--videos", "d"], "evaluate has no option --videos; did you mean --video?"),
    (["resume", "runs/x", "--stops", "5"], "resume has no option --stops; did you mean --steps?"),
]

MISSING = [
    (["train", "q-learning"], "train q-learning needs --env ID"),
    (["train", "q-learning", "--env"], "--env needs a value: text"),
    (["train", "q-learning", "--env", "--steps", "5"], "--env needs a value: text"),
    ([*TRAIN, "--steps"], "--steps needs a value: an integer"),
    ([*TRAIN, "--stop-return"], "--stop-return needs a value: a number or None"),
    (["evaluate"], "evaluate needs RUN_OR_CHECKPOINT"),
    (["resume", "--steps", "5"], "resume needs RUN"),
]

WRONG = [
    ([*TRAIN, "--steps", "abc"], "--steps must be an integer, got abc"),
    ([*TRAIN, "--steps", "1.5"], "--steps must be an integer, got 1.5"),
    ([*TRAIN, "--steps", "1e-3"], "--steps must be an integer, got 1e-3"),
    ([*TRAIN, "--steps", "nan"], "--steps must be an integer, got nan"),
    ([*TRAIN, "--steps=inf"], "--steps must be an integer, got inf"),
    ([*TRAIN, "--steps", ""], "--steps must be an integer, got "),
    ([*TRAIN, "--steps", "5", "6"], "--steps takes one value, got 5 6"),
    ([*TRAIN, "--steps", "5", "--steps", "6"], "--steps is given twice"),
    ([*TRAIN, "--video", "--no-video"], "--video is given twice"),
    ([*TRAIN, "--video", "yes"], "--video takes no value, got yes; the opposite is --no-video"),
    ([*TRAIN, "--track", "tensorbord"], "--track must be any number of values, each one of tensorboard, wandb"),
    ([*TRAIN, "--track", "tensorboard", "tensorbord"], "got tensorbord; did you mean tensorboard?"),
    ([*TRAIN, "--track", "wandb", "wandb"], "--track takes each name once, got wandb wandb"),
    (
        [*TRAIN, "--vectorization", "asynch"],
        "--vectorization must be one of auto, serial, async, native, got asynch; did you mean async?",
    ),
    ([*TRAIN, "--exploration", "epsilon"], "--exploration must be one of epsilon-greedy, boltzmann"),
    ([*TRAIN, "--device", "gpu"], "--device must be auto, cpu, cuda, cuda:N or mps, got gpu"),
    ([*TRAIN, "--device", "cuda:x"], "--device must be auto, cpu, cuda, cuda:N or mps, got cuda:x"),
    ([*TRAIN, "--stop-return", "nan", "--eval-every", "5"], "--stop-return must be a finite number, got nan"),
    ([*TRAIN, "--stop-return", "-inf", "--eval-every", "5"], "--stop-return must be a finite number, got -inf"),
    ([*TRAIN, "--name", "../x"], "--name must be a single folder name, got '../x'"),
    ([*TRAIN, "--name", ""], "--name must be a single folder name, got ''"),
    ([*TRAIN, "--out", ""], "--out must be a folder, got ''"),
    ([*TRAIN, "--env-options", "{"], "--env-options must be a JSON object such as"),
    ([*TRAIN, "--env-options", "[1]"], "got [1]"),
    ([*DQN, "--learning-rate", "nan"], "--learning-rate must be a finite number, got nan"),
    ([*DQN, "--learning-rate", "inf"], "--learning-rate must be a finite number, got inf"),
    ([*DQN, "--learning-rate", "linear:nan:0:10"], "--learning-rate takes finite numbers, got 'linear:nan:0:10'"),
    ([*DQN, "--learning-rate", "-1e-3"], "--learning-rate must be"),
    ([*DQN, "--learning-rate", "linaer:1:0:10"], "did you mean linear?"),
    ([*DQN, "--epsilon", "2"], "--epsilon must be between 0 and 1, got 2"),
    ([*DQN, "--optimizer", "adm"], "did you mean adam?"),
    (["evaluate", "runs/x", "--episodes", "0"], "--episodes must be >= 1, got 0"),
    (["evaluate", "runs/x", "--num-envs", "-1"], "--num-envs must be >= 1, got -1"),
    (["evaluate", "runs/x", "--seed", "-1"], "--seed must be >= 0, got -1"),
    (["evaluate", "runs/x", "--picture", "q"], "--picture must be a file named .png, .pdf or .svg, got q"),
    (["evaluate", "runs/x", "--device", "gpu"], "--device must be"),
    (["evaluate", "runs/x", "runs/y"], "evaluate does not take 'runs/y'"),
    (["resume", "runs/x", "--steps", "0"], "--steps must be >= 1, got 0"),
    (["resume", "runs/x", "--device", "gpu"], "--device must be"),
]

CONTRADICTIONS = [
    ([*TRAIN, "--stop-return", "1"], "--stop-return needs scheduled evaluations: set --eval-every to a value > 0"),
    ([*TRAIN, "--wandb-project", "x"], "--wandb-project x has no effect without wandb in track"),
    ([*TRAIN, "--wandb-mode", "offline"], "--wandb-mode offline has no effect without wandb in track"),
    ([*TRAIN, "--keep-checkpoints", "2"], "--keep-checkpoints 2 has no effect while --checkpoint-every is 0"),
    ([*DQN, "--atoms", "101"], "--atoms 101 has no effect without --values categorical"),
    ([*DQN, "--noisy", "--epsilon", "0.1"], "--epsilon 0.1 has no effect with --noisy"),
    ([*DQN, "--kappa", "1"], "--kappa 1.0 has no effect without --values quantile or implicit"),
    ([*DQN, "--priority-eta", "1", "--prioritized"], "--priority-eta 1.0 has no effect without --recurrent"),
    ([*DQN, "--munchausen-alpha", "0.5"], "--munchausen-alpha 0.5 has no effect without --munchausen"),
    ([*DQN, "--bootstrap-vote"], "--bootstrap-vote has no effect without --bootstrap-heads"),
    (["train", "a2c", "--env", "CartPole-v1", "--clip", "0.1"], "has no effect without --policy-loss clipped"),
]


def test_options_of_parts_are_options() -> None:
    configs = [agents.config_class(agents.agent_class(agent)) for agent in agents.AGENTS]
    names = {frozenset(field.name for field in dataclasses.fields(config)) for config in configs}
    for name, parts in idle.PARTS.items():
        for part in parts:
            assert any({name, part.option} <= of for of in names), f"no agent has {name} and {part.option}"


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize(("words", "message"), [*UNKNOWN, *MISSING, *WRONG, *CONTRADICTIONS])
def test_one_line_says_what_is_wrong(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(words, capsys)


COUNTS = ("steps", "num_envs", "eval_episodes", "eval_envs", "log_every", "threads", "max_episode_steps")


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize(("field", "value"), list(itertools.product(COUNTS, ["0", "-5"])))
def test_counts_are_positive(field: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    flag = "--" + field.replace("_", "-")
    assert refused([*TRAIN, flag, value], capsys) == f"{flag} must be >= 1, got {value}"


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("field", ["seed", "eval_every", "checkpoint_every"])
def test_periods_and_the_seed_are_not_negative(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    flag = "--" + field.replace("_", "-")
    assert refused([*TRAIN, flag, "-1"], capsys) == f"{flag} must be >= 0, got -1"


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("agent", ONE_OF_EACH_CONFIG)
def test_no_number_of_an_agent_may_be_nan_or_infinite(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in flags.flags_of(agents.config_class(agents.agent_class(agent))).values():
        members = [*typing.get_args(flag.type), flag.type]
        for value in ("nan", "inf", "-inf") if float in members or int in members else ():
            line = refused(["train", agent, "--env", "FrozenLake-v1", flag.name, value], capsys)
            assert line.startswith(f"{flag.name} must be ")
            assert line.endswith(f", got {value}")


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("agent", ONE_OF_EACH_CONFIG)
def test_no_count_of_an_agent_may_be_negative(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in flags.flags_of(agents.config_class(agents.agent_class(agent))).values():
        if flag.type in (int, int | None):
            line = refused(["train", agent, "--env", "FrozenLake-v1", flag.name, "-1"], capsys)
            assert flag.name in line
            assert "-1" in line


def test_options_given_in_python_are_checked_too() -> None:
    for change, message in [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"stop_return": float("nan"), "eval_every": 1}, "stop_return must be a finite number, got nan"),
        ({"env": ""}, "env must be an id, got ''"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda, cuda:N or mps, got tpu"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            TrainOptions(**({"env": "CartPole-v1"} | change))  # type: ignore[arg-type]


def test_nearest() -> None:
    assert nearest("sarza", ["sarsa", "dqn"]) == "; did you mean sarsa?"
    assert nearest("zebra", ["sarsa", "dqn"]) == ""


def test_a_nested_config_is_refused() -> None:
    inner = dataclasses.make_dataclass("Inner", [("x", int, 1)])
    outer = dataclasses.make_dataclass("Outer", [("inner", inner, dataclasses.field(default_factory=inner))])
    with pytest.raises(UsageError, match=r"Outer\.inner is a dataclass; a config must be flat, one flag per field"):
        flags.flags_of(outer)


# What only setting up finds out: these go through gymnast.training.train itself.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "dqn", "--env", "CartPol-v1"], "did you mean CartPole-v1?"),
        (["train", "dqn", "--env", "Pendulum-v1"], "dqn needs Discrete actions"),
        (["train", "q-learning", "--env", "CartPole-v1"], "has no finite bounds"),
        (["train", "q-learning", "--env", "FrozenLake-v1", "--env-options", '{"map": 3}'], "map"),
        (["train", "value-iteration", "--env", "Blackjack-v1"], "planning needs Discrete observations"),
        (["resume", "no/such/run"], "no run folder no/such/run"),
        (["evaluate", "no/such/run"], "no run or checkpoint no/such/run"),
    ],
)
def test_setting_up_fails_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)] if words[0] == "train" else []
    assert main([*words, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gymnast: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([*TRAIN, "--out", str(tmp_path / "file" / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gymnast: --out {tmp_path / 'file' / 'runs'}: cannot make the run folder")
    assert error.count("\n") == 1


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("resume", "evaluate"):
        assert main([command, str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"gymnast: {tmp_path} is not a run folder: it has no config.json\n"
