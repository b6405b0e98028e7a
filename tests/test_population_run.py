"""Runs of populations: the command line, what they leave behind, and what is refused."""

import csv
import json
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.evaluation.play import evaluate
from gymnast.populations import session as population_session
from gymnast.populations import spread
from gymnast.populations.files import Members, read_member
from gymnast.populations.train import train
from gymnast.reports import comparison, gather
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint
from gymnast.storage.metrics_log import read
from gymnast.storage.rebuild import load

CARTPOLE = "gymnast/CartPole-v1"
SMALL = "--rollout-steps 16 --hidden-sizes 8 8 --num-envs 4 --eval-episodes 2 --device cpu --name run"


def run(folder: Path, words: str) -> tuple[int, Path]:
    """Exit code and folder of a small population."""
    code = main(["train", "ppo", "--env", CARTPOLE, *f"{words} {SMALL}".split(), "--out", str(folder)])
    return code, folder / "gymnast-CartPole-v1" / "ppo" / "run"


def table(path: Path) -> list[dict[str, str]]:
    with open(path / "members.csv", newline="") as file:
        return list(csv.DictReader(file))


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read(path / "metrics.jsonl") if record["kind"] == kind]


def test_a_run_leaves_its_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--seeds 4:8 --steps 256 --eval-every 128 --log-every 128 --vary learning-rate=1e-3:1e-2 gamma=0.9,0.99"
    code, path = run(tmp_path, words)
    assert code == 0
    rows = table(path)
    assert [row["seed"] for row in rows] == ["4", "5", "6", "7"]
    assert [float(row["learning_rate"]) for row in rows] == [0.001, 0.001, 0.01, 0.01]
    assert [row["gamma"] for row in rows] == ["0.9", "0.99", "0.9", "0.99"]
    assert len(records(path, "eval")) == 2
    (final,) = records(path, "final")
    assert final["members"] == 4
    assert final["mean_return"] == pytest.approx(np.mean([float(row["mean_return"]) for row in rows]))
    assert final["best_return"] == max(float(row["mean_return"]) for row in rows)
    assert records(path, "train")[-1]["return_median"] > 0
    config = json.loads((path / "config.json").read_text())
    assert config["population"] == {"seeds": "4:8", "vary": words.split("--vary ")[1].split(), "vary_zip": []}
    shown = capsys.readouterr().out
    assert "4 members after 256 env steps each" in shown
    best = load(path)
    assert isinstance(best, ActorCritic)
    chosen = max(rows, key=lambda row: float(row["eval_return"]))
    assert best.config.learning_rate == float(chosen["learning_rate"])
    about, _ = checkpoint.read(path / "checkpoints" / "best.pt")
    assert about.score == float(chosen["eval_return"])
    assert evaluate(best, CARTPOLE, episodes=2, seed=about.score_seed or 0).mean_return == about.score


def test_a_report_has_a_row_for_each_setting_and_its_members_as_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = run(tmp_path, "--seeds 0:8 --steps 128 --vary gamma=0.5,0.9 clip=0.1,0.3")
    assert main(["report", str(path), "--out", str(tmp_path / "report"), "--resamples", "100"]) == 0
    found = comparison.compare(gather.labelled(gather.find([str(path)])), title="test", resamples=100)
    labels = [f"ppo, gamma {gamma}, clip {clip}" for gamma in (0.5, 0.9) for clip in (0.1, 0.3)]
    assert list(found.table.agents) == labels
    rows = table(path)
    for label, first in zip(labels, range(4), strict=True):
        members = found.table.of_cell(label, CARTPOLE)
        assert [member.seed for member in members] == [first, first + 4]
        assert [member.score for member in members] == [float(rows[first + turn]["mean_return"]) for turn in (0, 4)]
    text = (tmp_path / "report" / "report.md").read_text()
    assert all(label in text for label in labels)
    alone, other = tmp_path / "alone", tmp_path / "gymnast-CartPole-v1"
    words = f"train ppo --env {CARTPOLE} --steps 128 --seed 9 --no-video --native --out {tmp_path} {SMALL}"
    assert main([*words.replace("--name run", "--name alone").split()]) == 0
    assert main(["report", str(other), "--out", str(alone), "--resamples", "100"]) == 0  # beside a single run


def test_a_report_draws_the_members_curves(tmp_path: Path) -> None:
    _, path = run(tmp_path, "--seeds 0:4 --steps 192 --eval-every 64 --vary gamma=0.5,0.9")
    logged = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    assert [record["env_step"] for record in logged] == [64, 128, 192]
    means = [record["mean_return"] for record in records(path, "eval")]
    assert [np.mean(record["returns"]) for record in logged] == pytest.approx(means)
    best = np.max([record["returns"] for record in logged], axis=0)
    assert [float(row["eval_return"]) for row in table(path)] == best.tolist()
    found = comparison.compare(gather.labelled([path]), title="test", resamples=100)
    moments, curves = found.curves[CARTPOLE]
    assert moments.tolist() == found.moments.tolist() == [64, 128, 192]
    for label, first in (("ppo, gamma 0.5", 0), ("ppo, gamma 0.9", 1)):
        of_setting = [np.mean([record["returns"][first], record["returns"][first + 2]]) for record in logged]
        assert curves[label].value.tolist() == pytest.approx(of_setting)
    assert main(["report", str(path), "--out", str(tmp_path / "report"), "--resamples", "100"]) == 0
    assert {"curves.png", "efficiency.png"} <= {file.name for file in (tmp_path / "report").iterdir()}


def test_curves_of_members_and_what_is_wrong_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation whose return is not finite is no point; a folder without the file has no curves."""
    _, path = run(tmp_path, "--seeds 0:2 --steps 64")
    file = path / "evaluations.jsonl"

    def curves() -> list[Any]:
        return [run.evaluations.tolist() for run in gather.gather(gather.labelled([path])).runs]

    file.write_text('{"env_step":8,"returns":[1.5,null]}\n{"env_step":16,"returns":[2.0,4.0]}\n')
    assert curves() == [[[8, 1.5], [16, 2.0]], [[16, 4.0]]]
    file.write_text("")
    assert curves() == [[], []]
    file.unlink()
    assert curves() == [[], []]
    for text, message in (
        ('{"env_step":8,"returns":[1.0]}\n', "has evaluations of other members than members.csv"),
        ("[]\n", "the evaluations cannot be read"),
    ):
        file.write_text(text)
        capsys.readouterr()
        assert main(["report", str(path), "--out", str(tmp_path / "report")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_member_can_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = run(tmp_path, "--seeds 0:2 --steps 128 --vary gamma=0.5,0.9 --normalise-obs")
    words = ["evaluate", str(path), "--episodes", "2", "--json"]
    found = {}
    for member in (0, 1):
        capsys.readouterr()
        assert main([*words, "--member", str(member)]) == 0
        found[member] = json.loads(capsys.readouterr().out)
    best = max((0, 1), key=lambda member: float(table(path)[member]["eval_return"]))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["mean_return"] == found[best]["mean_return"]
    assert main([*words, "--member", "7"]) == 2
    assert "--member must be a seed of" in capsys.readouterr().err


def test_what_was_trained_on_a_gpu_loads_anywhere(tmp_path: Path) -> None:
    config, actions = ActorCriticConfig(rollout_steps=8, hidden_sizes=(8,)), spaces.Discrete(2)
    population = ActorCriticPopulation(spaces.Box(-1.0, 1.0, (3,), np.float32), actions, config, seeds=(0, 1))
    population.config = replace(config, cuda_graphs=True)
    members = Members(tmp_path, "ppo", CARTPOLE, TrainOptions(env=CARTPOLE), population, (5, 6))
    weights = population.weights()
    members.write_all(weights)
    members.write_best(1, weights, 2.0)
    best: Any = load(tmp_path / "checkpoints" / "best.pt")
    assert torch.equal(best.weights.data, weights["parameters"][1])
    assert not best.config.cuda_graphs
    about, state = read_member(tmp_path, 5)
    assert (about.run["seed"], about.config["cuda_graphs"]) == (5, False)
    assert torch.equal(state["network"]["policy.weight"], population.network_state(weights, 0)["policy.weight"])


def test_the_kept_members_are_those_of_single_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--steps 256 --eval-every 64 --normalise-obs"
    _, path = run(tmp_path / "all", f"{words} --seeds 0:2")
    finals = []
    for seed in (0, 1):
        _, alone = run(tmp_path / str(seed), f"{words} --seed {seed} --no-video --native")
        finals.append(records(alone, "final")[0]["mean_return"])
    assert [float(row["mean_return"]) for row in table(path)] == finals


def test_a_signal_leaves_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = population_session.PopulationSession.log

    def interrupted(session: Any) -> None:
        log(session)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(population_session.PopulationSession, "log", interrupted)
    code, path = run(tmp_path, "--seeds 0:2 --steps 100000 --log-every 64")
    assert code == 130
    assert [row["eval_return"] for row in table(path)] == ["", ""]
    assert (path / "checkpoints" / "members.pt").is_file()
    assert len(records(path, "train")) == 1


def test_it_stops_once_every_member_has_reached_the_return(tmp_path: Path) -> None:
    code, path = run(tmp_path, "--seeds 0:2 --steps 100000 --eval-every 64 --stop-return 1")
    assert code == 0
    assert records(path, "final")[0]["env_step"] == 64


def test_a_population_that_is_no_longer_finite_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(tmp_path, "--seeds 0:2 --steps 10000 --log-every 64 --learning-rate 1e38")
    assert code == 1
    assert "no member has a finite loss" in capsys.readouterr().err


def test_a_member_that_is_no_longer_finite_does_not_stop_the_others(tmp_path: Path) -> None:
    code, path = run(tmp_path, "--seeds 0:2 --steps 128 --log-every 128 --vary learning_rate=1e-3,1e38")
    assert code == 0
    assert records(path, "train")[-1]["diverged"] == 1
    assert np.isfinite(records(path, "train")[-1]["loss"])


def test_a_member_whose_returns_are_no_numbers_is_left_out(tmp_path: Path) -> None:
    words = f"train ppo --env gymnast/Pendulum-v1 --seeds 0:3 --steps 400 --eval-every 200 {SMALL}".split()
    assert main([*words, "--vary", "learning_rate=1e38,1e-3", "--out", str(tmp_path)]) == 0
    path = tmp_path / "gymnast-Pendulum-v1" / "ppo" / "run"
    rows = table(path)
    assert [row["mean_return"] == "" for row in rows] == [True, False, True]
    (final,) = records(path, "final")
    assert final["best_return"] == final["worst_return"] == float(rows[1]["mean_return"])
    assert final["best_seed"] == 1


@pytest.mark.slow
def test_a_population_learns(tmp_path: Path) -> None:
    command = f"train ppo --env {CARTPOLE} --seeds 0:8 --num-envs 8 --steps 25000 --device cpu --name run --out"
    assert main([*command.split(), str(tmp_path)]) == 0
    (final,) = records(tmp_path / "gymnast-CartPole-v1" / "ppo" / "run", "final")
    assert final["median_return"] > 150


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train es --env {} --seeds 0:2",
            "--seeds trains ppo, pqn, dqn, sac and their variants as a population",
        ),
        (
            "train r2d2 --env {} --seeds 0:2",
            "recurrent lstm cannot be used in a population, which supports only recurrent none; train without --seeds",
        ),
        ("train dqn --env {} --seeds 0:2 --life-loss", "supports only life_loss False; train without --seeds"),
        (
            "train noisy-dqn --env {} --seeds 0:2 --vary epsilon=0.1,0.2",
            "epsilon cannot vary between members with noisy",
        ),
        ("train a3c --env {} --seeds 0:2", "workers 4 cannot be used in a population"),
        ("train pqn --env {} --seeds 0:2 --vary entropy-coef=0,1", "entropy_coef cannot vary between members"),
        ("train dqn --env {} --seeds 0:2 --vary target-period=10,2.5", "target_period must be a whole number, got 2.5"),
        ("train dqn --env {} --seeds 0:2 --replay-size 3", "replay_size must be >= 5 for 1 environments, got 3"),
        ("train pqn --env gymnast/MinAtar-Breakout-v1 --seeds 0:2 --network minatar-cnn", "use backbone mlp"),
        ("train ppo --env {} --seeds 0:2 --seed 1", "--seed cannot be combined with --seeds"),
        ("train ppo --env {} --seeds 0:2 --no-native", "--no-native cannot be combined with --seeds"),
        ("train ppo --env {} --seeds 0:2 --video", "--video cannot be combined with --seeds"),
        ("train ppo --env {} --seeds 3", "--seeds must be A:B, the seeds from A to B - 1, got '3'"),
        ("train ppo --env {} --seeds 3:3", "--seeds A:B needs A < B, got 3:3"),
        ("train ppo --env {} --vary gamma=0.9", "--vary needs --seeds A:B"),
        ("train ppo --env {} --seeds 0:2 --vary gamma", "--vary takes name=low:high, name=low:high:log or name=a,b,c"),
        (
            "train ppo --env {} --seeds 0:2 --vary gamma=0.9 --gamma 0.8",
            "--gamma and --vary gamma are the same setting",
        ),
        ("train ppo --env {} --seeds 0:2 --vary gamma=0.9 gamma=0.8", "--vary sets gamma twice"),
        (
            "train ppo --env {} --seeds 0:3 --vary gamma=0.8,0.9 clip=0.1,0.2",
            "--vary needs at least 4 members for gamma",
        ),
        ("train ppo --env {} --seeds 0:3 --vary-zip gamma=0.8,0.9 clip=1,2,3", "--vary-zip needs equally many values"),
        ("train ppo --env {} --vary-zip gamma=0.8,0.9", "--vary needs --seeds A:B"),
        ("train ppo --env {} --seeds 0:2 --vary gama=0.9", "gama cannot vary between members; learning_rate, gamma"),
        ("train ppo --env {} --seeds 0:2 --vary gamma=0.9,1.5", "gamma must be between 0 and 1, got 1.5"),
        ("train ppo --env {} --seeds 0:2 --recurrent lstm", "recurrent lstm cannot be used in a population"),
        ("train ppo --env FrozenLake-v2 --seeds 0:2", "FrozenLake-v2"),
        ("train ppo --env Ant-v5 --seeds 0:2", "a population needs a device-native environment, and Ant-v5 has no"),
        (
            "train dqn --env tests.test_envs_incoming:Scripted --seeds 0:2",
            "a population needs a device-native environment, and tests.test_envs_incoming:Scripted has no such version",
        ),
        ("train pqn --env Pong --seeds 0:2", "train without --seeds, or write its rules for all rows at once"),
        ("evaluate . --member 3", "--member needs a population run"),
    ],
)
def test_wrong_input_is_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.format(CARTPOLE).split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("gamma=0.9:1.0", (0.9, 0.95, 1.0)),
        ("learning-rate=1e-4:1e-2:log", (1e-4, 1e-3, 1e-2)),
        ("clip=0.1,0.2", (0.1, 0.2, 0.1)),
        ("clip=0.3", (0.3, 0.3, 0.3)),
        ("clip=0.3:0.1", (0.3, 0.2, 0.1)),
    ],
)
def test_settings_are_spread(text: str, values: tuple[float, ...]) -> None:
    (name,) = found = spread.spread([text], [], 3)
    assert name == text.partition("=")[0].replace("-", "_")
    assert found[name] == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize(
    ("crossed", "together", "rows"),
    [
        (["a=1,2", "b=3,4"], [], [(1, 3), (1, 4), (2, 3), (2, 4)]),
        (["a=1,2", "b=3,4,5"], [], [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]),
        (["a=1,2", "b=0:10"], [], [(1, 0), (2, 0), (1, 5), (2, 5), (1, 10), (2, 10)]),
        ([], ["a=1,2", "b=3,4"], [(1, 3), (2, 4)]),
        ([], ["a=0:2", "b=1:100:log"], [(0, 1), (1, 10), (2, 100)]),
        ([], ["a=1,2,3", "b=0:1"], [(1, 0), (2, 0.5), (3, 1)]),
        (["a=1,2"], ["b=3,4", "c=5,6"], [(1, 3, 5), (1, 4, 6), (2, 3, 5), (2, 4, 6)]),
    ],
)
def test_settings_are_crossed_or_change_together(
    crossed: list[str], together: list[str], rows: list[tuple[float, ...]]
) -> None:
    found = spread.spread(crossed, together, len(rows))
    assert list(zip(*found.values(), strict=True)) == [pytest.approx(row) for row in rows]


def test_every_combination_is_met_equally_often() -> None:
    found = spread.spread(["a=1,2", "b=3,4,5", "c=6,7"], [], 36)
    assert set(Counter(zip(*found.values(), strict=True)).values()) == {3}


@pytest.mark.parametrize(
    ("crossed", "together", "members", "message"),
    [
        (["a=1,2", "b=3,4"], [], 3, r"vary needs at least 4 members for a \(2\) x b \(2\), but seeds has 3"),
        (["a=1,2,3"], [], 2, r"vary needs at least 3 members for a \(3\), but seeds has 2"),
        (["a=1,2", "b=3:4"], [], 3, r"vary needs at least 4 members for a \(2\) x b \(a range\), but seeds has 3"),
        (["a=1:2", "b=3:4"], [], 9, "vary cannot cross two ranges, a and b: list the values of one, or use --vary-zip"),
        ([], ["a=1,2", "b=3,4,5"], 6, "vary_zip needs equally many values of each setting: a has 2, b has 3"),
        (["a=1,2"], ["a=3,4"], 6, "vary sets a twice"),
    ],
)
def test_values_that_no_member_would_have_are_refused(
    crossed: list[str], together: list[str], members: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spread.spread(crossed, together, members)


@pytest.mark.parametrize(
    "text", ["=1", "gamma=", "gamma=a", "gamma=1:2:lin", "clip=0:1:log", "clip=1:2:log:3", "clip=nan"]
)
def test_settings_that_cannot_be_spread(text: str) -> None:
    with pytest.raises(ValueError, match=r"vary (takes|needs)"):
        spread.spread([text], [], 3)


def test_a_population_from_python(tmp_path: Path) -> None:
    options = TrainOptions(env=CARTPOLE, steps=64, num_envs=2, eval_episodes=1, out=str(tmp_path), device="cpu")
    config = ActorCriticConfig(rollout_steps=8, hidden_sizes=(8,))
    result = train("ppo", options, config, seeds=range(2), vary={"clip": (0.1, 0.3)})
    assert (result.exit_code, result.env_step, len(result.returns)) == (0, 64, 2)
    with pytest.raises(UsageError, match="clip needs 3 numbers"):
        train("ppo", options, config, seeds=range(3), vary={"clip": (0.1, 0.3)})
