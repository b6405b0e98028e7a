"""Studies: the same seed tries the same settings, a killed study goes on where it was, bad input is one line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import gymnast
from gymnast import errors
from gymnast.cli.main import main
from gymnast.settings.request import resolve
from gymnast.storage.metrics_log import read
from gymnast.storage.mirror import Mirror, read_by_reports
from gymnast.suites.jobs import Ended, Task
from gymnast.tuning import scores, search
from gymnast.tuning.findings import Findings, preset
from gymnast.tuning.options import TuneOptions

SPACE = """
alpha = { low = 0.01, high = 1.0, log = true }
epsilon = { low = 0.0, high = 0.5 }
initial_q = [0.0, 1.0, 2.0]
"""
GRID = "alpha = [0.1, 0.5]\nn-step = { low = 1, high = 5, step = 2 }"
STEPS = 100


class Played:
    """A run that ended at once."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> Ended:
        return Ended(self.code, "it broke")

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Place:
    """Takes the place of the processes: writes runs whose returns rise towards a value that depends on alpha."""

    started: list[str]
    dies_at: int | None = None
    """The number of the run that ends the whole study."""
    breaks: Callable[[float], bool] = staticmethod(lambda alpha: False)

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def room(self) -> int:
        return self.jobs

    def start(self, task: Task) -> Played:
        if Place.dies_at == len(Place.started):
            raise KeyboardInterrupt
        Place.started.append(task.path.name)
        words = list(task.words)
        alpha = float(words[words.index("--alpha") + 1])
        if Place.breaks(alpha):
            return Played(1)
        rows: list[dict[str, Any]] = [
            {"kind": "eval", "env_step": at, "mean_return": (1 - abs(alpha - 0.3)) * at}
            for at in range(10, STEPS + 1, 10)
        ]
        rows.append({"kind": "final", "env_step": STEPS, "mean_return": 0.0})
        task.path.mkdir(parents=True)
        kept = {"agent": words[1], "config": {}, "run": {"steps": STEPS}, "command": ["gymnast", *words]}
        (task.path / "config.json").write_text(json.dumps(kept))
        (task.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Played(0)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> type[Place]:
    monkeypatch.setattr(search, "Processes", Place)
    monkeypatch.setattr(search.trials.jobs, "POLL", 0.0)
    monkeypatch.setattr(Place, "started", [], raising=False)
    monkeypatch.setattr(Place, "dies_at", None)
    monkeypatch.setattr(Place, "breaks", staticmethod(lambda alpha: False))
    return Place


def options(out: Path, text: str = SPACE, **changes: Any) -> TuneOptions:
    file = out / "space.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    usual: dict[str, Any] = {"agent": "n-step-sarsa", "env": "gymnast/Chain-v0", "space": str(file), "trials": 8}
    usual |= {"steps": STEPS, "seeds": 2, "out": str(out), "name": "study", "pruner": "none"}
    return TuneOptions(**(usual | changes))


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "study" / "trials.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tried(out: Path) -> list[tuple[str, ...]]:
    """State, score and settings of every trial that counts."""
    return [tuple(value for name, value in row.items() if name not in ("trial", "runs")) for row in rows(out)]


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("tpe", "median"), ("gp", "none"), ("cmaes", "none"), ("random", "hyperband")]
)
def test_one_seed_gives_the_same_trials_twice(sampler: str, pruner: str, tmp_path: Path) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    chosen: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "trials": 14}
    for folder in ("a", "b"):
        assert gymnast.tune(options(tmp_path / folder, **chosen)).exit_code == 0
    assert tried(tmp_path / "a") == tried(tmp_path / "b")
    assert len(set(tried(tmp_path / "a"))) == 14
    gymnast.tune(options(tmp_path / "c", **chosen | {"trials": 1}, seed=1))
    assert tried(tmp_path / "c")[0] != tried(tmp_path / "a")[0]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_study_goes_on_as_if_nothing_had_happened(
    sampler: str, tmp_path: Path, place: type[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies while the second run of trial 3 starts."""
    chosen: dict[str, Any] = {"sampler": sampler, "trials": 14}
    whole = gymnast.tune(options(tmp_path / "whole", **chosen))
    started = list(place.started)
    place.started.clear()
    monkeypatch.setattr(place, "dies_at", 7)
    with pytest.raises(KeyboardInterrupt):
        gymnast.tune(options(tmp_path / "killed", **chosen))
    monkeypatch.setattr(place, "dies_at", None)
    found = gymnast.tune(options(tmp_path / "killed", **chosen))
    assert tried(tmp_path / "killed") == tried(tmp_path / "whole")
    assert found.settings == whole.settings
    assert len(place.started) == len(started) == 28  # no run twice
    assert place.started[:8] == started[:8]
    runs = [row["runs"] for row in rows(tmp_path / "killed")]
    assert runs[:5] == ["trial-0000", "trial-0001", "trial-0002", "trial-0003", "trial-0005"]
    states = [trial.state.name for trial in stored(tmp_path / "killed").trials]
    assert states == [*["COMPLETE"] * 3, "FAIL", *["COMPLETE"] * 11]


def stored(out: Path) -> optuna.Study:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{out / 'study' / 'study.db'}")


def test_a_study_is_extended_and_not_repeated(tmp_path: Path, place: type[Place]) -> None:
    gymnast.tune(options(tmp_path / "a", trials=5))
    gymnast.tune(options(tmp_path / "a", trials=9, jobs=2))
    gymnast.tune(options(tmp_path / "b", trials=9))
    assert len(place.started) == 2 * (9 + 9)
    assert len(rows(tmp_path / "a")) == 9
    assert tried(tmp_path / "a")[:5] == tried(tmp_path / "b")[:5]
    assert gymnast.tune(options(tmp_path / "a", trials=9)).exit_code == 0
    assert len(place.started) == 2 * (9 + 9)


def test_all_points_of_a_grid(tmp_path: Path) -> None:
    found = gymnast.tune(options(tmp_path, GRID, sampler="grid", trials=None))
    points = [(row["alpha"], row["n_step"]) for row in rows(tmp_path)]
    assert points == [(alpha, n) for alpha in ("0.1", "0.5") for n in ("1", "3", "5")]
    assert found.settings["alpha"] in (0.1, 0.5)
    assert found.score == pytest.approx(0.8 * 95.0)  # the mean of the last quarter: 90 and 100


def test_a_worse_trial_is_pruned_by_its_evaluations(tmp_path: Path) -> None:
    gymnast.tune(options(tmp_path, trials=14, pruner="median"))
    pruned = [trial for trial in stored(tmp_path).trials if trial.state.name == "PRUNED"]
    assert pruned
    assert all(0.25 * STEPS <= max(trial.intermediate_values) < 2 * STEPS for trial in pruned)
    assert all(trial.number >= 5 for trial in pruned)


def test_a_trial_that_fails_does_not_end_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Place, "breaks", staticmethod(lambda alpha: alpha > 0.2))
    assert gymnast.tune(options(tmp_path, GRID, sampler="grid", trials=None)).exit_code == 0
    assert [row["state"] for row in rows(tmp_path)] == [*["complete"] * 3, *["fail"] * 3]
    assert "trial 3 failed: it broke (3/6)" in capsys.readouterr().err
    monkeypatch.setattr(Place, "breaks", staticmethod(lambda alpha: True))
    found = gymnast.tune(options(tmp_path, GRID, sampler="grid", trials=None, name="none"))
    assert (found.exit_code, found.settings, found.score, found.files) == (1, {}, None, ())
    assert found.as_text() == "no trial has a score yet"


def test_files_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = gymnast.tune(options(tmp_path, trials=12))
    names = ["best.toml", "trials.csv", "history.png", "importance.png"]
    assert [file.name for file in found.files] == names
    assert all(file.stat().st_size > 100 for file in found.files)
    table = found.as_text()
    assert "the best of 12 complete trials" in table
    assert table.count("│") == 10 * 6  # ten rows of five columns
    assert f"wrote {tmp_path / 'study' / 'best.toml'}" in table
    capsys.readouterr()


def test_the_preset_is_the_best_run(tmp_path: Path) -> None:
    gymnast.tune(options(tmp_path))
    file = tmp_path / "study" / "best.toml"
    best = max(rows(tmp_path), key=lambda row: float(row["score"]))
    read_back = resolve("n-step-sarsa", ["--preset", str(file)], of="train")
    assert read_back.config.alpha == float(best["alpha"])
    assert read_back.config.initial_q == float(best["initial_q"])
    assert (read_back.options.env, read_back.options.steps) == ("gymnast/Chain-v0", STEPS)
    assert resolve("n-step-sarsa", ["--preset", str(file), "--alpha", "0.5"], of="train").config.alpha == 0.5


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("ppo", ["--preset", "cartpole", "--hidden-sizes", "8", "16", "--bf16"]),
        ("rainbow", ["--preset", "classic", "--no-dueling", "--epsilon", "linear:1:0.1:500", "--n-step", "1"]),
        ("dqn", ["--network", "resnet", "--network.width", "2", "--wrapper", "RescaleAction:min_action=0"]),
    ],
)
def test_a_preset_has_all_settings_of_a_run(agent: str, words: list[str], tmp_path: Path) -> None:
    whole = ["--env", "CartPole-v1", *words, "--steps", "500"]
    file = tmp_path / "best.toml"
    file.write_text(preset(agent, whole, comment="trial 3: 1"))
    there, here = (resolve(agent, each, of="train") for each in (whole, ["--preset", str(file)]))
    assert here.config == there.config
    assert here.options == there.options


def test_scores() -> None:
    returns = [float(number) for number in range(1, 9)]
    assert scores.of_run(returns, "last") == 7.5
    assert scores.of_run([*returns, 2.0], "best") == 8.0
    assert scores.of_run(returns, "mean") == 4.5
    assert scores.of_run([3.0], "last") == 3.0
    assert scores.of_trial([[0.0], [4.0], [5.0], [100.0]], "last") == 4.5


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for package, words in (("optuna", []), ("cmaes", ["--sampler", "cmaes"]), ("scipy", ["--sampler", "gp"])):
        monkeypatch.setattr(errors, "find_spec", lambda name, package=package: None if name == package else True)
        assert main(["tune", "ucb", "--env", "gymnast/Bandit-v0", "--out", str(tmp_path), *words]) == 2
        asked = " ".join(words) or "gymnast tune"
        assert capsys.readouterr().err == f'gymnast: {asked} needs {package}: pip install "gymnast[tune]"\n'
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dqm", "--env", "CartPole-v1"], "unknown agent 'dqm'"),
        (["ppo"], "tune needs --env ID"),
        (["ppo", "--env", "CartPole-v7"], "CartPole"),
        (["value-iteration", "--env", "FrozenLake-v1"], "value-iteration has no space of its own; name one: --space"),
        (["td", "--env", "gymnast/Chain-v0"], "td predicts the values of a fixed policy"),
        (["ppo", "--env", "CartPole-v1", "--trials", "0"], "--trials must be >= 1, got 0"),
        (["ppo", "--env", "CartPole-v1", "--sampler", "grid"], "a grid needs choices or a step for learning_rate"),
        (["ppo", "--env", "CartPole-v1", "--sampler", "tpr"], "did you mean tpe?"),
        (["ppo", "--env", "CartPole-v1", "--storage", "study.db"], "--storage must be a URL"),
        (["ppo", "--env", "CartPole-v1", "--storage", "nosql://x"], "--storage nosql://x cannot be opened"),
        (["ppo", "--env", "CartPole-v1", "--space", "none.toml"], "space none.toml cannot be read"),
        (["ppo", "--env", "CartPole-v1", "--", "--seed", "3"], "--seed cannot be used after --"),
        (["ucb", "--env", "gymnast/Bandit-v0", "--", "--c", "2"], "so nothing is left to search"),
        (["ppo", "--env", "CartPole-v1", "--", "--clipp", "2"], "did you mean --clip?"),
    ],
)
def test_mistakes(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not list(tmp_path.rglob("trial-*"))


def test_a_grid_has_as_many_trials_as_points(tmp_path: Path) -> None:
    with pytest.raises(gymnast.errors.UsageError, match="the grid has 6 points, but --trials is 8; leave --trials out"):
        gymnast.tune(options(tmp_path, GRID, sampler="grid"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 3}, "--seeds is 2 there, but 3 here"),
        ({"score": "best"}, "--score is last there, but best here"),
        ({"steps": 50}, "--steps is 100 there, but 50 here"),
        ({"text": GRID}, "the space is "),
        ({"num_envs": 2}, "--num-envs is not given there, but 2 here"),
    ],
)
def test_another_study_under_the_same_name_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    gymnast.tune(options(tmp_path, trials=1))
    with pytest.raises(gymnast.errors.UsageError, match=f"the study study is a different one: {said}"):
        gymnast.tune(options(tmp_path, **changes))
    (tmp_path / "study" / "study.db").unlink()
    with pytest.raises(gymnast.errors.UsageError, match="has runs of another study; choose another --name"):
        gymnast.tune(options(tmp_path))


def test_trials_of_other_machines_are_left_alone(tmp_path: Path) -> None:
    """Two folders share a storage: a trial that one left running is not the other's to fail."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    gymnast.tune(options(tmp_path / "a", trials=2, storage=url))
    shared = optuna.load_study(study_name="study", storage=url)
    shared.ask().set_user_attr("driver", "elsewhere")
    gymnast.tune(options(tmp_path / "b", trials=5, storage=url))
    assert [trial.state.name for trial in shared.trials] == ["COMPLETE"] * 2 + ["RUNNING"] + ["COMPLETE"] * 2


def test_a_cluster_takes_the_place_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TuneOptions] = []

    @contextmanager
    def cluster(of: TuneOptions) -> Iterator[Place]:
        asked.append(of)
        yield Place(2)

    monkeypatch.setattr(search, "cluster", cluster)
    monkeypatch.chdir(tmp_path)
    assert gymnast.tune(options(Path("here"), ray="local", trials=3)).exit_code == 0
    assert [Path(of.out) for of in asked] == [tmp_path / "here"]  # nodes work in other folders
    assert len(rows(tmp_path / "here")) == 3


class Distant(Place):
    """Leaves runs at their URLs, and copies what is read of them, as a cluster does."""

    def start(self, task: Task) -> Played:
        assert task.url is not None
        played = super().start(replace(task, path=Path(task.url.removeprefix("file://"))))
        Mirror(task.url, task.path).fetch(read_by_reports)
        return played


def test_a_study_is_known_at_its_url_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process ends in the middle, and another one, whose machine has nothing of it, goes on with it."""

    @contextmanager
    def cluster(of: TuneOptions) -> Iterator[Place]:
        yield Distant()

    monkeypatch.setattr(search, "cluster", cluster)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert gymnast.tune(options(whole, trials=4, sampler="random")).exit_code == 0
    given = options(torn, trials=4, sampler="random", ray="local")
    given = replace(given, out=f"file://{torn}")
    monkeypatch.setattr(Place, "started", [])
    monkeypatch.setattr(Place, "dies_at", 5)
    with pytest.raises(KeyboardInterrupt):
        gymnast.tune(given)
    assert (torn / "study" / "study.db").is_file()
    monkeypatch.setattr(Place, "dies_at", None)
    found = gymnast.tune(given)
    assert Place.started == [f"trial-{trial:04}-seed{seed}" for trial in (0, 1, 2, 4) for seed in range(2)]
    assert tried(torn) == tried(whole)
    best = [(out / "study" / "best.toml").read_text().splitlines()[1:] for out in (torn, whole)]  # without the trial
    assert best[0] == best[1]
    assert found.path == f"file://{torn}/study"
    assert f"wrote file://{torn}/study/best.toml" in found.as_text()


def test_given_options_are_not_searched(tmp_path: Path) -> None:
    found: Findings = gymnast.tune(options(tmp_path, trials=2), ["--epsilon", "0.25"])
    assert set(found.settings) == {"alpha", "initial_q"}
    assert "epsilon = 0.25" in (tmp_path / "study" / "best.toml").read_text()


def test_settings_of_a_part_that_is_switched_off_are_left_out_of_an_agents_own_space() -> None:
    def names(*words: str) -> set[str]:
        made = TuneOptions(agent="dqn", env="CartPole-v1")
        return {setting.name for setting in search.searched(made, search.base_words(made, words)).settings}

    assert names() - names("--noisy") == {"epsilon"}
    assert names() - names("--gamma", "0.9") == {"gamma"}


COMMAND = ["tune", "q-learning", "--env", "gymnast/Chain-v0", "--steps", "3000", "--seeds", "1", "--trials", "3"]
COMMAND += ["--seed", "2", "--name", "study", "--pruner", "none", "--out"]


@pytest.mark.slow
def test_killed_with_its_runs_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL in the middle of a real study; no run outlives it, and the same command finishes it."""
    log = tmp_path / "study" / "gymnast-Chain-v0" / "q-learning" / "trial-0001-seed0" / "config.json"
    driver = subprocess.Popen(
        [sys.executable, "-m", "gymnast", *COMMAND, str(tmp_path)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    monkeypatch.undo()
    assert main([*COMMAND, str(tmp_path)]) == 0
    assert [row["state"] for row in rows(tmp_path)] == ["complete"] * 3
    for run in (tmp_path / "study" / "gymnast-Chain-v0" / "q-learning").glob("trial-*-seed0"):
        steps = [row["env_step"] for row in read(run / "metrics.jsonl") if row["kind"] == "eval"]
        assert steps == list(range(150, 3001, 150))
