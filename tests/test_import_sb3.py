"""Policies of Stable-Baselines3: the numbers are those by hand, a hostile file runs nothing, errors are one line."""

import base64
import io
import itertools
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import gymnast
from gymnast.cli.main import main
from gymnast.export import sb3_file

Weights = dict[str, Tensor]


def layers(generator: torch.Generator, *named: tuple[str, tuple[int, ...]]) -> Weights:
    """Random weights and biases of layers, by name and shape of the weight."""
    made = {}
    for name, shape in named:
        made[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.3
        made[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
    return made


def dqn(sizes: tuple[int, ...] = (4, 16, 8, 2)) -> Weights:
    generator = torch.Generator().manual_seed(1)
    pairs = list(itertools.pairwise(sizes))
    return {
        name: value
        for net in ("q_net", "q_net_target")
        for name, value in layers(
            generator, *((f"{net}.q_net.{2 * at}", (out, into)) for at, (into, out) in enumerate(pairs))
        ).items()
    }


def actor_critic(inputs: int, outputs: int, hidden: tuple[int, ...] = (16, 8), *, scales: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(2)
    sizes = (inputs, *hidden)
    found: Weights = {"log_std": torch.linspace(-1, 0.5, scales)} if scales else {}
    for net in ("policy", "value"):
        for at, (into, out) in enumerate(itertools.pairwise(sizes)):
            found |= layers(generator, (f"mlp_extractor.{net}_net.{2 * at}", (out, into)))
    return found | layers(generator, ("action_net", (outputs, sizes[-1])), ("value_net", (1, sizes[-1])))


NATURE: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("cnn.0", (32, 4, 8, 8)),
    ("cnn.2", (64, 32, 4, 4)),
    ("cnn.4", (64, 64, 3, 3)),
    ("linear.0", (512, 3136)),
)


def nature(actions: int) -> Weights:
    """CnnPolicy writes its shared features three times."""
    generator = torch.Generator().manual_seed(3)
    features = {name: value * 0.1 for name, value in layers(generator, *NATURE).items()}
    sides = ("features_extractor", "pi_features_extractor", "vf_features_extractor")
    found = {f"{side}.{name}": value for side in sides for name, value in features.items()}
    return found | layers(generator, ("action_net", (actions, 512)), ("value_net", (1, 512)))


def data(kind: str, **more: Any) -> dict[str, Any]:
    modules = {"dqn": "stable_baselines3.dqn.policies"}
    policy = {":type:": "<class 'abc.ABCMeta'>", "__module__": modules.get(kind, "stable_baselines3.common.policies")}
    found = {"policy_class": policy, "policy_kwargs": {}, "num_timesteps": 12_345, "gamma": 0.97, "use_sde": False}
    return found | ({"clip_range": {":type:": "<class 'FloatSchedule'>"}} if kind == "ppo" else {}) | more


def packed(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def entries(described: dict[str, Any], state: Any) -> dict[str, bytes]:
    """The files of Stable-Baselines3 2.9.2, in its order."""
    return {
        "data": json.dumps(described).encode(),
        "pytorch_variables.pth": packed({}),
        "policy.pth": packed(state),
        "policy.optimizer.pth": packed({}),
        "_stable_baselines3_version": b"2.9.2",
        "system_info.txt": b"- OS: Linux",
    }


def imported(tmp_path: Path, described: dict[str, Any], state: Weights, env: str) -> Path:
    file = zipped(tmp_path / "model.zip", entries(described, state))
    assert main(["import", "sb3", str(file), "--env", env, "--out", str(tmp_path / "runs")]) == 0
    (found,) = (tmp_path / "runs").glob("*/*/sb3-model")
    return found


def forward(state: Weights, names: list[str], x: Tensor, activate: Callable[[Tensor], Tensor]) -> Tensor:
    for name in names:
        x = activate(functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]))
    return x


def preference(run: Path, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Actions and what is preferred: action values, logits or means."""
    with torch.no_grad():
        action, preferred, _ = gymnast.load(run).greedy_policy().eval()(obs, None, None)
    return action, preferred


def test_dqn(tmp_path: Path) -> None:
    state = dqn()
    run = imported(tmp_path, data("dqn", batch_size=32), state, "CartPole-v1")
    obs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    hidden = forward(state, ["q_net.q_net.0", "q_net.q_net.2"], obs, torch.relu)
    by_hand = functional.linear(hidden, state["q_net.q_net.4.weight"], state["q_net.q_net.4.bias"])
    action, values = preference(run, obs)
    torch.testing.assert_close(values, by_hand, rtol=0, atol=1e-6)
    assert action.equal(by_hand.argmax(1))
    agent = gymnast.load(run)
    assert (agent.env_step, agent.config.gamma) == (12_345, 0.97)
    target = agent.state_dict()["target"]["head.stream.output.weight"]
    assert target.equal(state["q_net_target.q_net.4.weight"])
    assert json.loads((run / "config.json").read_text())["versions"]["stable-baselines3"] == "2.9.2"


def test_one_hot_observations(tmp_path: Path) -> None:
    state = dqn((16, 8, 4))
    run = imported(tmp_path, data("dqn"), state, "FrozenLake-v1")
    obs = torch.arange(16)
    hidden = forward(state, ["q_net.q_net.0"], functional.one_hot(obs, 16).float(), torch.relu)
    by_hand = functional.linear(hidden, state["q_net.q_net.2.weight"], state["q_net.q_net.2.bias"])
    torch.testing.assert_close(preference(run, obs)[1], by_hand, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["ppo", "a2c"])
@pytest.mark.parametrize("activation", ["Tanh", "ELU"])
def test_discrete_actor_critic(kind: str, activation: str, tmp_path: Path) -> None:
    state = actor_critic(4, 2)
    given = {"activation_fn": f"<class 'torch.nn.modules.activation.{activation}'>", ":serialized:": "gASVAAAA"}
    described = data(kind) if activation == "Tanh" else data(kind, policy_kwargs=given)
    run = imported(tmp_path, described, state, "CartPole-v1")
    assert run.parent.name == kind
    obs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    activate = {"Tanh": torch.tanh, "ELU": functional.elu}[activation]
    hidden = forward(state, ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2"], obs, activate)
    by_hand = functional.linear(hidden, state["action_net.weight"], state["action_net.bias"])
    torch.testing.assert_close(preference(run, obs)[1], by_hand, rtol=0, atol=1e-6)
    network = gymnast.load(run).network
    hidden = forward(state, ["mlp_extractor.value_net.0", "mlp_extractor.value_net.2"], obs, activate)
    value = functional.linear(hidden, state["value_net.weight"], state["value_net.bias"])
    torch.testing.assert_close(network(obs)[1].detach(), value, rtol=0, atol=1e-6)


def test_box_actions_are_clipped_means_with_the_same_deviations(tmp_path: Path) -> None:
    state = actor_critic(3, 1, scales=1)
    run = imported(tmp_path, data("ppo"), state, "Pendulum-v1")
    obs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 5
    hidden = forward(state, ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2"], obs, torch.tanh)
    mean = functional.linear(hidden, state["action_net.weight"] * 1.0, state["action_net.bias"])
    action, _ = preference(run, obs)
    torch.testing.assert_close(action, mean.clamp(-2, 2), rtol=0, atol=1e-6)
    assert gymnast.load(run).network.log_std.equal(state["log_std"])


def test_the_nature_network(tmp_path: Path) -> None:
    state = nature(6)
    run = imported(tmp_path, data("ppo"), state, "ALE/Pong-v5")
    obs = torch.randint(0, 256, (3, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = obs.float() / 255
    for name, stride in (("cnn.0", 4), ("cnn.2", 2), ("cnn.4", 1)):
        kernel = [state[f"features_extractor.{name}.{kind}"] for kind in ("weight", "bias")]
        x = functional.conv2d(x, *kernel, stride=stride).relu()
    x = forward(state, ["features_extractor.linear.0"], x.flatten(1), torch.relu)
    by_hand = functional.linear(x, state["action_net.weight"], state["action_net.bias"])
    torch.testing.assert_close(preference(run, obs)[1], by_hand, rtol=1e-5, atol=1e-4)


def test_the_run_is_evaluated_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = imported(tmp_path, data("ppo"), actor_critic(4, 2), "CartPole-v1")
    assert f"gymnast train ppo --env CartPole-v1 --init-from {run}" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--episodes", "2"]) == 0
    assert "ppo on CartPole-v1 after 12,345 env steps: mean return" in capsys.readouterr().out
    words = ["train", "ppo", "--env", "CartPole-v1", "--init-from", str(run), "--steps", "128", "--no-video"]
    assert main([*words, "--learning-rate", "0", "--out", str(tmp_path), "--name", "on"]) == 0
    after = gymnast.load(tmp_path / "CartPole-v1/ppo/on").network.state_dict()
    assert all(value.equal(after[name]) for name, value in gymnast.load(run).network.state_dict().items())


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_hostile_file_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touched = tmp_path / "touched"
    harmful = pickle.dumps(Harmful(touched))
    described = data("ppo")
    described["lr_schedule"] = {":type:": "<class 'function'>", ":serialized:": base64.b64encode(harmful).decode()}
    described["policy_kwargs"] = {":type:": "<class 'dict'>", ":serialized:": base64.b64encode(harmful).decode()}
    good = entries(described, actor_critic(4, 2))
    for name in ("pytorch_variables.pth", "policy.optimizer.pth"):
        good[name] = packed(Harmful(touched))
    words = ["import", "sb3", str(tmp_path / "model.zip"), "--env", "CartPole-v1", "--out", str(tmp_path / "runs")]
    zipped(tmp_path / "model.zip", good)
    assert main(words) == 0  # what is not read does no harm
    for bad in (packed({**actor_critic(4, 2), "more": Harmful(touched)}), harmful):
        zipped(tmp_path / "model.zip", {**good, "policy.pth": bad})
        capsys.readouterr()
        assert main([*words, "--name", "other"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not touched.exists()
    pickle.loads(harmful)  # noqa: S301 - of our own
    assert touched.exists()  # it is one that would have been seen


def huge() -> Weights:
    """A few bytes that say that they are a petabyte."""
    return actor_critic(4, 2) | {"action_net.weight": torch.zeros(1).expand(1 << 20, 1 << 28)}


def packed_inside() -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(packed(dqn()))) as plain,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in plain.namelist():
            made.writestr(name, plain.read(name))
    return file.getvalue()


@pytest.mark.parametrize(
    ("described", "state", "changes", "message"),
    [
        (
            data("ppo"),
            actor_critic(4, 2),
            {"evil.py": b"1"},
            "is not DQN, PPO or A2C of Stable-Baselines3: it holds 'e",
        ),
        (data("ppo"), actor_critic(4, 2), {"../data": b"1"}, "it holds '../data'"),
        (data("ppo"), actor_critic(4, 2), {"policy.pth": None}, "it has no policy.pth"),
        (data("ppo"), actor_critic(4, 2), {"data": b"[" * 100_000}, "data is not a JSON object"),
        (data("ppo"), actor_critic(4, 2), {"data": b"[]"}, "data is not a JSON object"),
        (data("ppo"), actor_critic(4, 2), {"policy.pth": b"no"}, "policy.pth is damaged"),
        (data("ppo"), actor_critic(4, 2), {"policy.pth": packed_inside()}, "policy.pth is compressed"),
        (
            data("ppo"),
            actor_critic(4, 2),
            {"_stable_baselines3_version": b"0" * 2000},
            "is larger than the 1,024 bytes",
        ),
        (data("ppo"), huge(), {}, "policy.pth has more than 500,000,000 numbers"),
        (data("ppo"), [1, 2], {}, "policy.pth does not hold the weights of a policy"),
        (data("ppo"), actor_critic(4, 2) | {"value_net.bias": torch.tensor([torch.nan])}, {}, "are not finite"),
        (data("ppo"), actor_critic(4, 2) | {"value_net.bias": torch.zeros(1).half()}, {}, "is not of float32"),
        (data("ppo"), actor_critic(5, 2), {}, "does not fit CartPole-v1: mlp_extractor.policy_net.0.weight is [16, 5]"),
        (data("ppo"), actor_critic(4, 2, scales=2), {}, "does not fit CartPole-v1"),
        (data("ppo", use_sde=True), actor_critic(4, 2), {}, "explores by gSDE"),
        (data("ppo", policy_kwargs={"squash_output": "True"}), actor_critic(4, 2), {}, "argument squash_output cannot"),
        (
            data("ppo", policy_kwargs={"activation_fn": "<class 'my.Act'>"}),
            actor_critic(4, 2),
            {},
            "the activation <cl",
        ),
        (data("ppo", policy_class={"__module__": "mine"}), actor_critic(4, 2), {}, "has a policy of its own, of mine"),
        (data("sac"), layers(torch.Generator(), ("actor.mu", (2, 4))), {}, "is not DQN, PPO or A2C: its weights begin"),
    ],
)
def test_files_that_are_refused(
    described: dict[str, Any],
    state: Any,
    changes: dict[str, bytes | None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = {name: text for name, text in (entries(described, state) | changes).items() if text is not None}
    file = zipped(tmp_path / "model.zip", content)
    assert main(["import", "sb3", str(file), "--env", "CartPole-v1", "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_bomb_is_refused_by_the_size_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sb3_file.ENTRIES, "data", 1_000)
    content = entries(data("ppo"), actor_critic(4, 2)) | {"data": b"0" * 100_000}
    file = zipped(tmp_path / "model.zip", content, zipfile.ZIP_DEFLATED)
    assert main(["import", "sb3", str(file), "--env", "CartPole-v1"]) == 2
    assert "data is larger than the 1,000 bytes allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sb3", "missing.zip"], "no file missing.zip"),
        (["sb3", "text.zip"], "text.zip cannot be read as a zip: File is not a zip file"),
        (["rllib", "text.zip"], "import reads sb3, not rllib"),
        (["sb3"], "import needs FILE.zip"),
    ],
)
def test_wrong_words(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.zip").write_text("text")
    assert main(["import", *words, "--env", "CartPole-v1"]) == 2
    assert capsys.readouterr().err == f"gymnast: {message}\n"


@pytest.mark.parametrize(("kind", "env"), [("DQN", "CartPole-v1"), ("PPO", "CartPole-v1"), ("A2C", "Pendulum-v1")])
def test_what_stable_baselines3_writes(kind: str, env: str, tmp_path: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    model = getattr(sb3, kind)("MlpPolicy", env, device="cpu", seed=1, policy_kwargs={"net_arch": [24, 12]})
    model.save(tmp_path / "model.zip")
    assert main(["import", "sb3", str(tmp_path / "model.zip"), "--env", env, "--out", str(tmp_path)]) == 0
    (run,) = tmp_path.glob("*/*/sb3-model")
    agent = gymnast.load(run)
    space = gym.make(env).observation_space
    space.seed(3)
    observations = [np.clip(space.sample(), -5, 5) for _ in range(50)]
    for obs in observations:
        np.testing.assert_allclose(agent.predict(obs), model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)
