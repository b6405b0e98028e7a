"""The command line: every option arrives in the resolved config, and the quick commands stay quick."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import typing
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gymnast import __version__
from gymnast.agents.rewards.config import LearnedRewardConfig
from gymnast.agents.table import ALGORITHMS
from gymnast.cli import groups, help
from gymnast.cli.main import main
from gymnast.errors import RunError, UsageError
from gymnast.networks.layers.recurrent import TRANSFORMER
from gymnast.populations import train as populations
from gymnast.settings import agents, flags, idle, presets
from gymnast.settings.options import EvaluateOptions, PopulationOptions, PresetOptions, RayOptions, TrainOptions
from gymnast.training import train as training

MY_AGENT = '''
from __future__ import annotations
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

Colour = Enum("Colour", ["RED", "BLUE"])

@dataclass(frozen=True)
class MineConfig:
    """Mine."""
    bonus: float = 0.25
    """How much."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Two numbers."""
    colour: Colour = Colour.RED
    """One of a few."""
    where: Path | None = None
    """A path."""
    function: Callable[[float], float] = abs
    """What no flag can set."""

class Mine:
    """My own agent."""
    def __init__(self, observation_space, action_space, config: MineConfig, *, num_envs=1, device="cpu", seed=0): ...
    def actor(self, num_envs, *, explore, seed): ...
    def store(self, obs, acted, step): ...
    def updates_due(self, env_step): return 0
    def learn(self): ...
    def scheduled(self): return {}
    def state_dict(self): return {}
    def load_state_dict(self, state): ...

class Half:
    def learn(self): ...

class Bare(Mine):
    def __init__(self, observation_space, action_space): ...

@dataclass(frozen=True)
class ClashConfig:
    steps: int = 3

class Clash(Mine):
    def __init__(self, observation_space, action_space, config: ClashConfig): ...

not_a_class = 3
'''


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the command line handed to `gymnast.training.train.train`, which does not train here."""
    calls: list[SimpleNamespace] = []

    def train(agent: str, options: TrainOptions, config: Any, **rest: Any) -> SimpleNamespace:
        calls.append(SimpleNamespace(agent=agent, options=options, config=config, **rest))
        rest["started"]()
        return SimpleNamespace(exit_code=0, as_text=lambda: "what the run reached")

    monkeypatch.setattr(training, "train", train)
    return calls


# Row 35: every option changes the resolved config, and nothing but what it names.

RUN_CHANGES: dict[str, tuple[list[str], Any]] = {
    "env": (["Taxi-v4"], "Taxi-v4"),
    "steps": (["5_000"], 5_000),
    "num_envs": (["4"], 4),
    "learners": (["2"], 2),
    "ray": (["local"], "local"),
    "seed": (["7"], 7),
    "init_from": (["runs/other"], "runs/other"),
    "device": (["cuda:1"], "cuda:1"),
    "name": (["mine"], "mine"),
    "out": (["elsewhere"], "elsewhere"),
    "track": (["tensorboard", "wandb"], ("tensorboard", "wandb")),
    "eval_every": (["1e3"], 1_000),
    "eval_episodes": (["20"], 20),
    "eval_envs": (["3"], 3),
    "checkpoint_every": (["100"], 100),
    "keep_checkpoints": (["2"], 2),
    "log_every": (["10"], 10),
    "stop_return": (["-13.5"], -13.5),
    "vectorization": (["async"], "async"),
    "native": ([], True),
    "env_options": (['{"is_slippery": false}'], '{"is_slippery": false}'),
    "wrapper": (
        ["TimeAwareObservation", "ClipReward:max_reward=1"],
        ("TimeAwareObservation", "ClipReward:max_reward=1"),
    ),
    "max_episode_steps": (["50"], 50),
    "frame_stack": (["3"], 3),
    "protocol": (["nature"], "nature"),
    "emulator": (["ours"], "ours"),
    "video": ([], False),
    "threads": (["2"], 2),
    "overlap": ([], True),
    "profile": ([], True),
    "exact_resume": ([], True),
    "wandb_project": (["mine"], "mine"),
    "wandb_mode": (["offline"], "offline"),
    "wandb_entity": (["us"], "us"),
    "wandb_group": (["together"], "together"),
    "wandb_tags": (["a", "b"], ("a", "b")),
}
"""For each field of TrainOptions what stands after its flag, and the value that it then has."""

TOGETHER = {
    "policy_loss": {"epochs": 1},
    **{name: {"policy_value": "mean"} for name in ("values", "quantiles", "drop_quantiles")},
    "keep_checkpoints": {"checkpoint_every": 100},
    "stop_return": {"eval_every": 1_000},
    "ray": {"learners": 2},
    "wandb_project": {"track": ("wandb",)},
    "wandb_mode": {"track": ("wandb",)},
    "wandb_entity": {"track": ("wandb",)},
    "wandb_group": {"track": ("wandb",)},
    "wandb_tags": {"track": ("wandb",)},
    "horizon": {"objective": "finite-horizon", "sequence_length": 65},
    "context": {"horizon": 10},
    "bootstrap_bonus": {"exploration": "count"},
    "prior_scale": {"bootstrap_heads": 3},
    **{name: {"recurrent": "transformer"} for name in TRANSFORMER},
    **{name: {"gail": "expert-v0"} for name in flags.flags_of(LearnedRewardConfig) if name.startswith("gail_")},
}
"""Options that have no effect, and are refused, without another one."""

AGENT_CHANGES: dict[str, tuple[list[str], Any]] = {
    "objective": (["average-reward"], "average-reward"),
    "td policy": (["greedy"], "greedy"),
    "network": (["nature-cnn"], "nature-cnn"),
    "encoder": (["runs/a"], "runs/a"),
    "encoder_learning_rate": (["1e-5"], 1e-5),
    "activation": (["gelu"], "gelu"),
    "optimizer": (["nature-rmsprop"], "nature-rmsprop"),
    "replay_path": (["frames"], "frames"),
    "recurrent_steps": (["8"], 8),
    "model_width": (["260"], 260),
    "model_heads": (["8"], 8),
    "low": (["-1", "-2.5"], (-1.0, -2.5)),
    "max_noise_scale": (["3"], 3.0),
    "noise_scale": (["0.15"], 0.15),
    "noise_growth": (["1.5"], 1.5),
    "population_size": (["34"], 34),
    "gail": (["expert-v0"], "expert-v0"),
    "gail_network": (["nature-cnn"], "nature-cnn"),
    "reward_model": (["runs/a"], "runs/a"),
    "munchausen_clip": (["-0.5"], -0.5),
    "final_n_step": (["1"], 1),
}
"""The same for those fields of configs whose type does not say what else they may be."""


SWITCHED_ON: dict[str, Any] = {
    "actors": 2,
    "anneal_steps": 100,
    "auxiliary": "reward",
    "bootstrap_heads": 3,
    "hindsight": "final",
    "intrinsic": "rnd",
    "recurrent": "gru",
    "reset_period": 100,
    "target_noise": 0.2,
    "weight_penalty": "l2",
}
"""Values with which the parts of `idle` that are no switches are on."""


def parts_of(field: str, agent: str) -> dict[str, Any]:
    """The values with which an option of the agent's has an effect, where its own are others."""
    known = flags.flags_of(agents.config_class(agents.agent_class(agent)))
    values = {name: flag.default for name, flag in known.items()}
    values |= presets.apply([], agent)
    missing = [part for part in idle.PARTS.get(field, ()) if part.option in values]
    missing = [part for part in missing if not part.active(values[part.option])]
    return {part.option: part.values[0] if part.values else SWITCHED_ON.get(part.option, True) for part in missing}


CONFLICTS = {"rainbow": ("munchausen", "shared_bias", "prior_scale")}
"""Beginnings of options that an algorithm's own settings refuse."""


def written(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]


def change(kind: Any, default: Any) -> tuple[list[str], Any]:
    """Another value of a type: as it is written, and as it is resolved."""
    members = [*typing.get_args(kind), kind]
    tuples = [member for member in members if typing.get_origin(member) is tuple]
    if kind is bool:
        return [], not default
    choices = [choice for member in members for choice in typing.get_args(member) if isinstance(choice, str)]
    if choices:
        other = next(choice for choice in choices if choice != default)
        return [str(other)], other
    if tuples:
        return (["3", "5"], (3, 5)) if int in typing.get_args(tuples[0]) else (["3.5", "5"], (3.5, 5.0))
    if float in members:
        return ["0.07"], 0.07
    assert int in members, f"say in AGENT_CHANGES what to try for {kind}"
    return [str((default or 0) + 1)], (default or 0) + 1


def flag_words(field: str, texts: list[str], value: Any) -> list[str]:
    return [f"--{'no-' if value is False else ''}{field.replace('_', '-')}", *texts]


def check_change(field: str, change: tuple[list[str], Any], agent: str, trained: list[SimpleNamespace]) -> None:
    texts, value = change
    plain = ["train", agent, "--env", "FrozenLake-v1"]
    changed = plain[:-2] if field == "env" else list(plain)
    every = flags.flags_of(TrainOptions, agents.config_class(agents.agent_class(agent)))
    together = {other: needed for other, needed in TOGETHER.get(field, {}).items() if other in every}
    together |= parts_of(field, agent)
    for other, needed in together.items():
        changed += flag_words(other, [] if isinstance(needed, bool) else written(needed), needed)
    assert main(plain) == 0
    assert main([*changed, *flag_words(field, texts, value)]) == 0
    before, after = (dataclasses.asdict(call.options) | dataclasses.asdict(call.config) for call in trained)
    assert after[field] == value
    assert {name for name in after if after[name] != before[name]} == {field, *together}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrainOptions)])
def test_every_run_option_changes_the_resolved_options(field: str, trained: list[SimpleNamespace]) -> None:
    check_change(field, RUN_CHANGES[field], "q-learning", trained)


@pytest.mark.parametrize(
    "agent", [*(name for name in agents.AGENTS if name not in ALGORITHMS), "dqn", "rainbow", "ppo", "sac"]
)
def test_every_agent_option_changes_the_resolved_config(agent: str, trained: list[SimpleNamespace]) -> None:
    config_class = agents.config_class(agents.agent_class(agent))
    of_the_algorithm = presets.apply([], agent)
    for field, flag in flags.flags_of(config_class).items():
        trained.clear()
        default = of_the_algorithm.get(field, flag.default)
        if field == "objective" and agent in ("dyna-q", "prioritized-sweeping"):
            continue  # its other value needs a horizon, which is tried with it
        if field.startswith(CONFLICTS.get(agent, ("-",))):
            continue
        check_change(
            field,
            AGENT_CHANGES.get(field) or AGENT_CHANGES.get(f"{agent} {field}") or change(flag.type, default),
            agent,
            trained,
        )


@pytest.mark.parametrize("agent", agents.AGENTS)
def test_no_option_has_two_meanings_and_each_has_help(agent: str) -> None:
    config_class = agents.config_class(agents.agent_class(agent))
    every = flags.flags_of(PresetOptions, TrainOptions, config_class)
    docs = [help.field_docs(cls) for cls in (PresetOptions, TrainOptions, config_class)]
    assert [name for name in every if not any(found.get(name) for found in docs)] == []


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EvaluateOptions)])
def test_every_evaluate_option_arrives(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from gymnast.cli import evaluate

    seen: list[EvaluateOptions] = []
    answer = SimpleNamespace(as_json=lambda: {"mean_return": 1.5}, as_text=lambda: "mean return 1.5")
    monkeypatch.setattr(evaluate, "evaluate_path", lambda options: seen.append(options) or answer)
    changes: dict[str, tuple[list[str], Any]] = {
        "path": (["runs/b"], "runs/b"),
        "member": (["3"], 3),
        "env": (["dream:runs/m"], "dream:runs/m"),
        "episodes": (["5"], 5),
        "num_envs": (["2"], 2),
        "seed": (["9"], 9),
        "protocol": (["machado"], "machado"),
        "emulator": (["ours"], "ours"),
        "video": (["videos"], "videos"),
        "against_optimal": (["--against-optimal"], True),
        "picture": (["q.png"], "q.png"),
        "json": (["--json"], True),
        "device": (["auto"], "auto"),
        "trust": (["--trust"], True),
    }
    texts, value = changes[field]
    words = texts if field == "path" or value is True else [f"--{field.replace('_', '-')}", *texts]
    assert main(["evaluate", *words] if field == "path" else ["evaluate", "runs/a", *words]) == 0
    default = EvaluateOptions(path="runs/a")
    assert seen == [dataclasses.replace(default, **{field: value})]


def test_evaluate_prints_text_or_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gymnast.cli import evaluate

    answer = SimpleNamespace(as_json=lambda: {"mean_return": 1.5}, as_text=lambda: "mean return 1.5")
    monkeypatch.setattr(evaluate, "evaluate_path", lambda options: answer)
    assert main(["evaluate", "runs/a"]) == 0
    assert capsys.readouterr().out == "mean return 1.5\n"
    assert main(["evaluate", "--json", "runs/a"]) == 0  # the path may come last
    assert json.loads(capsys.readouterr().out) == {"mean_return": 1.5}


def test_resume_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    result = SimpleNamespace(exit_code=130, as_text=str)
    monkeypatch.setattr(populations, "resume", lambda path, **rest: seen.append((path, rest)) or result)
    words = [
        "--steps",
        "500",
        "runs/a",
        "--device",
        "cpu",
        "--trust",
        "--no-exact-resume",
        "--profile",
        "--ray",
        "local",
    ]
    assert main(["resume", *words]) == 130
    assert main(["resume", "runs/a"]) == 130
    given = {"steps": 500, "device": "cpu", "trust": True, "exact_resume": False, "profile": True}
    plain = {"steps": None, "device": None, "trust": False, "exact_resume": None, "profile": None}
    given["ray"], plain["ray"] = "local", None
    given["command"], plain["command"] = ["gymnast", "resume", *words], ["gymnast", "resume", "runs/a"]
    assert seen == [(Path("runs/a"), given), (Path("runs/a"), plain)]


# Spellings.


@pytest.mark.parametrize(
    "words",
    [["--n-step", "3"], ["--n_step", "3"], ["--n-step=3"], ["--n_step=3"]],
)
def test_dashes_underscores_and_equals_signs(words: list[str], trained: list[SimpleNamespace]) -> None:
    assert main(["train", "n-step-sarsa", "--env=FrozenLake-v1", *words]) == 0
    assert trained[0].config.n_step == 3


def test_a_schedule_and_negative_numbers(trained: list[SimpleNamespace]) -> None:
    words = ["--epsilon", "linear:1:0.05:10000", "--initial-q", "-1e-3", "--low", "-1", "-2.5", "--horizon", "None"]
    assert main(["train", "q-learning", "--env", "FrozenLake-v1", *words]) == 0
    config = trained[0].config
    assert (config.epsilon, config.initial_q, config.low) == ("linear:1:0.05:10000", -0.001, (-1.0, -2.5))
    assert config.horizon is None


def test_command_and_presets_are_handed_on(trained: list[SimpleNamespace]) -> None:
    words = ["train", "dqn", "--preset", "dqn", "cartpole", "--env", "CartPole-v1"]
    assert main(words) == 0
    assert trained[0].command == ["gymnast", *words]
    assert trained[0].presets == ("dqn", "cartpole")
    assert trained[0].agent == "dqn"


def test_presets_apply_from_left_to_right_and_flags_win(
    trained: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = presets.Preset("left", {"dqn": {"n_step": 2, "gamma": 0.5}}, run={"steps": 10, "seed": 1})
    right = presets.Preset("right", {"dqn": {"gamma": 0.6, "tau": 0.7}}, run={"seed": 2})
    monkeypatch.setattr(presets, "PRESETS", {"left": left, "right": right})
    assert main(["train", "dqn", "--tau", "0.8", "--env", "CartPole-v1", "--preset", "left", "right"]) == 0
    options, config = trained[0].options, trained[0].config
    assert (options.steps, options.seed) == (10, 2)
    assert (config.n_step, config.gamma, config.tau) == (2, 0.6, 0.8)


# A user's own agent.


@pytest.mark.parametrize("name", ["./my_agent.py:Mine", "my_agent.py:Mine", "my_agent:Mine"])
def test_a_users_own_agent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[SimpleNamespace]
) -> None:
    (tmp_path / "my_agent.py").write_text(MY_AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_agent", raising=False)
    words = ["--bonus", "0.5", "--betas", "0.5", "0.6", "--colour", "BLUE", "--where", "here"]
    assert main(["train", name, "--env", "FrozenLake-v1", *words]) == 0
    config = trained[0].config
    assert trained[0].agent == name
    assert (config.bonus, config.betas, config.colour.name, config.where) == (0.5, (0.5, 0.6), "BLUE", Path("here"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere.py:Mine", "no file nowhere.py"),
        ("./my_agent.py:Mne", "./my_agent.py has no class Mne; did you mean Mine?"),
        ("./my_agent.py:not_a_class", "not_a_class is a int, not a class"),
        ("./my_agent.py:Half", "Half is not an agent, it has no actor, store, updates_due, scheduled"),
        ("./my_agent.py:Bare", "needs a parameter `config` annotated with a dataclass"),
        ("./my_agent.py:Clash", "ClashConfig.steps has the same name as another option"),
        ("./broken.py:Mine", "cannot import broken.py: ZeroDivisionError: division by zero (broken.py, line 2)"),
        ("no_such_module:Mine", "no module no_such_module; use ./file.py:NAME for a file"),
        ("./my_agent.py", "unknown agent './my_agent.py'"),
    ],
)
def test_what_is_wrong_with_a_users_agent(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_agent.py").write_text(MY_AGENT)
    (tmp_path / "broken.py").write_text("x = 1\nx / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["train", name, "--env", "FrozenLake-v1"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--betas", "0.5"], "--betas takes 2 values, got 0.5"),
        (["--betas", "0.5", "x"], "--betas must be a number, a number, got 0.5 x"),
        (["--colour", "BLEU"], "--colour must be one of RED, BLUE, got BLEU; did you mean BLUE?"),
        (["--function", "x"], "--function must be Callable, got x"),
    ],
)
def test_types_of_a_users_config(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_agent.py").write_text(MY_AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["train", "./my_agent.py:Mine", "--env", "FrozenLake-v1", *words]) == 2
    assert capsys.readouterr().err == f"gymnast: {message}\n"
    assert main(["train", "./my_agent.py:Mine", "--help"]) == 0
    text = capsys.readouterr().out
    assert "My own agent." in text
    assert "Two numbers. (default: 0.9 0.99)" in text


# Help, lists, exit codes.


def test_help_shows_every_option_of_an_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--help"]) == 0
    text = capsys.readouterr().out
    config_class = agents.config_class(agents.agent_class("dqn"))
    for flag in flags.flags_of(PresetOptions, TrainOptions, config_class).values():
        assert f"{flag.name} " in text or f"{flag.name}," in text
    assert "Clip the gradient to this Euclidean norm. (default: 10.0)" in " ".join(text.split())
    headings = [line for line in text.splitlines()[3:] if line and not line.startswith(" ")]
    assert headings == [
        *("run", "many seeds", "evaluation", "logs and checkpoints"),
        *("exploration", "replay", "network", "learning", "speed"),
    ]
    assert max(map(len, text.splitlines())) <= 100


def test_help_says_types_and_defaults_as_a_person_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "--learning-rate FLOAT or schedule",
        "--hidden-sizes INT ... ",
        "--recurrent none|lstm|gru|transformer",
        "--network NAME",
        "--env-options JSON",
        "--stop-return FLOAT",
        "absolute value. (default: off)",
        "--double, --no-double",
    ):
        assert shown in text
    assert "None" not in text
    assert "STR" not in text


@pytest.mark.parametrize("agent", agents.AGENTS)
def test_every_option_has_one_heading(agent: str) -> None:
    names = flags.flags_of(PresetOptions, TrainOptions, agents.config_class(agents.agent_class(agent)))
    found = [name for those in groups.grouped(names).values() for name in those]
    assert sorted(found) == sorted(names)
    placed = [name for those in groups.GROUPS.values() for name in those]
    assert len(set(placed)) == len(placed)


def test_a_heading_names_only_options_that_exist() -> None:
    configs = [agents.config_class(agents.agent_class(agent)) for agent in agents.AGENTS]
    classes = (PresetOptions, TrainOptions, PopulationOptions, RayOptions, *configs)
    known = {name for cls in classes for name in flags.flags_of(cls)}
    assert {name for those in groups.GROUPS.values() for name in those} <= known


def test_help_of_train_is_a_table_of_agents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = lines[lines.index("agents") + 1 :][: len(agents.AGENTS)]
    assert [row.split()[0] for row in rows] == list(agents.AGENTS)


@pytest.mark.parametrize("word", ["off", "automatic", "None"])
def test_what_help_calls_off_is_understood(word: str, trained: list[SimpleNamespace]) -> None:
    assert main(["train", "ppo", "--env", "CartPole-v1", "--max-grad-norm", word, "--optimizer-eps", word]) == 0
    assert (trained[0].config.max_grad_norm, trained[0].config.optimizer_eps) == (None, None)


def test_help_shows_the_defaults_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--preset", "atari", "--help"]) == 0
    assert "(default: 50000000)" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_of_gymnast(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert all(command in capsys.readouterr().out for command in ["train AGENT"])


@pytest.mark.parametrize(
    ("command", "needle"),
    [("train", "q-learning"), ("resume", "RUN"), ("evaluate", "--against-optimal"), ("list", "agents|datasets|envs")],
)
def test_help_of_commands(command: str, needle: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert needle in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gymnast {__version__}\n"


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(what: str) -> Any:
        assert main(["list", what, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    def printed(what: str) -> str:
        assert main(["list", what]) == 0
        return capsys.readouterr().out

    assert list(listed("agents")) == list(agents.AGENTS)
    assert [line.split()[0] for line in printed("agents").splitlines()] == list(agents.AGENTS)
    envs = listed("envs")
    assert "gymnast/Bandit-v0" in envs["gymnast"]
    assert {"gymnast/CartPole-v1", "gymnast/Acrobot-v1"} <= set(envs["device-native"])
    assert "CartPole-v1" in envs["classic control"]
    assert {"ALE/Pong-v5", "ALE/Breakout-v5"} <= set(envs["Atari"])
    listed_ids = {id for ids in envs.values() for id in ids}
    assert not {"Ant-v2", "GymV21Environment-v0"} & listed_ids  # which only say where they have gone
    assert ("Ant-v5" in listed_ids) == (find_spec("mujoco") is not None)
    assert ("LunarLander-v3" in listed_ids) == (find_spec("Box2D") is not None)
    assert "FrozenLake-v1" in envs["toy text"]
    assert "ALE/Pong-v5" in envs["Atari"]
    assert "  ALE/Pong-v5\n" in printed("envs")
    assert {"mlp", "nature-cnn"} <= listed("networks").keys()
    assert "nature-cnn" in printed("networks")
    assert list(listed("presets")) == list(presets.PRESETS)
    assert "--learning-rate 0.00025" in printed("presets")


def test_the_resolved_config_is_printed(capsys: pytest.CaptureFixture[str], trained: list[SimpleNamespace]) -> None:
    assert main(["train", "n-step-sarsa", "--env", "Taxi-v4", "--n-step", "3"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nwhat the run reached\n")
    lines = [line.split() for line in out.splitlines()]
    assert ["env", "Taxi-v4"] in lines
    assert ["n-step", "3", "(default", "4)"] in lines
    assert ["steps", "100000"] in lines


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (KeyboardInterrupt(), 130, ""),
        (UsageError("two\nlines"), 2, "gymnast: two lines\n"),
        (RunError("the loss is nan"), 1, "gymnast: the loss is nan\n"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "q-learning", "--env", "Taxi-v4"]) == code
    assert capsys.readouterr().err == printed


def gymnast(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gymnast", *words], capture_output=True, text=True, **options)


def test_python_m_gymnast() -> None:
    done = gymnast("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gymnast {__version__}\n", "")
    failed = gymnast("lst")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == (
        "gymnast: unknown command 'lst'; choose from train, fit, pretrain, sample, probe, explain, dream, hopfield, "
        "resume, evaluate, record, export, import, serve, watch, benchmark, ablate, tune, report, list, check-env; "
        "did you mean list?\n"
    )


@pytest.mark.parametrize(
    "words", [["--help"], *(["list", name] for name in ("agents", "presets", "references", "networks"))]
)
def test_quick_commands_import_nothing_heavy(words: list[str]) -> None:
    heavy = ("torch", "tyro", "rich", "numba", "wandb", "tensorboard", "matplotlib", "ale_py", "av")
    code = (
        f"import sys; from gymnast.cli.main import main; main({words!r}); "
        f"sys.exit(' '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plain_dqn_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Without video and trackers; Matplotlib, which draws the curve at the end, after training."""
    heavy = ("matplotlib", "PIL", "av", "tensorboard", "wandb", "numba", "scipy", "ale_py", "torch._dynamo", "pandas")
    words = ["train", "dqn", "--env", "CartPole-v1", "--steps", "80", "--learning-starts", "40", "--eval-episodes", "1"]
    words += ["--no-video", "--replay-size", "1000", "--out", str(tmp_path)]
    code = (
        f"import sys; from gymnast.cli.main import main; from gymnast.reports import learning_curve; "
        f"learning_curve.learning_curve = lambda runs, out: None; code = main({words!r}); "
        f"sys.exit(code or ' '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "gymnast", "list", "envs"], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (141, "")
