"""References: every agent has one, each is a valid run, and the command line, Python and populations resolve it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gymnast import train
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.populations import request as population
from gymnast.settings import agents, presets, request
from gymnast.settings.options import TrainOptions
from gymnast.settings.reference import Reference
from gymnast.settings.references import REFERENCES
from gymnast.training import train as training

PLANNERS = ("value-iteration", "policy-iteration")


def test_every_agent_has_a_reference() -> None:
    assert {row.agent for row in REFERENCES.values()} == set(agents.AGENTS)
    assert all(name.startswith(row.agent + "-") for name, row in REFERENCES.items())


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_a_valid_run(name: str) -> None:
    row = REFERENCES[name]
    fields = {field.name for field in dataclasses.fields(TrainOptions)}
    fields |= {field.name for field in dataclasses.fields(agents.config_class(agents.agent_class(row.agent)))}
    assert row.values.keys() <= fields
    asked = request.of_reference(name)
    made = dataclasses.asdict(asked.options) | dataclasses.asdict(asked.config)
    assert row.values.items() <= made.items()
    assert made["eval_episodes"] == row.episodes
    assert (row.steps is None) == (row.agent in PLANNERS)
    assert row.help
    assert row.source


def resolved(*words: str) -> request.Request:
    return request.resolve(words[0], words[1:], of=f"train {words[0]}")


def test_a_reference_is_its_environment_presets_and_options() -> None:
    asked = resolved("r2d2", "--reference", "r2d2-memory", "--seed", "3", "--steps", "500", "--hidden-sizes", "9")
    assert asked.options == TrainOptions(
        env="gymnast/Memory-v0", num_envs=8, seed=3, steps=500, eval_every=5_000, eval_episodes=100
    )
    assert asked.config == dataclasses.replace(
        agents.default_config("r2d2"), epsilon="linear:1:0.05:5000", hidden_sizes=(9,)
    )
    assert asked.reference == "r2d2-memory"
    asked = resolved("ppo", "--reference", "ppo-pendulum")
    assert asked.config == presets.config("ppo", "pendulum")
    assert asked.presets == ("pendulum",)
    assert resolved("ppo", "--env", "Pendulum-v1").reference is None


def test_options_of_a_references_network_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Reference("", "dqn", "gymnast/Catch-v0", 1.0, "", options={"network": "densenet"})
    monkeypatch.setitem(REFERENCES, "dqn-small", row)
    asked = resolved("dqn", "--reference", "dqn-small", "--network.growth", "8")
    assert asked.config.network_options == {"growth": 8}
    assert asked.config.network == "densenet"


def test_a_reference_in_python() -> None:
    asked = request.of_reference("dqn-cartpole", seed=2, name="own")
    assert asked == resolved("dqn", "--reference", "dqn-cartpole", "--seed", "2", "--name", "own")
    with pytest.raises(UsageError, match="train dqn has no option sed; did you mean seed"):
        request.of_reference("dqn-cartpole", sed=2)
    with pytest.raises(UsageError, match="did you mean dqn-cartpole"):
        request.of_reference("dqn-cartpol")


def test_a_population_of_a_reference() -> None:
    words = ["--reference", "ppo-cartpole", "--seeds", "0:3", "--vary", "learning-rate=1e-3,2e-3,3e-3"]
    asked = population.resolve("ppo", words, of="train ppo")
    assert asked.run.options.env == "CartPole-v1"
    assert asked.run.config == presets.config("ppo", "cartpole")
    assert asked.vary == {"learning_rate": (1e-3, 2e-3, 3e-3)}
    assert asked.seeds == range(3)


WRONG = [
    (["dqn", "--reference", "dqn-cartpol"], "unknown reference 'dqn-cartpol'; choose from dqn-cartpole; did you mean"),
    (["sarsa", "--reference", "zebra"], "unknown reference 'zebra'; choose from sarsa-cliffwalking"),
    (["dqn", "--reference", "ppo-cartpole"], "the reference ppo-cartpole is for ppo, not for dqn"),
    (["dqn", "--reference", "ppo-cartpole", "--seeds", "0:2"], "the reference ppo-cartpole is for ppo, not for dqn"),
    (
        ["ppo", "--reference", "ppo-cartpole", "--env", "CartPole-v1"],
        "--env cannot be combined with --reference, which has its own; drop one of them",
    ),
    (["ppo", "--reference", "ppo-cartpole", "--preset", "classic"], "--preset cannot be combined with --reference"),
    (["ppo", "--reference"], "--reference needs a value"),
    (["sarsa", "--reference", "sarsa-cliffwalking", "--seeds", "0:2"], "--seeds trains ppo, pqn, dqn"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_reference_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gymnast: {message}")
    assert error.count("\n") == 1


def test_a_benchmark_names_its_environments_itself(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "CartPole-v1", "--agents", "ppo", "--", "--reference", "ppo-cartpole"]
    assert main(words) == 2
    assert "--env cannot be combined with --reference" in capsys.readouterr().err


def test_help_shows_a_references_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dyna-q", "--reference", "dyna-q-maze", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "(default: gymnast/DynaMaze-v0)" in out
    assert "(default: 5000)" in out


def test_the_command_line_hands_on_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    answer = SimpleNamespace(exit_code=0, as_text=str)
    monkeypatch.setattr(training, "train", lambda *_, **rest: calls.append(rest) or answer)
    assert main(["train", "ucb", "--reference", "ucb-bandit"]) == 0
    assert main(["train", "ucb", "--env", "gymnast/Bandit-v0"]) == 0
    assert [call["reference"] for call in calls] == ["ucb-bandit", None]


def test_config_json_records_the_name(tmp_path: Path) -> None:
    asked = request.of_reference("n-step-sarsa-chain", steps=50, out=str(tmp_path), video=False)
    result = train(asked.agent, asked.options, asked.config, presets=asked.presets, reference=asked.reference)
    kept = json.loads((result.path / "config.json").read_text(encoding="utf-8"))
    assert kept["reference"] == "n-step-sarsa-chain"
    assert kept["run"]["env"] == "gymnast/Chain-v0"


def test_references_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "references"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["reference", "agent", "environment", "steps", "published"]
    assert [line.split()[0] for line in lines] == list(REFERENCES)
    (acrobot,) = (line.split(maxsplit=4) for line in lines if line.startswith("ppo-acrobot "))
    assert acrobot == ["ppo-acrobot", "ppo", "Acrobot-v1", "300,000", "-73.5 (RL Zoo, 1M)"]
    assert main(["list", "references", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content) == list(REFERENCES)
    assert content["ppo-acrobot"]["published"] == -73.5
    assert content["value-iteration-frozenlake"]["steps"] is None
