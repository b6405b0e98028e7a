"""Runs of a build before the rooms (tests/data/before_rooms) still load, resume and report.

`resumed.jsonl` beside each is what that build logged when it resumed the run to twice its steps.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gymnast.cli.main import main

DATA = Path(__file__).parent / "data" / "before_rooms"
RUNS = {
    "q-learning": ("gymnast-Chain-v0/q-learning/landed", 800),
    "dqn": ("gymnast-Catch-v0/dqn/landed", 800),
    "ppo": ("CartPole-v1/ppo/landed", 1024),
    "pqn": ("gymnast-CartPole-v1/pqn/landed", 1024),
    "es": ("gymnast-Catch-v0/es/landed", 800),
}
POPULATION = "gymnast-CartPole-v1/ppo/landed"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "runs"))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("agent", RUNS)
def test_a_run_of_an_earlier_build_resumes_as_that_build_did(agent: str, kept: Path) -> None:
    run, steps = kept / RUNS[agent][0], RUNS[agent][1]
    assert main(["resume", str(run), "--steps", str(steps)]) == 0
    ours, theirs = records(run / "metrics.jsonl"), records(run / "resumed.jsonl")
    assert len(ours) == len(theirs)
    for mine, earlier in zip(ours, theirs, strict=True):
        assert mine.keys() == earlier.keys()
        for name, value in earlier.items():
            # Equal on the processor that they were made on; others round a network's products otherwise.
            assert mine[name] == (pytest.approx(value, rel=0.02, abs=1e-3) if isinstance(value, float) else value)


@pytest.mark.parametrize("agent", RUNS)
def test_a_checkpoint_of_an_earlier_build_is_evaluated(
    agent: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(kept / RUNS[agent][0]), "--episodes", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["agent"] == agent
    assert result["episodes"] == 2


def test_a_population_of_an_earlier_build_is_read(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = kept / POPULATION
    assert main(["evaluate", str(run), "--member", "2", "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent"] == "ppo"
    weights = torch.load(run / "checkpoints" / "members.pt", weights_only=True)["population"]["weights"]["parameters"]
    assert weights.shape[0] == 3
    assert main(["resume", str(run)]) == 2  # it kept nothing to resume from
    assert capsys.readouterr().err == f"gymnast: no checkpoint {run / 'checkpoints' / 'last.pt'}\n"


def test_runs_of_an_earlier_build_are_reported(kept: Path, tmp_path: Path) -> None:
    assert main(["report", str(kept), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert all(agent in text for agent in RUNS)
