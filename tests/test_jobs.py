"""Processes: so many at a time, failures named while the others go on, and none outlives the one that started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gymnast.suites import jobs
from gymnast.suites.board import Board
from gymnast.suites.jobs import Ended, Process, Processes, Task

DRIVER = """
import sys
from pathlib import Path
from gymnast.suites import board, jobs
out = sys.argv[1]
words = ("train", "q-learning", "--env", "gymnast/Chain-v0", "--steps", "1000000000000", "--out", out, "--name", "a")
with board.Board(runs=1, done=0, steps=10) as shown:
    task = jobs.Task("forever", words, Path(out, "a"), 10)
    outcome = jobs.run([task], place=jobs.Processes(1), board=shown, done=print)
sys.exit(outcome.exit_code)
"""
"""A driver whose one run never ends."""


def task(folder: Path, title: str, *words: str) -> Task:
    return Task(title, words, folder / title, steps=10)


def test_a_failure_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [
        task(tmp_path, "first", "list", "suites"),
        task(tmp_path, "second", "list", "suits"),
        task(tmp_path, "third", "list", "suites"),
    ]
    done: list[Task] = []
    with Board(runs=5, done=2, steps=30) as board:
        outcome = jobs.run(tasks, place=jobs.Processes(2), board=board, done=done.append)
    assert outcome.exit_code == 0
    assert list(outcome.failures) == ["second"]
    assert {task.title for task in done} == {"first", "third"}
    assert outcome.failures["second"].startswith("unknown list 'suits'; choose from ")
    assert outcome.failures["second"].endswith("did you mean suites?")
    said = capsys.readouterr().err
    assert "first finished (" in said
    assert "third finished (4/5)" in said or "first finished (4/5)" in said
    assert "second failed: unknown list 'suits'" in said


def test_no_more_than_so_many_at_a_time(tmp_path: Path) -> None:
    alive, most = [], 0

    class Counted(Processes):
        def start(self, started: Task) -> Process:
            nonlocal most
            alive.append(super().start(started))
            most = max(most, sum(process._process.poll() is None for process in alive))
            return alive[-1]

    tasks, done = [task(tmp_path, str(index), "--version") for index in range(5)], list[Task]()
    with Board(runs=5, done=0, steps=50) as board:
        jobs.run(tasks, place=Counted(2), board=board, done=done.append)
    assert (len(alive), most, len(done)) == (5, 2, 5)


def test_how_far_a_run_is_and_what_killed_it(tmp_path: Path) -> None:
    run = task(tmp_path, "run")
    assert run.env_step() == 0
    run.path.mkdir()
    (run.path / "metrics.jsonl").write_text('{"kind":"train","env_step":4}\n{"kind":"train","env')  # being written
    assert run.env_step() == 4
    run.log.write_text("step 4\n\n")
    assert jobs.last_line(run.log) == "step 4"
    assert jobs.why(Ended(-9, "step 4")) == "killed by signal 9; its last line: step 4"
    run.log.write_text("gymnast: too little memory\n")
    assert jobs.why(Ended(2, jobs.last_line(run.log))) == "too little memory"


def started(folder: Path) -> tuple["subprocess.Popen[bytes]", psutil.Process]:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        logs = list(folder.glob("*/*/a/metrics.jsonl"))
        children = psutil.Process(driver.pid).children()
        if logs and logs[0].stat().st_size and children:
            return driver, children[0]
        time.sleep(0.1)
    raise AssertionError("the run did not begin")


@pytest.mark.slow
def test_runs_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    driver, child = started(tmp_path)
    driver.kill()
    driver.wait()
    child.wait(timeout=20)
    assert not child.is_running()


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_signal_stops_the_runs_with_a_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    driver, child = started(tmp_path)
    driver.send_signal(number)
    assert driver.wait(timeout=30) == 128 + number
    assert not child.is_running()
    assert len(list(tmp_path.glob("*/*/a/checkpoints/last.pt"))) == 1
