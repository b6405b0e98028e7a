"""Fitted policies are agents: they play, PPO and A2C go on from them, and encoders come from fitted networks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import gymnast
from gymnast.agents import DQN, PPO, PQN, DQNConfig
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.supervised.imitation import BehaviourCloningConfig, DistillationConfig
from gymnast.agents.supervised.table import config_class
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.data import name_of
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, fit, resume
from gymnast.fitting.record import _Recording
from gymnast.settings import agents
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.encoder import read_encoder
from gymnast.training.parts import Parts
from tests import fit_worlds as worlds

CARTPOLE = gym.make("CartPole-v1").observation_space
TWO = spaces.Discrete(2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of a solved CartPole, its agent, and a policy that was fitted to them."""
    path = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(path / "sets"))
        rebuild.save(solved(), path / "solved.pt", env="CartPole-v1")
        worlds.record("cart/solved-v0", "CartPole-v1", "--episodes", "8", policy=str(path / "solved.pt"))
        worlds.record("cart/random-v0", "CartPole-v1", steps=600)
        assert cloned(path / "runs").exit_code == 0
    return path


@pytest.fixture(autouse=True)
def place(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "sets"))
    monkeypatch.chdir(tmp_path)


def solved() -> DQN:
    """Weights by hand: push to the side to which the pole falls."""
    agent = DQN(CARTPOLE, TWO, DQNConfig(network="linear", replay_size=100), seed=0)
    with torch.no_grad():
        for name, value in agent.online.named_parameters():
            value.zero_()
            if name.endswith("weight"):
                value[1] = torch.tensor([0.1, 0.5, 3.0, 1.0])
    return agent


def cloned(out: Path, **changes: Any) -> FitResult:
    options = FitOptions(dataset="cart/solved-v0", out=str(out), name="r", epochs=20, eval_episodes=3)
    return fit("behaviour-cloning", options, BehaviourCloningConfig(hidden_sizes=(32,), learning_rate=3e-3, **changes))


@pytest.fixture
def run(root: Path) -> Path:
    return root / "runs" / "cart-solved-v0" / "behaviour-cloning" / "r"


def test_a_cloned_policy_plays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["mean_return"] > 400  # the solved one has 500
    assert main(["evaluate", str(run), "--episodes", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_return"] > 400
    agent = gymnast.load(run)
    obs = CARTPOLE.sample()
    assert agent.predict(obs) in (0, 1)  # type: ignore[attr-defined]
    assert isinstance(agent.predict(np.stack([obs, obs])), np.ndarray)  # type: ignore[attr-defined]


def parts_of(agent: str, stack: ExitStack, run: Path, **changes: Any) -> Parts:
    options = TrainOptions(env="CartPole-v1", num_envs=2, device="cpu", init_from=str(run))
    return Parts.make(agent, options, agents.default_config(agent).__class__(**changes), env=None, stack=stack)


def test_ppo_starts_with_the_weights_of_the_run(run: Path) -> None:
    kept = checkpoint.read_agent(run / "checkpoints" / "best.pt")[1]["network"]
    with ExitStack() as stack:
        parts = parts_of("ppo", stack, run, rollout_steps=32)
        state = parts.agent.state_dict()["network"]
        assert (parts.config.hidden_sizes, parts.config.activation) == ((32,), "relu")
        assert state.keys() == kept.keys()
        assert all(torch.equal(state[name], kept[name]) for name in kept)
        obs = np.stack([CARTPOLE.sample() for _ in range(20)])
        acted = parts.agent.predict(obs)  # type: ignore[attr-defined] # by its fast form too
        assert acted.tolist() == gymnast.load(run).predict(obs).tolist()  # type: ignore[attr-defined]


def words(agent: str, *more: str, env: str = "CartPole-v1") -> list[str]:
    fixed = ["--env", env, "--num-envs", "2", "--no-video", "--eval-episodes", "2", "--name", "r"]
    rollout = [] if agent == "dqn" else ["--rollout-steps", "32"]
    return ["train", agent, *fixed, *rollout, "--steps", "128", "--out", "runs", *more]


def test_ppo_goes_on_from_a_run_and_resumes_without_it(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "start")
    assert main(words("ppo", "--init-from", "start")) == 0
    shutil.rmtree(tmp_path / "start")
    assert main(["resume", "runs/CartPole-v1/ppo/r", "--steps", "256"]) == 0


def test_a2c_takes_the_weights_of_ppos_run_and_says_so_of_others(
    run: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("a2c", "--init-from", str(run))) == 0
    capsys.readouterr()
    shutil.rmtree("runs")
    start = ["--init-from", str(run)]
    sizes = r"hidden.sizes \(7,\) contradicts .*, which has \(32,\)"
    wrong = [
        (words("ppo", "--init-from", str(root / "solved.pt")), "holds the agent dqn, whose weights .* cannot take"),
        (words("dqn", *start), "holds the agent ppo, whose weights DQN cannot take"),
        (words("ppo", *start, "--hidden-sizes", "7"), sizes),
        (words("ppo", "--init-from", "nowhere"), "no run or checkpoint nowhere"),
        (words("ppo", *start, env="Acrobot-v1"), "its weights do not fit the observations"),
    ]
    for given, message in wrong:
        assert main(given) == 2, given
        lines = capsys.readouterr().err.strip().splitlines()
        assert len([line for line in lines if line.startswith("gymnast: ")]) == 1
        assert re.search(message, lines[-1]), lines
    assert not Path("runs").exists()


@pytest.mark.parametrize("task", ["contrastive", "value", "inverse-dynamics", "behaviour-cloning"])
def test_an_encoder_of_a_fitted_network(task: str, run: Path) -> None:
    if task != "behaviour-cloning":
        changes = {"batch_size": 64} if task == "contrastive" else {}
        options = FitOptions(dataset="cart/random-v0", name="e", epochs=1)
        run = fit(task, options, config_class(task)(network="mlp", hidden_sizes=(24,), **changes)).path
    encoder = read_encoder(run)
    with ExitStack() as stack:
        options = TrainOptions(env="CartPole-v1", num_envs=2, device="cpu")
        config = ActorCriticConfig(rollout_steps=32, encoder=str(run))
        parts = Parts.make("ppo", options, config, env=None, stack=stack)
        state = parts.agent.network.actor.backbone.state_dict()  # type: ignore[attr-defined]
        assert encoder.weights
        assert all(torch.equal(state[name], value) for name, value in encoder.weights.items())


def test_the_encoder_of_a_network_with_auxiliary_classifiers_has_none_of_them(tmp_path: Path) -> None:
    config = config_class("classify")(network="inception", network_options={"auxiliary": True, "width": 0.05})
    path = fit("classify", FitOptions(dataset="digits", name="r", epochs=1), config).path
    encoder = read_encoder(path)
    assert encoder.options == {"width": 0.05}
    assert not [name for name in encoder.weights if "auxiliary" in name]
    assert encoder.build()(torch.zeros(2, 8, 8, 1, dtype=torch.uint8)).shape[0] == 2


def distilled(root: Path, teacher: Path, **changes: Any) -> dict[str, float]:
    options = FitOptions(dataset="cart/random-v0", name="d", epochs=30, eval_episodes=0)
    config = DistillationConfig(teacher=str(teacher), hidden_sizes=(16,), learning_rate=3e-3, **changes)
    result = fit("distillation", options, config)
    assert result.exit_code == 0
    assert result.measures is not None
    return result.measures


@pytest.mark.parametrize("loss", ["kl", "mse", "nll"])
def test_distillation_of_a_dqn(root: Path, loss: str) -> None:
    found = distilled(root, root / "solved.pt", loss=loss, temperature=0.1 if loss != "mse" else 1.0)
    assert found["agreement"] > 0.93
    assert found["teacher_parameters"] == 10
    kept = checkpoint.read_agent("runs/cart-random-v0/distillation/d/checkpoints/best.pt")[1]["network"]
    acting = [value for name, value in kept.items() if name.startswith(("actor.", "policy."))]
    assert found["parameters"] == sum(value.numel() for value in acting)


def test_distillation_of_pqn_and_ppo(root: Path, tmp_path: Path) -> None:
    made = {"pqn": PQN(CARTPOLE, TWO, PQNConfig(), seed=3), "ppo": PPO(CARTPOLE, TWO, ActorCriticConfig(), seed=3)}
    made["ppo"].network.policy.weight.data.mul_(100)
    for name, agent in made.items():
        rebuild.save(agent, tmp_path / f"{name}.pt", env="CartPole-v1")
        found = distilled(root, tmp_path / f"{name}.pt")
        assert found["agreement"] > 0.75, name
        assert found["kl"] < 0.5
        shutil.rmtree("runs")


@pytest.mark.parametrize("squash", [False, True])
def test_distillation_of_real_actions(squash: bool, tmp_path: Path) -> None:
    name = f"some/push{int(squash)}-v0"
    worlds.record(name, worlds.here(worlds.Push), steps=600)
    worlds.policy(worlds.Push, tmp_path / "teacher.pt", squash=squash)
    options = FitOptions(dataset=name, name="d", epochs=15, eval_episodes=0)
    result = fit("distillation", options, DistillationConfig(teacher=str(tmp_path / "teacher.pt"), learning_rate=3e-3))
    rows = [json.loads(row) for row in (result.path / "metrics.jsonl").read_text().splitlines()]
    kl = [row["kl"] for row in rows if row["kind"] == "eval"]
    assert kl[-1] < 0.2 * kl[0]
    assert gymnast.load(result.path).config.squash == squash  # type: ignore[attr-defined]


def test_recurrent_and_tabular_teachers_are_declined_in_one_line(root: Path, tmp_path: Path) -> None:
    rebuild.save(
        PPO(CARTPOLE, TWO, ActorCriticConfig(recurrent="gru", minibatches=1)), tmp_path / "gru.pt", env="CartPole-v1"
    )
    with pytest.raises(UsageError, match="a recurrent teacher cannot label single observations"):
        distilled(root, tmp_path / "gru.pt")
    with pytest.raises(UsageError, match="no run or checkpoint nowhere"):
        distilled(root, Path("nowhere"))
    other = PPO(spaces.Box(-1, 1, (3,), np.float32), TWO)
    rebuild.save(other, tmp_path / "other.pt", env="x")
    with pytest.raises(UsageError, match="the teacher has observations") as raised:
        distilled(root, tmp_path / "other.pt")
    assert "\n" not in str(raised.value)
    assert not Path("runs").exists()


def test_a_teacher_labels_in_behaviour_cloning(root: Path) -> None:
    options = FitOptions(dataset="cart/random-v0", name="t", epochs=8, eval_episodes=0)
    config = BehaviourCloningConfig(teacher=str(root / "solved.pt"), learning_rate=3e-3)
    result = fit("behaviour-cloning", options, config)
    assert result.measures is not None
    assert result.measures["accuracy"] > 0.93


# --env ID records.


def recorded(root: Path) -> list[Path]:
    return sorted((root / "recorded").glob("*-v0"))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "empty"))
    return tmp_path / "empty"


def test_an_environment_is_recorded_once(root: Path, empty: Path) -> None:
    given = ["fit", "value", "--env", "gymnast/Chain-v0", "--env-steps", "300", "--epochs", "1", "--out", "runs"]
    assert main([*given, "--name", "a"]) == 0
    (made,) = recorded(empty)
    assert made.name == "gymnast-Chain-v0-random-300-seed0-v0"
    before = (made / "data" / "main_data.hdf5").stat()
    assert main([*given, "--name", "b"]) == 0
    after = (made / "data" / "main_data.hdf5").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    logs = [Path("runs/gymnast-Chain-v0/value", name, "metrics.jsonl").read_bytes() for name in "ab"]
    assert logs[0] == logs[1]
    assert main([*given, "--name", "a", "--env-steps", "301"]) == 2  # the name is taken: nothing is recorded
    assert recorded(empty) == [made]
    policy = str(root / "solved.pt")
    cart = ["fit", "value", "--env", "CartPole-v1", "--env-steps", "300", "--epochs", "1", "--out", "runs"]
    assert main([*cart, "--name", "p", "--policy", policy]) == 0
    (other,) = (path for path in recorded(empty) if path != made)
    assert json.loads((other / "data" / "metadata.json").read_text())["algorithm_name"] == "dqn"


def test_a_run_resumes_without_the_policy_that_was_recorded_but_not_with_other_data(
    root: Path, empty: Path, tmp_path: Path
) -> None:
    shutil.copy(root / "solved.pt", tmp_path / "policy.pt")
    options = FitOptions(env="CartPole-v1", policy="policy.pt", env_steps=200, name="r", epochs=1)
    result = fit("value", options)
    (tmp_path / "policy.pt").unlink()
    assert resume(result.path, epochs=2).exit_code == 0
    (made,) = recorded(empty)
    name = f"recorded/{made.name}"
    shutil.rmtree(made)
    with pytest.raises(UsageError, match="no run or checkpoint"):
        resume(result.path, epochs=3)
    worlds.record(name, "CartPole-v1", steps=200)
    for again in (lambda: resume(result.path, epochs=3), lambda: evaluate(result.path)):
        with pytest.raises(UsageError, match=f"the data set {name} has changed since the run was fitted to it"):
            again()


def test_an_interrupt_while_recording_leaves_nothing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = _Recording._add

    def interrupted(self: Any, *args: Any) -> None:
        add(self, *args)
        if self.added >= 40:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_Recording, "_add", interrupted)
    assert main(["fit", "value", "--env", "CartPole-v1", "--env-steps", "500", "--out", "runs"]) == 130
    assert recorded(empty) == []
    assert not Path("runs").exists()
    assert not [path for path in empty.rglob(".*") if path.is_dir()]


def test_wrong_environments_are_one_line(root: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {
        ("--env", "CartPol-v1"): "did you mean CartPole-v1",
        ("--env", "CartPole-v1", "--policy", "nowhere"): "no run or checkpoint nowhere",
        ("--env", "CartPole-v1", "--env-steps", "0"): "--env-steps must be >= 1",
        ("--env", "Acrobot-v1", "--policy", str(root / "solved.pt")): "env Acrobot-v1 has observations",
    }
    for given, message in wrong.items():
        assert main(["fit", "value", *given, "--out", "runs"]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert message in error[-1], error
        assert len([line for line in error if line.startswith("gymnast:")]) == 1
    assert recorded(empty) == []
    assert not Path("runs").exists()


def test_an_environment_that_data_name_is_only_run_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = worlds.record("some/own-v0", worlds.here(worlds.Walk), steps=200)
    words = ["fit", "behaviour-cloning", "--epochs", "1", "--eval-episodes", "2", "--out", str(tmp_path / "runs")]
    monkeypatch.chdir(Path(worlds.__file__).parent)  # the data know the file without its folder
    capsys.readouterr()
    assert main([*words, "--dataset", name, "--name", "a"]) == 0
    said = capsys.readouterr()
    assert "mean return" not in said.out
    assert "the policy was not played: " in said.err
    assert "Walk is code from outside gymnast; trust=True (--trust) runs it" in said.err
    assert main([*words, "--dataset", name, "--name", "b", "--trust"]) == 0
    assert "mean return" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    given = ["--env", worlds.here(worlds.Walk), "--env-steps", "200", "--name", "c"]
    assert main([*words, *given]) == 0  # named by the user
    assert "mean return" in capsys.readouterr().out
    config = json.loads((tmp_path / "runs/some-own-v0/behaviour-cloning/b/config.json").read_text())
    assert config["run"]["trust"]
    assert (
        main(["resume", str(tmp_path / "runs/some-own-v0/behaviour-cloning/b"), "--epochs", "2"]) == 0
    )  # trust is not inherited
    assert "mean return" not in capsys.readouterr().out


def test_a_recording_of_a_file_is_not_used_for_other_code(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    names = []
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        file.write_text(text, encoding="utf-8", newline="\n")
        names.append(name_of(FitOptions(env=f"{file}:Mine")))
    assert names[0] == names[2] != names[1]
    assert name_of(FitOptions(env="CartPole-v1")) == "recorded/CartPole-v1-random-20000-seed0-v0"
