"""Worker processes: deaths are reported, none is left behind, no torch is loaded in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from gymnast import envs
from gymnast.envs.rows.processes import WorkerError, WorkersEnv
from tests.scripted import Failing, Hanging, Scripted

CPU = torch.device("cpu")
ACTION = torch.zeros(2, dtype=torch.int64)


def workers(build: Any, **options: Any) -> WorkersEnv:
    return WorkersEnv(build.__name__, build, 2, seed=np.random.SeedSequence(0), device=CPU, **options)


def children() -> list[psutil.Process]:
    """Worker processes of this one (multiprocessing's resource tracker, which lives as long as we do, left out)."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_worker_is_an_error_with_env_and_cause() -> None:
    env = workers(Scripted)
    env.reset()
    victim = children()[-1]
    os.kill(victim.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker process of Scripted \(rows? \d.*\) was killed by SIGKILL"):
        env.step(ACTION)
    assert time.monotonic() - began < 10
    assert children() == []
    with pytest.raises(WorkerError, match="Scripted is closed"):
        env.step(ACTION)
    env.close()


def test_an_exception_in_a_worker_names_itself() -> None:
    env = workers(Failing)
    env.reset()
    env.step(ACTION)
    said = r"Failing: step raised ZeroDivisionError: the second step \(step 2 of episode 1, row 0\)"
    with pytest.raises(WorkerError, match=rf"Failing \(row.*\) said: {said}") as caught:
        env.step(ACTION)
    assert "scripted.py" in str(caught.value.__cause__)  # the traceback of the worker
    assert children() == []


def test_an_exception_while_building_names_itself() -> None:
    with pytest.raises(ValueError, match=r"Broken .* raised TypeError: .*missing"):
        WorkersEnv("Broken", Broken, 2, seed=np.random.SeedSequence(0), device=CPU)
    assert children() == []


class Broken(Scripted):
    def __init__(self, needed: int) -> None:
        super().__init__(needed)


def test_a_worker_that_hangs_is_reported_within_the_timeout() -> None:
    env = workers(Hanging, timeout=1.0)
    env.reset()
    with pytest.raises(WorkerError, match=r"Hanging \(row.*\) gave no answer for 1 s"):
        env.step(ACTION)
    assert children() == []


def test_close_leaves_no_process_and_may_be_called_twice() -> None:
    env = envs.make("gymnast/Catch-v0", 3, vectorization="async")
    env.reset()
    assert children()
    env.close()
    env.close()
    assert children() == []


PARENT = """
import os, signal, sys
if __name__ == "__main__":
    from gymnast import envs
    env = envs.make("gymnast/Catch-v0", 2, vectorization="async")
    env.reset()
    import psutil
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    os.kill(os.getpid(), getattr(signal, sys.argv[1])) if sys.argv[1] != "exit" else None
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "exit"])
def test_no_orphans_when_the_parent_goes(how: str, tmp_path: Any) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.run([sys.executable, str(script), how], capture_output=True, text=True, timeout=60, check=False)
    pids = [int(pid) for pid in parent.stdout.split()]
    assert pids, parent.stderr
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if psutil.pid_exists(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_workers_are_spawned_and_load_no_torch() -> None:
    code = "import sys, gymnast.envs.rows.process; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "False"
    env = workers(Scripted)
    assert len(children()) == min(2, len(os.sched_getaffinity(0)))  # found by spawn's own command line
    env.close()


@pytest.mark.slow
def test_an_unguarded_script_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from gymnast import envs\nenvs.make('CartPole-v1', vectorization='async')\n")
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    lines = ran.stderr.splitlines()
    assert lines.count("Traceback (most recent call last):") == 1
    hint = 'put the script\'s calls under `if __name__ == "__main__":`'
    assert (
        lines[-1] == f"ValueError: the worker process of CartPole-v1 (row 0) imports the script that started it: {hint}"
    )
