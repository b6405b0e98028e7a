"""Populations: 2N steps equal N, stop, resume, N more, byte for byte; and what of a resume is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gymnast
from gymnast.agents import ActorCriticConfig
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.agents.population.noise import OwnGenerators
from gymnast.agents.population.optimizers import MemberAdam
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.populations import session as population_session
from gymnast.populations import train as population_train
from gymnast.populations.environment import CounterNoise
from gymnast.storage import checkpoint, folder
from gymnast.storage.last import LastCheckpoint
from gymnast.training import loop
from gymnast.training import train as single
from tests.test_resume import last_state, same

CARTPOLE = "gymnast/CartPole-v1"
WORDS = "--seeds 0:3 --num-envs 2 --log-every 37 --eval-every 90 --vary learning-rate=1e-3,1e-2,1e-4"
WIDER = WORDS.replace("--num-envs 2", "--num-envs 3")
SMALL_REPLAY = "--learning-starts 40 --batch-size 8 --replay-size 150 --target-period 30"
ROLLOUT = {
    "ppo": "--rollout-steps 16 --minibatches 2",
    "a2c": "--rollout-steps 16",
    "pqn": "--rollout-steps 16 --minibatches 2",
    "dqn": SMALL_REPLAY,
    "sac": SMALL_REPLAY,
    "ddpg": SMALL_REPLAY,
    "rainbow": f"{SMALL_REPLAY} --atoms 5",
}
SMALL = "--hidden-sizes 8 8 --eval-episodes 2 --device cpu --name run"
LOGS = ("metrics.jsonl", "evaluations.jsonl", "members.csv")


def run(out: Path, words: str, *, agent: str = "ppo", env: str = CARTPOLE, code: int = 0) -> Path:
    """The folder of a small population's run."""
    assert main(["train", agent, "--env", env, *f"{words} {ROLLOUT[agent]} {SMALL}".split(), "--out", str(out)]) == code
    return out / env.rpartition(":")[2].replace("/", "-") / agent / "run"


def logs(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in LOGS]


@pytest.mark.parametrize(
    ("agent", "env", "words"),
    [
        ("ppo", CARTPOLE, WORDS),
        ("ppo", CARTPOLE, f"{WIDER} --normalise-obs --normalise-rewards --clip linear:0.3:0.1:300"),
        ("ppo", CARTPOLE, "--seeds 4:6 --num-envs 2 --log-every 50 --vary-zip gamma=0.9,0.99 clip=0.1,0.3"),
        ("ppo", "gymnast/Pendulum-v1", "--seeds 0:1 --num-envs 2 --log-every 50 --eval-every 250 --normalise-obs"),
        ("a2c", CARTPOLE, "--seeds 0:2 --num-envs 4 --log-every 40 --eval-every 100 --checkpoint-every 60"),
        ("ppo", CARTPOLE, "--seeds 0:2 --num-envs 1 --vary learning-rate=1e-3,1e-2 --optimizer a3c-rmsprop"),
        ("pqn", CARTPOLE, "--seeds 0:2 --num-envs 2 --log-every 40 --eval-every 100 --vary td-lambda=0.3,0.9"),
        ("dqn", CARTPOLE, f"{WORDS} --double --n-step 3"),
        ("dqn", CARTPOLE, "--seeds 0:2 --num-envs 1 --log-every 40 --vary tau=0.5,1 --checkpoint-every 60"),
        (
            "sac",
            "gymnast/Pendulum-v1",
            "--seeds 0:2 --num-envs 2 --log-every 50 --eval-every 120 --vary gamma=0.9,0.99",
        ),
        ("ddpg", "gymnast/Pendulum-v1", "--seeds 0:2 --num-envs 1 --log-every 50 --checkpoint-every 60"),
        ("rainbow", "gymnast/Catch-v0", "--seeds 0:2 --num-envs 2 --log-every 50 --eval-every 120"),
    ],
)
def test_resumed_equals_uninterrupted(tmp_path: Path, agent: str, env: str, words: str) -> None:
    """170 steps end in the middle of a rollout of 16 steps of each row."""
    whole = run(tmp_path / "a", f"{words} --steps 340", agent=agent, env=env)
    half = run(tmp_path / "b", f"{words} --steps 170", agent=agent, env=env)
    kept = last_state(half)["agent"]["replay"]
    assert "rollout" not in kept or kept["rollout"]["length"] > 0
    assert main(["resume", str(half), "--steps", "340"]) == 0
    assert logs(half) == logs(whole)
    same(last_state(whole), last_state(half))
    config = json.loads((half / "config.json").read_text())
    assert [one["env_step"] for one in config["resumed"]] == [last_step(170, words)]
    assert config["run"]["steps"] == 340


def last_step(steps: int, words: str) -> int:
    """The first env step at or after `steps` at which a member with this many rows can stop."""
    rows = int(words.split("--num-envs ")[1].split()[0])
    return -(-steps // rows) * rows


def at_call(monkeypatch: pytest.MonkeyPatch, number: int, happen: Callable[[], None]) -> None:
    """Let something happen in a call of `ActorCriticPopulation.store`, in the middle of a step."""
    plain, calls = ActorCriticPopulation.store, [0]

    def store(population: ActorCriticPopulation, *args: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            happen()
        plain(population, *args)

    monkeypatch.setattr(ActorCriticPopulation, "store", store)


def kill(number: int, times: int = 1) -> Callable[[], None]:
    def happen() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return happen


@pytest.mark.parametrize(
    ("number", "at"), [(signal.SIGINT, 41), (signal.SIGINT, 64), (signal.SIGTERM, 100), (signal.SIGINT, 1)]
)
def test_a_signal_leaves_a_resumable_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, at: int
) -> None:
    monkeypatch.setattr(loop, "PULSE", 0.0)  # signals are seen in every step
    words = f"{WORDS} --normalise-rewards --steps 300"
    whole = run(tmp_path / "a", words)
    with monkeypatch.context() as patched:
        at_call(patched, at, kill(number))
        cut = run(tmp_path / "b", words, code=128 + number)
    assert f"stopped at env step {2 * at} of each member; to continue: gymnast resume {cut}" in capsys.readouterr().err
    assert checkpoint.read(cut / "checkpoints" / "last.pt")[0].env_step == 2 * at
    assert main(["resume", str(cut)]) == 0
    assert logs(cut) == logs(whole)


@pytest.mark.parametrize("call", [1, 3, 4])  # the first evaluation, the last, and that of the kept members
def test_an_evaluation_that_a_signal_cut_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    words = f"{WORDS} --steps 270"
    whole = run(tmp_path / "a", words)
    plain, calls = population_session.play, [0]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(population_session, "play", interrupted)
        cut = run(tmp_path / "b", words, code=143)
    assert main(["resume", str(cut)]) == 0
    assert logs(cut) == logs(whole)


def test_a_crash_repeats_and_loses_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"{WORDS} --steps 300"
    whole = run(tmp_path / "a", words)

    def crash() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        at_call(patched, 140, crash)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "b", f"{words} --checkpoint-every 110")
    cut = tmp_path / "b" / "gymnast-CartPole-v1" / "ppo" / "run"
    assert checkpoint.read(cut / "checkpoints" / "last.pt")[0].env_step == 220
    assert b'"env_step":260' in (cut / "metrics.jsonl").read_bytes()  # a record after the checkpoint
    assert main(["resume", str(cut)]) == 0
    assert logs(cut) == logs(whole)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    words = f"{WORDS} --steps 300"
    whole = run(tmp_path / "a", words)
    script = """
import os, signal, sys
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.cli.main import main
plain, calls = ActorCriticPopulation.store, [0]
def store(population, *args):
    calls[0] += 1
    if calls[0] == 140:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(population, *args)
ActorCriticPopulation.store = store
main(sys.argv[1:])
"""
    asked = f"train ppo --env {CARTPOLE} {words} --checkpoint-every 50 {ROLLOUT['ppo']} {SMALL} --out".split()
    asked.append(str(tmp_path / "b"))
    assert subprocess.run([sys.executable, "-c", script, *asked], capture_output=True).returncode == -signal.SIGKILL
    cut = tmp_path / "b" / "gymnast-CartPole-v1" / "ppo" / "run"
    assert main(["resume", str(cut)]) == 0
    assert logs(cut) == logs(whole)


def test_a_second_sigint_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(tmp_path, f"{WORDS} --steps 100")
    before = (path / "checkpoints" / "last.pt").read_bytes()
    at_call(monkeypatch, 7, kill(signal.SIGINT, times=2))
    assert main(["resume", str(path), "--steps", "200"]) == 130
    assert "stopped immediately, without a new checkpoint, at env step 112" in capsys.readouterr().err
    assert (path / "checkpoints" / "last.pt").read_bytes() == before


def test_checkpoints_change_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", f"{WORDS} --steps 200")
    often = run(tmp_path / "b", f"{WORDS} --steps 200 --checkpoint-every 7")
    assert logs(often) == logs(plain)


def test_from_python_with_any_seeds(tmp_path: Path) -> None:
    options: Any = {"env": CARTPOLE, "eval_episodes": 1, "eval_every": 40, "log_every": 30, "device": "cpu"}
    runs = []
    for name, steps in (("whole", 120), ("half", 60)):
        asked = gymnast.TrainOptions(**options, out=str(tmp_path), name=name, steps=steps)
        config = ActorCriticConfig(rollout_steps=8, minibatches=2, hidden_sizes=(8,))
        vary = {"clip": (0.1, 0.3)}
        runs.append(population_train.train("ppo", asked, config, seeds=(5, 9), vary=vary).path)
    whole, half = runs
    assert json.loads((half / "config.json").read_text())["population"]["seeds"] == "5,9"
    result = gymnast.resume(half, steps=120)
    assert (result.exit_code, result.env_step) == (0, 120)
    assert logs(half) == logs(whole)


def test_the_trackers_go_on(tmp_path: Path) -> None:
    from tests.test_writers import points

    whole = run(tmp_path / "a", f"{WORDS} --steps 200 --track tensorboard")
    half = run(tmp_path / "b", f"{WORDS} --steps 100 --track tensorboard")
    assert main(["resume", str(half), "--steps", "200"]) == 0
    for name in ("eval/median_return", "train/loss"):
        assert points(half, name) == points(whole, name) != []


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return run(tmp_path, "--seeds 0:2 --num-envs 2 --steps 64")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_wrong_folders_are_one_line(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["resume", str(finished), "--steps", "128"]
    assert "steps must be more than the 64 that" in refused(words[:2], capsys)
    assert "resume has no option --seeds" in refused([*words, "--seeds", "0:4"], capsys)
    last = finished / "checkpoints" / "last.pt"
    good, (_, content) = last.read_bytes(), checkpoint.read(last)
    weights = content["agent"]["weights"]["parameters"].numpy().tobytes()
    three = run(tmp_path / "three", "--seeds 0:3 --num-envs 2 --steps 64")
    shutil.copy(three / "checkpoints" / "last.pt", last)
    assert "last.pt has members of the seeds 0:3, but config.json has 0:2" in refused(words, capsys)
    about, content = checkpoint.read(last)
    del content["format"], content["about"]
    content["population"]["seeds"] = [0, 1]
    checkpoint.save(last, about, content)
    assert "the state has 3 members, this population 2" in refused(words, capsys)
    damaged = bytearray(good)
    damaged[good.index(weights)] ^= 1
    last.write_bytes(damaged)
    assert "last.pt is damaged: the tensor agent.weights.parameters" in refused(words, capsys)
    last.write_bytes(good[:1000])
    assert "last.pt is damaged or not a checkpoint" in refused(words, capsys)
    last.unlink()
    assert f"no checkpoint {last}" in refused(words, capsys)
    alone = tmp_path / "gymnast-Chain-v0" / "q-learning" / "alone"
    given = f"train q-learning --env gymnast/Chain-v0 --steps 10 --no-video --name alone --out {tmp_path}"
    assert main(given.split()) == 0
    shutil.copy(alone / "checkpoints" / "last.pt", last)
    assert "last.pt does not hold a population" in refused(words, capsys)
    last.write_bytes(good)
    assert main(words) == 0


def test_what_only_the_run_of_one_agent_takes(finished: Path) -> None:
    with pytest.raises(UsageError, match="on_step cannot be given for the run of a population"):
        gymnast.resume(finished, steps=128, on_step=lambda agent: None)
    with pytest.raises(UsageError, match=r"is the run of a population, which gymnast.resume"):
        single.resume(finished, steps=128)


def test_a_population_without_evaluations_is_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PULSE", 0.0)
    at_call(monkeypatch, 20, kill(signal.SIGINT))
    path = run(tmp_path, "--seeds 0:2 --num-envs 2 --steps 64", code=130)
    with pytest.raises(UsageError, match=r"last.pt holds a population, not an agent: gymnast evaluate RUN --member"):
        gymnast.load(path)
    assert main(["evaluate", str(path), "--member", "1", "--episodes", "1"]) == 0


def test_an_own_environment_is_trusted_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "walk_of_mine.py").write_text(
        "from gymnast.envs.registration import register_native\n"
        "register_native('mine/Walk-v0', 'gymnast.envs.native.chain:Chain', 20)\n"
    )
    monkeypatch.chdir(tmp_path)
    path = run(tmp_path, "--seeds 0:2 --num-envs 2 --steps 64", env="walk_of_mine:mine/Walk-v0")
    words = ["resume", str(path), "--steps", "128"]
    assert "the env walk_of_mine:mine/Walk-v0 is code from outside gymnast" in refused(words, capsys)
    assert main([*words, "--trust"]) == 0
    assert main(["evaluate", str(path), "--trust", "--episodes", "2"]) == 0


def test_room_is_asked_for_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """31 steps of each row leave all but one step of a rollout of 16 in last.pt."""
    asked: list[int] = []
    monkeypatch.setattr(folder, "check_space", lambda out, needed: asked.append(needed))
    path = run(tmp_path, "--seeds 0:32 --num-envs 64 --steps 1984")
    written = sum(file.stat().st_size for file in (path / "checkpoints").iterdir() if file.name != "best.pt")
    assert written < asked[0] / 2 < 2 * written


def test_a_checkpoint_without_room_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LastCheckpoint, "save", full)
    path = run(tmp_path, "--seeds 0:2 --num-envs 2 --steps 64", code=1)
    assert "checkpoint last was not written: No space left on device" in capsys.readouterr().err
    assert not (path / "checkpoints" / "last.pt").exists()
    assert (path / "members.csv").is_file()


def test_noise_of_another_kind_of_device_keeps_its_own() -> None:
    device = torch.device("cpu")
    own, counted = OwnGenerators([1, 2], device), CounterNoise([1, 2], device)
    states = own.state_dict(), counted.state_dict()
    own.load_state_dict(states[1])
    counted.load_state_dict(states[0])
    same([own.state_dict(), counted.state_dict()], list(states))


def test_the_count_of_adam_s_steps_stays_on_the_parameters_device() -> None:
    def optimizer(device: str) -> MemberAdam:
        parameter = torch.nn.Parameter(torch.ones((2, 3), device=device))
        parameter.grad = torch.ones_like(parameter)
        made = MemberAdam([parameter])
        made.step()
        return made

    other = optimizer("meta")
    other.load_state_dict(optimizer("cpu").state_dict())
    (state,) = other.state.values()
    assert (state["step"].device.type, state["step"].dtype) == ("meta", torch.float64)


def test_a_population_that_is_no_longer_finite_keeps_its_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--seeds 0:2 --num-envs 4 --steps 10000 --log-every 64 --checkpoint-every 32 --learning-rate 1e38"
    path = run(tmp_path, words, code=1)
    last = path / "checkpoints" / "last.pt"
    assert f"training stopped; the last good checkpoint is {last}" in capsys.readouterr().err
    about, content = checkpoint.read(last)
    assert about.env_step < 10_000
    assert bool(torch.isfinite(content["agent"]["weights"]["parameters"]).all())
