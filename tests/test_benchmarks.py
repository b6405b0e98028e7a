"""Every script under benchmarks/ runs with tiny sizes; its figures are not tested.

A process takes seconds to start, so scripts run within the tests' own, and so do the commands and scripts they start.
"""

import contextlib
import importlib
import io
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from gymnast.cli.main import main
from gymnast.fitting import data
from gymnast.machine import limit_threads
from gymnast.settings.references import REFERENCES

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
NO_PEER = "ModuleNotFoundError: No module named"
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "a3c": ("--workers 1 --rounds 1 --seconds 0.1", ("1 workers: ", "CartPole-v1; medians (lowest, highest round)")),
    "actor_critic": (
        "--only gymnast-ppo --threads 1 --envs 2 --rounds 1 --steps 10",
        ("gymnast-ppo, 1 threads, 2 envs: ", "gymnast-ppo, ms/step: act"),
    ),
    "actors": (
        "--actors 1 --rounds 1 --steps 1600",
        ("DQN on CartPole-v1, 1,600 env steps; medians", "--actors 1 / one process: x"),
    ),
    "atari_dqn": (
        "--only gymnast-dqn --threads 1 --envs 2 --rounds 1 --steps 8 --learning-starts 40 --warm-up 8",
        ("gymnast-dqn, 1 threads, 2 envs: ", "gymnast-dqn, ms/step: act", "each at its best"),
    ),
    "atari_env": (
        "--games pong --envs 1 --threads 1 --rounds 1 --seconds 0.01 --cpu",
        ("agent steps per CPU second", "1 threads,   1 envs, pong ", " ale-py ", "geometric mean of ratios"),
    ),
    "checks": (
        "--rounds 1 --steps 20 --only dqn-10 ppo-16",
        ("dqn-10, 1 rounds; medians", "ppo-16, 1 rounds", "  without  ", "  loss ", "target 2 %"),
    ),
    "cliff": ("--seeds 1 --episodes 20", ("q-learning   while exploring", "greedy [-13.0]", "greedy: -15")),
    "dqn": ("--periods 10 --rounds 1 --steps 20", ("one update per 10 env steps", "gymnast's us/step: act")),
    "dream_env": (
        "--sizes 1m --envs 2 --rounds 1 --steps 3",
        ("dreamer 1m, vector, 2 rows: ", " imagined steps/s, weights "),
    ),
    "dreamer": (
        "--only gymnast --sizes 1m --obs state --precisions f32 --threads 1 --rounds 1 --steps 32",
        ("1m, state, f32, 1 torch threads, 1 environments; medians", ", parameters 637768.0", "gymnast: torch "),
    ),
    "dyna": ("--seeds 1 --episodes 3 --steps 0.02", ("  dyna-q, 50  ", "shortcut maze: sum of rewards")),
    "encoders": (
        "--seeds 1 --agents ppo --steps 1024 --pretraining 500 --jobs 1",
        ("pre-training: 500 random steps", "ppo  frozen      return 0.9 after"),
    ),
    "envs": ("--num-envs 2 --rounds 1 --seconds 0.01", ("gymnasium loop", "   2 ")),
    "export": (
        "--only mlp --rounds 1 --calls 3",
        ("mlp, 1 rounds; median us: eager ", "  eager / session: x", "target 2"),
    ),
    "fast": ("--rounds 1 --calls 1", ("gradient  PPO, Gaussian", "acting    DQN, MLP 120-84, 8 rows")),
    "fit": ("--only gymnast bare --rounds 1 --episode 8", ("classify            gymnast", "ours is")),
    "fit_learning": ("--only xor-linear --seeds 1 --jobs 1", ("xor-linear        accuracy", "(target below 1)")),
    "footprint": (
        "--only dqn --rounds 1 --steps 20",
        ("dqn, 20 steps of CartPole-v1; medians", "gymnast           peak "),
    ),
    "gan_modes": ("--seeds 1 --epochs 1 --jobs 1", ("vanilla   kept  at least ", "wgan-gp   last  at least ")),
    "gpu": ("--device cpu update replay", ("ok   update, MLP 120-84", "ok   replay, stack 3, 3-step")),
    "gpu_actor_critic": ("--device cpu --modes eager", ("ok   A2C, MLP 64-64", "ok   gymnast/CartPole-v1, PPO")),
    "gpu_atari": (
        "--device cpu --games pong --envs 2 --seconds 0.01 --exact-envs 2 --exact-steps 3",
        ("ok   exact, pong, 2 consoles", "ok   speed, geometric mean, 2 environments"),
    ),
    "gpu_cartpole": (
        "--device cpu --threads 1 --agents ppo --seeds 0 --envs 2 --every 64 --solve-steps 64 --pace-steps 64",
        ("check solve, ppo, seed 0", "check pace, pqn", "purejaxql itself is left out"),
    ),
    "exploration": (
        "--games deep-sea --sizes 3 --methods counts --seeds 1 --episodes 25",
        ("'method': 'counts', 'seed': 0", "| method | size 3 |"),
    ),
    "gpu_envs": (
        "--device cpu --games CartPole-v1 --envs 4 --rounds 1 --steps 2 --eager --only gymnast gymnast-eager gymnasium",
        ("gymnast-eager, CartPole-v1, 1 threads, 4 envs: ", "ratios\n  gymnast / gymnasium: x"),
    ),
    "gpu_launches": ("--device cpu --agents a2c --envs 2", ("agent a2c, environments 2, recorded False",)),
    "gpu_learner": (
        "mlp replay few loop --device cpu --small --modes eager",
        (
            "ok   SPR update: eager",
            "ok   BBF update: eager",
            "ok   MLP update, batch 128: eager",
            "ok   sample + re-prioritise, by rank: eager",
            "ok   Pong, Rainbow: eager",
        ),
    ),
    "gpu_minatar": ("--device cpu --agents pqn --steps 64", ("pqn Breakout seed 0: ", "IQM over seeds")),
    "gpu_off_policy": (
        "--device cpu --small --modes eager",
        ("ok   SAC update: eager", "ok   Pendulum-v1, 1,200 steps of SAC"),
    ),
    "gpu_population": ("--device cpu --members 2 --steps 512", ("no GPU: 2 members of 512 steps", "solved  ")),
    "imitation": (
        "--seeds 1 --episodes 5 --steps 256 --expert-steps 256 --jobs 1",
        ("expert: return ", "behaviour cloning", "GAIL, positive", "of 1 reach 475", "256 env steps for each seed"),
    ),
    "learners": (
        "--learners 1 --num-envs 2 --rollout-steps 4 --rollouts 1 --rounds 1",
        ("1 learners: ", "ALE/Pong-v5, 2 rows; medians (lowest, highest round)"),
    ),
    "learning": (
        "frozenlake --seeds 1 --steps 500",
        ("'agent': 'double-q-learning', 'seed': 0",),
    ),
    "off_policy": (
        "--games Pendulum-v1 --only gymnast-td3 script-sac --rounds 1 --steps 5",
        ("script-sac, Pendulum-v1, 1 threads, 1 envs: ", "gymnast-td3, ms/step: store", ", warm_up_s "),
    ),
    "population": (
        "--agent pqn dqn --members 2 --singles 1 --steps 1200",
        ("pqn             2 members of 1,200 steps: ", "ratio"),
    ),
    "pretrain": (
        "--only gymnast bare --threads 1 --rounds 1 --steps 1 --batch 4",
        ("vae, 1 threads, batch 4; medians", "wae, 1 threads", "wgan-gp, 1 threads", "gymnast / bare: x"),
    ),
    "pretrain_learning": (
        "--envs gymnast/MinAtar-Breakout-v1 --kinds vq-grid --env-steps 300 --updates 2 --probe-steps 300 --repeats 1",
        ("gymnast/MinAtar-Breakout-v1, vq-grid: mse ", "changed ", "frechet ", "encoder"),
    ),
    "ray_runs": (
        "--runs 1 --steps 600 --rounds 1 --jobs 1",
        ("1 runs of 600 env steps; medians", "through Ray / processes: x"),
    ),
    "replay": ("--contenders gymnast sb3 --transitions 200 --rounds 1", ("sample 256", "sb3: left out, " + NO_PEER)),
    "stable": ("--seeds 2 --steps 500", ("== dqn, CartPole-v1, solved from 475", "the last one is for 0 of 2 seeds")),
    "serve": (
        "--here --policies mlp --connections 2 --seconds 0.2 --rounds 1",
        ("mlp, 2 connections, 1 rounds; medians", "  gymnast / naive: x", " us of CPU for each action"),
    ),
    "tabular": ("--steps 100 --rounds 1", ("compiled with masks", "equal, bit for bit: True")),
    "world_models": (
        "--seeds 1 --steps 3010 --temperatures 0 1.5 --generations 1 --model-updates 5 --episodes 2",
        ("CartPole-v1, seed 0, 3,010 env steps: inside ", "        1.5  "),
    ),
}
"""Options of a small run, and what it prints."""


FRESH = {"footprint"}
"""What measures the start of a process, and changes classes of Gymnasium in it."""
START = subprocess.run


def scripts() -> set[str]:
    """Names of the benchmarks: the files that are commands."""
    return {path.stem for path in BENCHMARKS.glob("*.py") if "def main(" in path.read_text()}


def test_every_benchmark_has_a_small_run() -> None:
    assert scripts() == set(COMMANDS)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`subprocess.run` runs gymnast's commands and the benchmarks' scripts in this process."""
    monkeypatch.setattr(subprocess, "run", here)
    monkeypatch.setattr(data, "read", data.read)  # some replace it
    monkeypatch.syspath_prepend(BENCHMARKS)  # as Python does for a script
    yield
    limit_threads(1)


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_small_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, shown = COMMANDS[name]
    monkeypatch.chdir(tmp_path)
    done = START(**process(name, options)) if name in FRESH else subprocess.run(**process(name, options))
    assert done.returncode == 0, done.stderr
    for text in shown:
        assert text in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_every_reference_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished is not run again, a run that was stopped is, and a failed one is a row of the table."""
    chain, started = "n-step-sarsa-chain", []
    row = replace(REFERENCES["ucb-bandit"], env="gymnast/Nothing-v0")
    monkeypatch.setitem(REFERENCES, "ucb-nothing", row)
    monkeypatch.chdir(tmp_path)

    def call(options: str, stop_at: str | None = None) -> Any:
        def run(args: Sequence[str], **settings: Any) -> Any:
            if args[0] == "git":
                return START(args, **settings)
            started.append(args[6:9])  # the name, --seed, its value
            if args[6] == stop_at:
                (tmp_path / "done" / "runs" / f"{stop_at}-0" / "half").mkdir(parents=True)
                raise KeyboardInterrupt
            return here(args, **settings)

        started.clear()
        words = f"--all --out done --steps 300 --json all.json --seeds {options}"
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "run", run)
            return here(**process("learning", words))

    with pytest.raises(KeyboardInterrupt):
        call(f"1 --only {chain} ucb-bandit", stop_at="ucb-bandit")
    assert [args[0] for args in started] == [chain, "ucb-bandit"]
    done = call(f"1 --only {chain} ucb-bandit ucb-nothing")
    assert [args[0] for args in started] == ["ucb-bandit", "ucb-nothing"]
    assert done.returncode == 1
    *_, heading, _, first, second, third = done.stdout.splitlines()
    assert heading == "| agent | environment | env steps | seeds: final returns | mean | published | seconds |"
    assert first.startswith("| n-step-sarsa | gymnast/Chain-v0 | 300 | 0: ")
    assert " (exact return " in first
    assert second.startswith("| ucb | gymnast/Bandit-v0 | 300 | 0: ")
    assert "| 1304 (mean of the best arm) | " in second
    assert third.startswith("| ucb | gymnast/Nothing-v0 | - | 0: failed: gymnast: ")
    assert list(json.loads((tmp_path / "all.json").read_text())) == [chain, "ucb-bandit", "ucb-nothing"]
    done = call(f"2 --only {chain}")
    assert started == [[chain, "--seed", "1"]]
    assert done.returncode == 0
    monkeypatch.setitem(REFERENCES, chain, replace(REFERENCES[chain], episodes=3))  # other settings
    call(f"1 --only {chain}")
    assert len(started) == 1
    assert "unknown reference 'nothing'" in call("1 --only nothing").stderr


def test_a_peer_that_is_not_installed_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's interpreter here has no packages at all; the benchmark is a process of its own."""
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    options = f"--only tianshou-ppo --threads 1 --envs 2 --rounds 1 --peer-python {tmp_path / 'python'}"
    done = subprocess.run(**process("actor_critic", options))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"tianshou-ppo: {NO_PEER} ")
    assert "tianshou" not in done.stdout


def test_both_forms_of_an_environment_are_compared_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    play = importlib.import_module("gpu_envs_play")
    task = importlib.import_module("gpu_envs_task").Task("MinAtar/Breakout-v1", 8, 2, 1, "cpu", os.devnull)
    play.agree(task)
    own = play._env
    changed = {"rows": "gymnast/MinAtar-Breakout-v1", "tensors": "gymnast/MinAtar-Asterix-v1"}
    monkeypatch.setattr(play, "_env", lambda task, form, count: own(replace(task, game=changed[form]), form, count))
    with pytest.raises(
        SystemExit, match="MinAtar/Breakout-v1: obs of the rules of one row and of tensors differ in step 0"
    ):
        play.agree(task)


def process(name: str, options: str) -> dict[str, Any]:
    """What `subprocess.run` is given for a benchmark."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options.split()]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return {"args": command, "env": env, "capture_output": True, "encoding": "utf-8", "timeout": 300}


def here(args: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` without a new process, if it is gymnast or a benchmark that is started."""
    scripts = {str(BENCHMARKS / f"{name}.py") for name in COMMANDS.keys() - FRESH}
    if args[0] != sys.executable or not (args[1] in scripts or args[1:3] == ["-m", "gymnast"]):
        return START(args, **settings)
    out, error = io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(error)
    with patch.dict(os.environ, settings.get("env") or {}), streams[0], streams[1]:
        code = main(list(args[3:])) if args[1] == "-m" else script(args[1:])
    return subprocess.CompletedProcess(args, code, out.getvalue(), error.getvalue())


def script(words: Sequence[str]) -> int:
    """The exit code of a script, which runs as the interpreter would run it."""
    with patch.object(sys, "argv", list(words)):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc()
            return 1
    return 0
