"""Benchmarks: what is planned, what is run again, and that a killed one ends as an uninterrupted one does."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gymnast.cli.main import main
from gymnast.machine import limit_threads
from gymnast.reports import figures
from gymnast.settings import flags
from gymnast.storage import folder
from gymnast.storage.metrics_log import read
from gymnast.suites import jobs
from gymnast.suites.benchmark import Variant, plan
from gymnast.suites.jobs import Outcome, Task
from gymnast.suites.options import BenchmarkOptions
from gymnast.suites.suites import Chosen, choose
from tests.runs import write_run

TEXTS = ("report.md", "scores.csv", "aggregates.csv", "improvement.csv", "efficiency.csv")
SMALL = ("gymnast/Chain-v0", "gymnast/Catch-v0")


def options(**changes: Any) -> BenchmarkOptions:
    return BenchmarkOptions(**{"envs": SMALL, "agents": ("dqn", "rainbow"), "seeds": 2, "steps": 100, **changes})


def planned(changed: BenchmarkOptions, chosen: Chosen | None = None, extra: Sequence[str] = ()) -> list[Any]:
    variants = [Variant(agent, agent) for agent in changed.agents]
    return plan(changed, chosen or choose(changed.envs), variants, name="b", extra=extra)


def test_a_run_for_each_seed_env_and_agent() -> None:
    assert [item.title for item in planned(options())] == [
        f"{env} {agent} seed {seed}" for seed in (0, 1) for env in SMALL for agent in ("dqn", "rainbow")
    ]
    assert planned(options())[-1].path == Path("runs/gymnast-Catch-v0/rainbow/b-seed1")


@pytest.mark.parametrize(
    ("changes", "flag", "value"),
    [
        ({"steps": 7}, "--steps", "7"),
        ({"num_envs": 3}, "--num-envs", "3"),
        ({"eval_every": 9}, "--eval-every", "9"),
        ({"checkpoint_every": 9}, "--checkpoint-every", "9"),
        ({"device": "cpu"}, "--device", "cpu"),
        ({"preset": ("classic",)}, "--preset", "classic"),
        ({"protocol": "dopamine", "envs": ("Pong",)}, "--protocol", "dopamine"),
    ],
)
def test_options_become_words_of_train(changes: dict[str, Any], flag: str, value: str) -> None:
    words = planned(options(**changes))[0].words
    assert words[words.index(flag) + 1] == value


def test_a_suite_brings_its_preset_and_protocol() -> None:
    words = planned(options(envs=("atari5",), agents=("dqn",)))[0].words
    assert words[words.index("--preset") + 1] == "atari"
    assert words[words.index("--protocol") + 1] == "rainbow"
    words = planned(options(envs=("atari5",), agents=("dqn",), protocol="machado", preset=("atari100k",)))[0].words
    assert words[words.index("--preset") + 1] == "atari100k"
    assert words[words.index("--protocol") + 1] == "machado"


def test_words_after_two_dashes_are_for_every_run() -> None:
    assert all("--learning-rate" in item.words for item in planned(options(), extra=("--learning-rate", "0.1")))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take seconds, and tests of their own."""
    monkeypatch.setattr(figures, "draw_all", lambda found, out, *, more: [])


class Runner:
    """Takes the place of the processes: every task leaves a finished run, but for those that are told to fail."""

    def __init__(self, *failing: str, exit_code: int = 0) -> None:
        self.failing, self.exit_code = failing, exit_code
        self.tasks: list[Task] = []

    def __call__(self, tasks: Sequence[Task], *, place: Any, board: Any, done: Callable[[Task], None]) -> Outcome:
        self.tasks = list(tasks)
        failures = {}
        for task in tasks:
            if task.title in self.failing:
                failures[task.title] = "no memory"
            elif task.words[0] == "train":
                env = task.words[task.words.index("--env") + 1]
                seed = int(task.words[task.words.index("--seed") + 1])
                command = ("gymnast", *task.words)
                write_run(task.path, env=env, agent=task.words[1], seed=seed, score=seed, command=command)
                (task.path / "checkpoints" / "replay").mkdir(parents=True)
                for name in ("best.pt", "last.pt", "replay/1.frames"):
                    (task.path / "checkpoints" / name).touch()
                done(task)
        return Outcome(failures, self.exit_code)


@pytest.mark.usefixtures("undrawn")
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", *SMALL, "--agents", "dqn", "rainbow", "--seeds", "2", "--steps", "100", "--jobs", "3"]
    words += ["--out", str(tmp_path), "--name", "mine"]
    failing = "gymnast/Catch-v0 rainbow seed 1"
    monkeypatch.setattr(jobs, "run", runner := Runner(failing))
    assert main(words) == 1
    assert len(runner.tasks) == 8
    assert capsys.readouterr().err == f"gymnast: {failing} failed: no memory\n"
    report = tmp_path / "reports" / "mine" / "report.md"
    assert f"Left out as unfinished: {failing}." in report.read_text()
    # The same command again: one run is missing, and then the report is that of all.
    monkeypatch.setattr(jobs, "run", runner := Runner())
    assert main(words) == 0
    assert [task.title for task in runner.tasks] == [failing]
    assert "Left out" not in report.read_text()
    assert "8 runs of 2 agents in 2 games" in report.read_text()
    # And once more: nothing is missing.
    assert main(words) == 0
    assert runner.tasks == []
    # Another request in the same folders is refused before anything is started, more steps go on with them.
    capsys.readouterr()
    assert main([*words, "--", "--gamma", "0.5"]) == 2
    assert "--gamma is not given there, but 0.5 here; choose another --name" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_the_replay_of_finished_runs_is_removed_where_it_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept(words: list[str]) -> set[str]:
        monkeypatch.setattr(jobs, "run", Runner())
        assert main(["benchmark", SMALL[0], "--agents", "dqn", "--seeds", "1", "--out", str(tmp_path), *words]) == 0
        return {path.name for path in tmp_path.glob("*/*/*/checkpoints/*")}

    assert kept(["--steps", "100"]) == {"best.pt", "last.pt", "replay"}
    assert kept(["--steps", "100", "--no-keep-replay"]) == {"best.pt"}  # of the run before
    assert kept(["--steps", "100", "--name", "other", "--no-keep-replay"]) == {"best.pt"}
    assert (
        main(["benchmark", SMALL[0], "--agents", "dqn", "--seeds", "1", "--out", str(tmp_path), "--steps", "200"]) == 2
    )
    assert "finished at 100 env steps and has no checkpoint to resume from" in capsys.readouterr().err


def test_an_interrupted_benchmark_leaves_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "run", Runner(exit_code=130))
    assert main(["benchmark", *SMALL, "--agents", "dqn", "--steps", "100", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().out == "stopped; run the same command to continue\n"
    assert not (tmp_path / "reports" / "benchmark" / "report.md").exists()


def test_one_benchmark_of_a_name_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "reports" / "benchmark"
    report.mkdir(parents=True)
    with folder.locked(report):
        assert main(["benchmark", SMALL[0], "--agents", "dqn", "--steps", "9", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("gymnast: another process is ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "benchmark needs SUITE_OR_IDS"),
        (["classic"], "benchmark needs --agents AGENT [AGENT ...]"),
        (["classic", "--agents"], "--agents must name at least one agent, got none"),
        (["classic", "--agents", "dqn", "dqn"], "--agents takes each name once, got dqn dqn"),
        (["classic", "--agents", "dqm"], "unknown agent 'dqm'; choose from "),
        (["classic", "--agents", "dqn", "--seeds", "0"], "--seeds must be >= 1, got 0"),
        (["classic", "--agents", "dqn", "--protocol", "nature"], "protocol nature is for Atari games"),
        (["CartPol-v1", "--agents", "dqn"], "unknown environment 'CartPol-v1'; did you mean CartPole-v1?"),
        (["classic", "--agents", "dqn", "--", "--bach-size", "3"], "train dqn has no option --bach-size; did you mean"),
    ],
)
def test_what_is_refused(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *words[:1], "--out", str(tmp_path), *words[1:]] if words else ["benchmark"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gymnast: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def four_runs(out: Path) -> list[str]:
    words = ["benchmark", SMALL[1], "--agents", "dqn", "rainbow", "--seeds", "2", "--steps", "900", "--jobs", "2"]
    words += ["--checkpoint-every", "300", "--out", str(out), "--"]
    words += ["--learning-starts", "200", "--replay-size", "2000", "--eval-episodes", "3", "--no-video"]
    return words


def finished(out: Path) -> dict[Path, int]:
    """The logs of runs that are done, and when they were written last."""
    logs = out.glob("gymnast-*/*/*/metrics.jsonl")
    return {path: path.stat().st_mtime_ns for path in logs if any(row["kind"] == "final" for row in read(path))}


def within(tasks: Sequence[Task], *, place: Any, board: Any, done: Callable[[Task], None]) -> Outcome:
    """Takes the place of the processes: the runs themselves, one after the other in this process."""
    for task in tasks:
        assert main(list(task.words)) == 0
        done(task)
    return Outcome({}, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_killed_benchmark_finishes_what_is_missing_and_reports_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "run", within)
        assert main(four_runs(whole)) == 0
    limit_threads(1)  # as before the runs
    driver = subprocess.Popen(
        [sys.executable, "-m", "gymnast", *four_runs(torn)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while True:
        done = finished(torn)
        kept = {path.parents[1] for path in torn.glob("gymnast-*/*/*/checkpoints/last.pt")}
        if done and kept - {path.parent for path in done}:
            break
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = finished(torn)
    assert 0 < len(done) < 4
    assert main(four_runs(torn)) == 0
    after = finished(torn)
    assert len(after) == 4
    assert all(after[path] == when for path, when in done.items())  # what was done is left alone
    configs = [json.loads((path.parent / "config.json").read_text()) for path in after]
    assert any("resumed" in config for config in configs)
    for name in TEXTS:
        first, second = (out / "reports" / "benchmark" / name for out in (whole, torn))
        assert first.read_bytes() == second.read_bytes(), name
    for path in after:
        assert path.read_bytes() == (whole / path.relative_to(torn)).read_bytes()


@pytest.mark.slow
def test_a_run_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "gymnast/Catch-v0", "--agents", "q-learning", "--seeds", "1", "--steps", "10"]
    assert main([*words, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("gymnast: gymnast/Catch-v0 q-learning seed 0 failed: a table cannot be indexed by")
    assert not (tmp_path / "reports" / "benchmark" / "report.md").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "--seeds", "3", "--agents", "x", "y"],
        ["--agents", "x", "y", "--seeds", "3", "a", "b"],  # what is left after a flag's one value
        ["a", "--seeds", "3", "b", "--agents=x", "--jobs=1"],
    ],
)
def test_ids_stand_anywhere_but_after_a_flag_that_takes_many(words: list[str]) -> None:
    given = flags.parse(words, flags.flags_of(BenchmarkOptions), of="benchmark")
    assert (given["envs"], given["seeds"], given["agents"][0]) == (("a", "b"), 3, "x")
