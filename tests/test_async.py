"""A3C: processes on shared weights, counted together, that end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.optim import optimizers
from gymnast.agents.policy.hogwild import Follower, Shared
from gymnast.errors import UsageError
from gymnast.networks.fast.flat import FlatParameters
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint
from gymnast.training.train import resume, train
from tests.spawned import eventually, gone, spawned

BOX = spaces.Box(-1, 1, (3,))
A3C = agents.default_config("a3c")
FAST = replace(A3C, workers=2, optimizer="adam", learning_rate=1e-3, hidden_sizes=(32,))


def options(out: Path, **changes: Any) -> TrainOptions:
    plain = {"env": "gymnast/Catch-v0", "steps": 2_000, "video": False, "name": "run", "log_every": 500}
    return TrainOptions(**(plain | {"out": str(out)} | changes))


@pytest.mark.parametrize("optimizer", ["a3c-rmsprop", "adam", "sgd"])
def test_followers_learn_one_set_of_weights(optimizer: str) -> None:
    """Two followers that take turns do what one optimizer does with both gradients, one after the other."""
    torch.manual_seed(0)
    leader, alone = nn.Linear(3, 2), nn.Linear(3, 2)
    alone.load_state_dict(leader.state_dict())
    flat, other = FlatParameters(leader), FlatParameters(alone)
    flat.data.share_memory_()
    shared = Shared.of(flat, optimizer, optimizers.build(optimizer, flat.parameter, lr=0.1))
    modules = [FlatParameters(nn.Linear(3, 2)) for _ in range(2)]
    followers = [Follower(weights, shared, optimizer=optimizer, eps=None) for weights in modules]
    single = optimizers.build(optimizer, other.parameter, lr=0.1)
    for turn in range(6):
        follower = followers[turn % 2]
        follower.pull()
        optimizers.set_learning_rate(follower.optimizer, 0.1)
        gradient = torch.randn(8)
        follower.weights.grad.copy_(gradient)
        other.grad.copy_(gradient)
        follower.step()
        single.step()
        assert torch.equal(follower.weights.data, flat.data)
    torch.testing.assert_close(flat.data, other.data)
    torch.testing.assert_close(leader.weight, alone.weight)


def test_an_agent_with_workers_has_its_weights_where_others_see_them() -> None:
    agent = ActorCritic(BOX, spaces.Discrete(2), replace(FAST, workers=2))
    assert agent.weights.data.is_shared()
    obs, start = torch.ones(1, 3), torch.ones(1, dtype=torch.bool)
    agent.weights.data.mul_(3.0)
    acted = agent.actor(1, explore=True, seed=0).act(obs, start)
    torch.testing.assert_close(acted.value, agent.network(obs)[1])


@pytest.mark.slow
def test_steps_are_counted_over_all_workers(tmp_path: Path) -> None:
    """What is logged and kept counts the steps of all workers, and so does a run that goes on."""
    steps, config = 2_000, replace(FAST, recurrent="lstm", memory_size=8)
    result = train("a3c", options(tmp_path, steps=steps, checkpoint_every=steps // 2, eval_episodes=2), config)
    assert (result.exit_code, result.env_step) == (0, steps)
    records = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    logged = [record["env_step"] for record in records if record["kind"] == "train"]
    assert logged == list(range(500, steps + 1, 500))
    last = [record for record in records if record["kind"] == "train"][-1]
    assert last["updates"] == steps // 5
    assert steps / 12 < last["episodes"] < steps / 4  # an episode of Catch has nine steps; reports come now and then
    assert last["learning_rate"] == 1e-3
    about, content = checkpoint.read(result.path / "checkpoints" / "last.pt")
    assert about.env_step == steps
    assert content["env"] is None
    assert resume(result.path, steps=steps + 500).env_step == steps + 500


@pytest.mark.slow
def test_it_learns_to_catch(tmp_path: Path) -> None:
    result = train("a3c", options(tmp_path, steps=40_000, eval_episodes=100), FAST)
    assert result.final is not None
    assert result.final.mean_return > 0.9


def started(
    tmp_path: Path, *more: str, agent: str = "a3c", processes: str = "workers"
) -> tuple[subprocess.Popen[str], Path]:
    """A run without an end, once it has logged something."""
    command = [sys.executable, "-m", "gymnast", "train", agent, "--env", "CartPole-v1", "--steps", "100000000"]
    command += [f"--{processes}", "2", "--out", str(tmp_path), "--name", "run", "--no-video", "--log-every", "500"]
    command += ["--eval-episodes", "2", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = tmp_path / "CartPole-v1" / agent / "run" / "metrics.jsonl"
    eventually(lambda: metrics.exists() and metrics.stat().st_size > 0)
    return process, metrics.parent


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_signal_leaves_a_resumable_run_and_no_orphan(tmp_path: Path, number: int) -> None:
    process, path = started(tmp_path)
    left = spawned(process)
    assert len(left) == 2
    if number == signal.SIGINT:  # a terminal sends it to all processes
        for worker in left:
            worker.send_signal(number)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    eventually(lambda: gone(left))
    about, _ = checkpoint.read(path / "checkpoints" / "last.pt")
    assert about.env_step > 0
    again = resume(path, steps=about.env_step + 100)
    assert (again.exit_code, again.env_step) == (0, about.env_step + 100)


@pytest.mark.long
def test_a_worker_that_dies_is_named_and_the_run_stops(tmp_path: Path) -> None:
    process, _ = started(tmp_path)
    left = spawned(process)
    left[0].kill()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"(pid {left[0].pid}) was killed by SIGKILL" in text
    assert "a3c worker" in text
    eventually(lambda: gone(left))


@pytest.mark.slow
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    process, _ = started(tmp_path)
    left = spawned(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: gone(left))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compile": True}, "compile cannot be combined with workers"),
        ({"normalise_obs": True}, "normalise_obs cannot be combined with workers"),
        ({"optimizer": "rmsprop"}, "workers need an optimizer with shareable statistics \\(a3c-rmsprop, adam, sgd\\)"),
    ],
)
def test_options_that_do_not_fit_workers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticConfig(**({"workers": 2} | changes))


def test_runs_that_do_not_fit_workers_are_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"exact_resume": True}, "exact_resume cannot be combined with workers"),
        ({"overlap": True}, "overlap cannot be combined with workers"),
    ):
        with pytest.raises(UsageError, match=message):
            train("a3c", options(tmp_path, **changes), FAST)


@pytest.mark.slow
def test_an_environment_that_fails_in_a_worker_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(
        "import sys\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Leaving(CartPoleEnv):\n"
        "    def step(self, action):\n"
        "        sys.exit('no more')\n"
    )
    words = "train a3c --env ./leaving.py:Leaving --workers 2 --steps 500 --no-video --name a"
    ran = subprocess.run(
        [sys.executable, "-m", "gymnast", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    said = "stopped by leaving.py:Leaving: step raised SystemExit: no more (step 1 of episode 1)"
    assert ran.stderr.count(said) == 1
