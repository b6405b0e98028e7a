"""A study finds settings with which an agent learns, from settings with which it does not."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gymnast.cli.main import main
from gymnast.suites.jobs import Ended, Task
from gymnast.tuning import search

SPACE = """
noise-scale = { low = 1e-6, high = 1.0, log = true }
population-size = [4, 8, 16]
episodes = [1, 3]
"""
HERE = ["hill-climbing", "--env", "CartPole-v1", "--steps", "15000", "--eval-every", "5000"]
THERE = ["--min-noise-scale", "1e-6", "--max-noise-scale", "1", "--eval-episodes", "5"]


class Run:
    """A run that ended in this process."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> Ended:
        return Ended(self.code, "")

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class InProcess:
    """Carries runs out in this process, one at a time: a process of its own would take longer to start than they do."""

    def __init__(self, jobs: int) -> None: ...

    def room(self) -> int:
        return 1

    def start(self, task: Task) -> Run:
        return Run(main(list(task.words)))


def study(out: Path, trials: int) -> list[dict[str, str]]:
    """The trials of a study with one seed."""
    space = out / "space.toml"
    out.mkdir()
    space.write_text(SPACE, encoding="utf-8", newline="\n")
    words = ["tune", *HERE, "--space", str(space), "--trials", str(trials), "--seeds", "1", "--pruner", "none"]
    assert main([*words, "--seed", "1", "--out", str(out), "--name", "study", "--", *THERE]) == 0
    with open(out / "study" / "trials.csv", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "runs"} for row in csv.DictReader(file)]


@pytest.mark.long
def test_twenty_trials_solve_cartpole_from_a_bad_start_and_twice_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "Processes", InProcess)
    trials = study(tmp_path / "first", 20)
    scores = [float(row["score"]) for row in trials]
    assert scores[0] < 200.0
    assert max(scores) >= 475.0
    assert len({tuple(row.values()) for row in trials}) == 20
    assert study(tmp_path / "second", 3) == trials[:3]
