"""`gymnast export`: exported policies act like their agents, everywhere and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces

import gymnast
from gymnast import agents
from gymnast.cli.main import main
from gymnast.errors import RunError, UsageError
from gymnast.export import formats, parity
from gymnast.export.export import export
from gymnast.export.parity import Parity
from gymnast.export.policy import ExportedPolicy
from gymnast.export.standalone import Policy, random_obs
from gymnast.serving.served import read_policy
from gymnast.settings.export_options import ExportOptions
from tests.serving import post, service_of

VECTOR = spaces.Box(-1.0, 1.0, (4,), np.float32)
PARTS = spaces.Dict(
    place=spaces.Discrete(5, start=1), sight=VECTOR, flags=spaces.Tuple([spaces.MultiBinary(3), spaces.Discrete(2)])
)
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
THREE = spaces.Discrete(3, start=1)
SIZES = {"hidden_sizes": (16,)}
POLICY = {"minibatches": 1, **SIZES}


def dqn(**changes: Any) -> Callable[..., Any]:
    return lambda obs, action: agents.DQN(obs, action, agents.DQNConfig(**{**SIZES, **changes}))


def ppo(**changes: Any) -> Callable[..., Any]:
    return lambda obs, action: agents.ActorCritic(obs, action, agents.ActorCriticConfig(**{**POLICY, **changes}))


def sac(**changes: Any) -> Callable[..., Any]:
    settings = {**SIZES, "memory_size": 8, **changes}
    return lambda obs, action: agents.OffPolicyActorCritic(obs, action, agents.OffPolicyActorCriticConfig(**settings))


FAMILIES: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "q-learning": (spaces.Discrete(16, start=2), THREE, agents.QLearning),
    "rainbow": (VECTOR, THREE, dqn(dueling=True, noisy=True, values="categorical")),
    "r2d2": (VECTOR, THREE, dqn(recurrent="lstm", dueling=True, values="rescaled", memory_size=8)),
    "squashed": (VECTOR, spaces.Box(-2.0, 3.0, (2,), np.float64), ppo(squash=True, normalise_obs=True)),
}
"""Agents by their spaces; the first four are always tested."""
MORE: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "bins": (PARTS, THREE, lambda obs, action: agents.QLearning(obs, action, agents.QLearningConfig(bins=(3,)))),
    "horizon": (
        spaces.MultiDiscrete([3, 4], start=[1, 0]),
        THREE,
        lambda obs, action: agents.QLearning(
            obs, action, agents.QLearningConfig(objective="finite-horizon", horizon=5)
        ),
    ),
    "double-q-learning": (spaces.Discrete(9), THREE, agents.DoubleQLearning),
    "bandit": (spaces.Discrete(1), THREE, agents.UCB),
    "dqn": (VECTOR, THREE, dqn()),
    "dueling": (VECTOR, THREE, dqn(dueling=True, dueling_aggregation="max")),
    "noisy": (VECTOR, THREE, dqn(noisy=True, noise="independent")),
    "qr-dqn": (VECTOR, THREE, dqn(values="quantile", quantiles=5)),
    "iqn": (VECTOR, THREE, dqn(values="implicit", quantiles=5)),
    "votes": (VECTOR, THREE, dqn(bootstrap_heads=5, bootstrap_vote=True, prior_scale=1.0)),
    "transformer": (VECTOR, THREE, dqn(recurrent="transformer", memory_size=8, recurrent_steps=4)),
    "pqn": (
        VECTOR,
        THREE,
        lambda obs, action: agents.PQN(obs, action, agents.PQNConfig(minibatches=1, layer_norm=True)),
    ),
    "cnn": (IMAGE, THREE, dqn(network="nature-cnn")),
    "cnn-last": (spaces.Box(0, 255, (36, 36, 4), np.uint8), THREE, ppo(network="nature-cnn", normalise_obs=True)),
    "ppo": (VECTOR, THREE, ppo(activation="tanh")),
    "multi-discrete": (VECTOR, spaces.MultiDiscrete([3, 2, 4], start=[0, 1, 2]), ppo()),
    "multi-binary": (VECTOR, spaces.MultiBinary(4), ppo()),
    "gaussian": (VECTOR, spaces.Box(np.array([-1.0, -np.inf]), np.array([0.5, np.inf]), dtype=np.float32), ppo()),
    "normalised": (spaces.Box(-np.inf, np.inf, (3, 2), np.float64), THREE, ppo(normalise_obs=True)),
    "trpo": (VECTOR, spaces.Box(-1.0, 2.0, (3,), np.float32), ppo(policy_loss="trust-region", normalise_obs=True)),
    "recurrent-ppo": (VECTOR, THREE, ppo(recurrent="gru", memory_size=8, trunk="separate")),
    "parts": (PARTS, THREE, ppo(normalise_obs=True)),
    "recurrent-sac": (VECTOR, THREE, sac(recurrent="lstm")),
    "recurrent-td3": (VECTOR, spaces.Box(-2.0, 3.0, (2,), np.float32), sac(recurrent="gru", policy="deterministic")),
    "recurrent-parts": (PARTS, spaces.MultiDiscrete([2, 2]), ppo(recurrent="lstm", memory_size=8)),
    "reinforce": (VECTOR, THREE, lambda obs, action: agents.Reinforce(obs, action)),
    "es": (VECTOR, spaces.Box(-1.0, 2.0, (3,), np.float32), agents.EvolutionStrategies),
    "ga-masks": (VECTOR, THREE, agents.GeneticAlgorithm),
}
RELATIVES: dict[str, tuple[Any, Any, Callable[..., Any]]] = {
    "c51": (VECTOR, THREE, dqn(values="categorical")),
    "dqn-parts": (PARTS, THREE, dqn()),
    "sac": (VECTOR, spaces.Box(-2.0, 3.0, (2,), np.float32), sac()),
    "td3": (VECTOR, spaces.Box(-2.0, 3.0, (2,), np.float32), sac(policy="deterministic")),
    "crossq": (
        VECTOR,
        spaces.Box(-2.0, 3.0, (2,), np.float32),
        sac(target_network=False, critic_norm="batch-renorm", policy_norm="batch-renorm"),
    ),
}
"""Each a part of one of the others, or close to one."""


class Random(gym.Env[Any, Any]):
    """Random observations, in episodes of 7 steps; `masks` forbids the last action in odd steps."""

    def __init__(self, observation_space: Any, action_space: Any, masks: bool) -> None:
        self.observation_space, self.action_space, self.masks = observation_space, action_space, masks

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), self.info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype))
        assert not (self.masks and self.steps % 2 and action == 3)
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 7, False, self.info()

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.array([1, 1, self.steps % 2 == 0], np.int8)} if self.masks else {}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Any, Path]]:
    """An agent with random weights in a checkpoint, and its registered environment."""
    root = tmp_path_factory.mktemp("saved")

    def save(name: str, *, masks: bool = False) -> tuple[Any, Path]:
        obs, action, make = {**FAMILIES, **MORE, **RELATIVES}[name]
        env = f"exported/{name}{'-masked' if masks else ''}-v0"
        if env not in gym.registry:
            gym.register(env, lambda: Random(obs, action, masks), disable_env_checker=True)
        agent = make(obs, action)
        scatter(agent)
        path = root / f"{name}{masks}.pt"
        gymnast.save(agent, path, env=env)
        return agent, path

    return save


def scatter(agent: Any) -> None:
    """Give an agent random weights, tables and statistics."""
    generator = torch.Generator().manual_seed(1)
    for network in ("network", "online", "target"):
        module = getattr(agent, network, None)
        if isinstance(module, torch.nn.Module):
            with torch.no_grad():
                for weight in module.parameters():
                    weight += 0.3 * torch.randn(weight.shape, generator=generator)
            norm = getattr(module, "norm", None)
            if norm is not None:
                samples = [agent.observation_space.sample() for _ in range(20)]
                norm.update(stacked(agent.observation_space, samples))
    rng = np.random.default_rng(1)
    for name in ("q", "sums"):
        if hasattr(agent, name):
            getattr(agent, name)[...] = rng.normal(size=getattr(agent, name).shape)
    if hasattr(agent, "counts") and isinstance(agent, agents.UCB):
        agent.counts[...] = 1


def stacked(space: Any, samples: list[Any]) -> Any:
    """Observations as tensors [N, ...] in the agent's form."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        keys = space.spaces.keys() if isinstance(space, spaces.Dict) else range(len(space.spaces))
        return {str(key): stacked(space[key], [sample[key] for sample in samples]) for key in keys}
    return torch.from_numpy(np.stack(samples).astype(np.float32))


def batch_of(space: Any, samples: list[Any]) -> Any:
    """Observations as Gymnasium batches them."""
    if isinstance(space, spaces.Dict):
        return {key: batch_of(part, [sample[key] for sample in samples]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(batch_of(part, [sample[i] for sample in samples]) for i, part in enumerate(space.spaces))
    return np.stack([np.asarray(sample, space.dtype) for sample in samples])


def same(one: Any, other: Any) -> bool:
    assert type(one) is type(other)
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    return bool(np.allclose(one, other, atol=1e-5) if one.dtype.kind == "f" else (one == other).all())


def check_family(name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    """Export, with its comparison; then `predict` of both on single observations and batches, episodes included."""
    agent, path = saved(name, masks=name.endswith("masks"))
    made = export(ExportOptions(str(path), out=str(tmp_path / "out")))
    assert made.parity is not None
    assert made.parity.observations >= 1_000
    assert made.parity.equal == made.parity.comparisons
    exported, alone = ExportedPolicy(tmp_path / "out"), Policy(tmp_path / "out")
    assert exported.observation_space == agent.observation_space
    assert exported.action_space == agent.action_space
    space, rng = agent.observation_space, np.random.default_rng(0)
    space.seed(3)
    for rows in (None, 1, 5):
        for step in range(12):
            samples = [space.sample() for _ in range(rows or 1)]
            obs = samples[0] if rows is None else batch_of(space, samples)
            start = None if step == 0 else (rng.random() < 0.3 if rows is None else rng.random(rows) < 0.3)
            mask = {}
            if name.endswith("masks"):
                allowed = np.array([step % 2, 1, 0], np.int8)
                mask = {"action_mask": allowed if rows is None else np.tile(allowed, (rows, 1))}
            wanted = agent.predict(obs, start=start, **mask)
            assert same(exported.predict(obs, start=start, **mask), wanted)
            assert same(alone(obs, start=start, **mask), wanted)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    check_family(name, saved, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_another_family(name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    check_family(name, saved, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative(name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    check_family(name, saved, tmp_path)


ARRAYS = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "gymnast", "gymnasium"):
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refused())
import numpy as np
from policy import Policy, main

policy, seen = Policy(), np.load("seen.npz")
for step, obs in enumerate(seen["obs"]):
    assert (policy(obs, start=seen["start"][step]) == seen["action"][step]).all()
sys.argv = ["policy", "--rows", "2", "--steps", "3"]
main()
"""


def test_a_folder_needs_neither_torch_nor_gymnast(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    """A recurrent policy, by NumPy and onnxruntime alone, acts as its agent does."""
    agent, path = saved("r2d2")
    export(ExportOptions(str(path), out=str(tmp_path / "out"), observations=40))
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (30, 3, 4)).astype(np.float32)
    start = rng.random((30, 3)) < 0.2
    action = np.stack([agent.predict(row, start=begins) for row, begins in zip(obs, start, strict=True)])
    assert len(np.unique(action)) > 1
    np.savez(tmp_path / "out" / "seen.npz", obs=obs, start=start, action=action)
    done = subprocess.run(
        [sys.executable, "-c", ARRAYS], cwd=tmp_path / "out", capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "dqn, trained on exported/r2d2-v0 for 0 steps" in done.stdout
    assert "  in  memory          float32  ['N', 16]" in done.stdout
    assert "the last of 3 random batches: action [" in done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on CartPole, and what it was exported to."""
    root = tmp_path_factory.mktemp("run")
    words = ["--env", "CartPole-v1", "--steps", "300", "--eval-episodes", "2", "--no-video", "--hidden-sizes", "8"]
    words += ["--learning-starts", "100", "--eval-epsilon", "0.25"]
    assert main(["train", "dqn", *words, "--name", "r", "--out", str(root)]) == 0
    assert main(["export", str(root / "CartPole-v1" / "dqn" / "r"), "--out", str(root / "out")]) == 0
    return root


def test_evaluate_plays_an_exported_policy_like_its_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for path in (run / "CartPole-v1" / "dqn" / "r", run / "out"):
        assert main(["evaluate", str(path), "--episodes", "6", "--num-envs", "3"]) == 0
    of_run, of_policy = capsys.readouterr().out.strip().splitlines()
    assert of_run == of_policy
    loaded = gymnast.load(run / "out")
    played = gymnast.evaluate(loaded, "CartPole-v1", episodes=6, num_envs=3)
    assert f"mean return {played.mean_return:.2f} " in of_policy
    obs = np.array([0.1, 0.2, -0.1, 0.0], np.float32)
    assert loaded.predict(obs) == gymnast.load(run / "CartPole-v1" / "dqn" / "r").predict(obs)


def test_the_folder_describes_itself(run: Path) -> None:
    folder = run / "out"
    assert sorted(item.name for item in folder.iterdir()) == [
        *("README.md", "curve.png", "policy.json", "policy.onnx", "policy.py")
    ]
    contract = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    assert contract["inputs"][0]["shape"] == ["N", 4]
    assert contract["inputs"][0]["space"]["high"][1] == "inf"
    assert contract["outputs"][0]["space"] == {"type": "Discrete", "n": 2, "start": 0}
    assert contract["versions"]["opset"] >= 18
    assert contract["parity"]["equal_actions"] == contract["parity"]["comparisons"] == 1_250
    assert contract["env_step"] <= 300
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    metric = card["model-index"][0]["results"][0]["metrics"][0]
    assert metric["type"] == "mean_reward"
    assert float(metric["value"].split(" +/- ")[0]) >= 8.0
    assert "| input | `obs` | float32 | [N, 4] |" in text
    model = (folder / "policy.onnx").read_bytes()
    for machine in (str(Path(gymnast.__file__).parent), str(Path(torch.__file__).parent), sys.prefix):
        assert machine.encode() not in model


@pytest.fixture(scope="module")
def recurrent(saved: Callable[..., tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent policy, exported."""
    out = tmp_path_factory.mktemp("recurrent") / "out"
    export(ExportOptions(str(saved("r2d2")[1]), out=str(out), observations=8))
    return out


def test_memory_is_an_input_and_the_batch_has_a_name(recurrent: Path) -> None:
    import onnx

    graph = onnx.load(recurrent / "policy.onnx").graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "obs": ["N", 4],
        "memory": ["N", 16],
        "start": ["N"],
        "action": ["N"],
        "preference": ["N", 3],
        "next_memory": ["N", 16],
    }


def test_a_server_keeps_the_memory_of_each_session(recurrent: Path) -> None:
    service = service_of({"m": [read_policy(str(recurrent), device="cpu", trust=False)]})
    space, own = ExportedPolicy(recurrent).observation_space, {name: ExportedPolicy(recurrent) for name in ("a", "b")}
    for step in range(6):
        for name, policy in own.items():
            obs, start = space.sample(), step in (0, 4)
            answer = post(service, "m", json={"obs": obs.tolist(), "session": name, "start": start})
            assert answer.json()["action"] == policy.predict(obs, start=start)
    answer = post(service, "m", json={"obs": obs.tolist(), "session": "a", "deterministic": False})
    assert (answer.status_code, answer.json()["error"]) == (400, "m version 1 acts deterministically only")
    service.close()


def test_torch_export(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    agent, path = saved("squashed")
    made = export(ExportOptions(str(path), to="torch-export", out=str(tmp_path / "out"), observations=100))
    assert made.as_text().startswith("125 of 125 actions equal, greatest difference ")
    policy = torch.export.load(tmp_path / "out" / "policy.pt2").module()
    obs = torch.rand(7, 4)
    with torch.no_grad():
        action, _ = policy(obs)
    assert same(action.numpy(), agent.predict(obs.numpy()))
    with pytest.raises(UsageError, match="which may hold pickles; trust=True"):
        gymnast.load(tmp_path / "out")


def test_safetensors(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    agent, path = saved("rainbow")
    export(ExportOptions(str(path), to="safetensors", out=str(tmp_path / "out"), observations=20))
    weights = numpy.load_file(tmp_path / "out" / "policy.safetensors")
    wanted = {f"network.{name}": value for name, value in agent.online.state_dict().items()}
    assert weights.keys() == wanted.keys()
    assert all((weights[name] == value.numpy()).all() for name, value in wanted.items())


def test_a_policy_that_acts_otherwise_is_not_written(
    saved: Callable[..., tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = formats.runner

    def wrong(*of: Any) -> formats.Run:
        run = runner(*of)

        def other(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = run(arrays)
            return {**found, "action": (found["action"] - 2) % 3 + 1}

        return other

    monkeypatch.setattr(formats, "runner", wrong)
    with pytest.raises(RunError, match=r"differs from the agent: 0 of 50 actions equal"):
        export(ExportOptions(str(saved("q-learning")[1]), out=str(tmp_path / "out"), observations=40))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("action", "ours", "passes"),
    [
        ([1, 2], [[0.0, 1.0], [0.5, 0.5]], True),
        ([1, 2], [[0.0, 1.0], [0.9, 0.5]], False),
        ([1, 3], [[0, 1], [0, 1]], False),
    ],
)
def test_a_tie_is_no_difference(action: list[int], ours: Any, passes: bool) -> None:
    """Of the actions 1 and 2, the second row prefers both alike, or the first one."""
    tied = parity._tied(np.array(ours), np.array(action), 1e-4, 1)
    assert bool(tied[1]) is passes
    found = Parity(observations=2, equal=1, ties=int(tied[1]))
    if passes:
        found.check(1e-4)
    else:
        with pytest.raises(RunError, match="1 of 2 actions equal, greatest"):
            found.check(1e-4)
    with pytest.raises(RunError, match="greatest difference inf"):
        Parity(observations=1, equal=1, preference=float("inf")).check(1e-4)


def test_wrong_input(
    saved: Callable[..., tuple[Any, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(saved("q-learning")[1])
    (tmp_path / "there").mkdir()
    td = agents.TD(spaces.Discrete(4), spaces.Discrete(2))
    gymnast.save(td, tmp_path / "td.pt", env="exported/q-learning-v0")
    dreamer = agents.Iris(spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Discrete(3))
    gymnast.save(dreamer, tmp_path / "iris.pt", env="exported/cnn-v0")
    for words, text in (
        (["export", path, "--out", str(tmp_path / "there")], "already exists; choose another folder"),
        (["export", path, "--to", "onx"], "did you mean onnx?"),
        (["export", path, "--observations", "-1"], "--observations must be >= 0, got -1"),
        (["export", path, "--tolerance", "nan"], "--tolerance must be"),
        (["export", str(tmp_path / "none")], "no run or checkpoint"),
        (["export", str(tmp_path / "td.pt")], "td cannot be exported: it predicts values of a fixed policy"),
        (["export", str(tmp_path / "iris.pt")], "iris cannot be exported: its decision is not a function"),
        (["evaluate", str(tmp_path / "there"), "--episodes", "1"], "is not a run folder"),
    ):
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert text in error, error
        assert len(error.splitlines()) == 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["iris.pt", "td.pt", "there"]


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxscript"), ("safetensors", "safetensors")])
def test_a_missing_package_is_named(
    to: str, package: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    options = ExportOptions(str(saved("q-learning")[1]), to=to, out=str(tmp_path / "out"))  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        export(options)
    assert str(caught.value) == f'export --to {to} needs {package}: pip install "gymnast[export]"'


def test_what_a_policy_is_given_and_read_from_is_checked(run: Path, tmp_path: Path) -> None:
    exported, alone = ExportedPolicy(run / "out"), Policy(run / "out")
    for policy in (exported.predict, alone):
        with pytest.raises(ValueError, match="shape"):
            policy(np.zeros(3, np.float32))
        with pytest.raises(ValueError, match="without"):
            policy(np.zeros(4, np.float32), action_mask=np.ones(2))
    with pytest.raises(ValueError, match="start of shape"):
        exported.predict(np.zeros((2, 4), np.float32), start=[True])
    for name in ("policy.json", "policy.onnx"):
        (tmp_path / name).write_bytes((run / "out" / name).read_bytes())
    content = bytearray((tmp_path / "policy.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "policy.onnx").write_bytes(content)
    with pytest.raises(UsageError, match="is damaged: it does not match its digest"):
        ExportedPolicy(tmp_path)
    (tmp_path / "policy.json").write_text("{}", encoding="utf-8", newline="\n")
    with pytest.raises(UsageError, match="is not the contract of a policy"):
        gymnast.load(tmp_path)


def test_random_observations_lie_in_their_space() -> None:
    rng = np.random.default_rng(0)
    for space in (VECTOR, IMAGE, THREE, spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3], start=[1, -1])):
        from gymnast.export.module import observation_ports
        from gymnast.storage import space_json

        (port,) = observation_ports(space)
        part = {"shape": ["N", *port.shape], "dtype": port.dtype, "space": space_json.encode(space)}
        made = random_obs(part, 20, rng)
        assert all(space.contains(np.asarray(value, space.dtype)) for value in made)


def sampled(policy: Policy, obs: np.ndarray, rows: int, **more: Any) -> np.ndarray:
    """Actions drawn for one observation by the seeds 0, 1, 2 and so on."""
    actions: np.ndarray = policy(np.repeat(obs[None], rows, 0), seed=np.arange(rows), **more)
    return actions


def drawn(
    name: str, saved: Callable[..., tuple[Any, Path]], folder: Path, *, masks: bool = False
) -> tuple[Any, Policy]:
    """An agent, and its policy exported with --sample."""
    agent, path = saved(name, masks=masks)
    made = export(ExportOptions(str(path), out=str(folder), observations=40, sample=True))
    assert made.as_text().startswith("50 of 50 actions equal")
    return agent, Policy(folder)


OBS = np.array([0.3, -0.5, 0.9, 0.1], np.float32)
DRAWS = 20_000


def probabilities(agent: Any) -> list[np.ndarray]:
    """Of the choices at `OBS`: softmax of each part's logits."""
    with torch.no_grad():
        output = agent.network(torch.from_numpy(OBS)[None])[0]
    space = agent.action_space
    sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
    return [part.softmax(1)[0].numpy().astype(np.float64) for part in output.split(sizes, 1)]


def chi_square(counts: np.ndarray, probability: np.ndarray) -> float:
    expected = probability * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("name", ["ppo", "multi-discrete"])
def test_sampled_choices_have_the_agents_probabilities(
    name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path
) -> None:
    agent, policy = drawn(name, saved, tmp_path / "out")
    actions = sampled(policy, OBS, DRAWS).reshape(DRAWS, -1) - np.reshape(agent.action_space.start, (1, -1))
    for part, probability in zip(actions.T, probabilities(agent), strict=True):
        counts = np.bincount(part, minlength=len(probability))
        assert chi_square(counts, probability) < 25  # p < 1e-4 with 3 degrees of freedom
    assert (sampled(policy, OBS, 100) == sampled(policy, OBS, 100)).all()
    assert (policy(np.repeat(OBS[None], 100, 0)) != policy(np.repeat(OBS[None], 100, 0))).any()


def test_sampled_bits_have_the_agents_probabilities(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    agent, policy = drawn("multi-binary", saved, tmp_path / "out")
    with torch.no_grad():
        expected = agent.network(torch.from_numpy(OBS)[None])[0].sigmoid()[0].numpy()
    np.testing.assert_allclose(sampled(policy, OBS, DRAWS).mean(0), expected, atol=5 * 0.5 / DRAWS**0.5)


def test_sampled_masked_actions_are_never_taken(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    _, policy = drawn("ppo", saved, tmp_path / "out", masks=True)
    actions = sampled(policy, OBS, 2_000, action_mask=np.array([1, 1, 0], bool))
    assert set(actions.tolist()) == {1, 2}


@pytest.mark.parametrize("name", ["gaussian", "squashed"])
def test_sampled_numbers_have_the_agents_distribution(
    name: str, saved: Callable[..., tuple[Any, Path]], tmp_path: Path
) -> None:
    """Kolmogorov-Smirnov against the agent's own draws; the parts of an action are independent."""
    agent, policy = drawn(name, saved, tmp_path / "out")
    actions = sampled(policy, OBS, DRAWS).reshape(DRAWS, -1)
    own = np.concatenate([agent.predict(np.repeat(OBS[None], 4_000, 0), deterministic=False) for _ in range(5)])
    own = own.reshape(DRAWS, -1)
    for ours, theirs in zip(actions.T, own.T, strict=True):
        points = np.sort(np.concatenate([ours, theirs]))
        shares = [np.searchsorted(np.sort(values), points, "right") / DRAWS for values in (ours, theirs)]
        assert np.abs(shares[0] - shares[1]).max() < 2.3 / (DRAWS / 2) ** 0.5  # p < 1e-4
    inside = actions[:, 0] < actions[:, 0].max()  # not clipped
    assert abs(np.corrcoef(actions[inside, 0], actions[inside, 1])[0, 1]) < 0.05


def test_what_a_sampled_policy_is_given(saved: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    _, policy = drawn("ppo", saved, tmp_path / "out")
    with pytest.raises(ValueError, match="the seed must be an integer, or 2 of them"):
        policy(np.stack([OBS, OBS]), seed=[1, 2, 3])
    assert ExportedPolicy(tmp_path / "out").draws
    other = tmp_path / "other"
    export(ExportOptions(str(saved("ppo")[1]), out=str(other), observations=8))
    with pytest.raises(ValueError, match="exported without --sample"):
        Policy(other)(OBS, seed=1)
    with pytest.raises(UsageError, match="dqn cannot be exported: it has no distribution to draw from"):
        export(ExportOptions(str(saved("dqn")[1]), out=str(tmp_path / "dqn"), sample=True))


def test_a_torch_program_is_played_when_it_is_trusted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run / "program"
    path = run / "CartPole-v1" / "dqn" / "r"
    assert main(["export", str(path), "--to", "torch-export", "--out", str(folder), "--observations", "20"]) == 0
    assert main(["evaluate", str(folder), "--episodes", "5"]) == 2
    assert capsys.readouterr().err == (
        f"gymnast: {folder} is a program of torch.export, which may hold pickles; trust=True (--trust) runs it\n"
    )
    results = []
    for place in (folder, path):
        assert main(["evaluate", str(place), "--episodes", "5", "--json", "--trust"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["mean_return"] == results[1]["mean_return"]


def test_a_member_of_a_population(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "pqn", "--env", "gymnast/CartPole-v1", "--seeds", "3:5", "--steps", "256", "--name", "many"]
    assert main([*words, "--out", str(tmp_path), "--hidden-sizes", "8"]) == 0
    path, out = tmp_path / "gymnast-CartPole-v1" / "pqn" / "many", tmp_path / "member"
    assert main(["export", str(path), "--member", "4", "--out", str(out), "--observations", "20"]) == 0
    capsys.readouterr()
    results = []
    for command in ([str(out)], [str(path), "--member", "4"]):
        assert main(["evaluate", *command, "--episodes", "5", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out)["mean_return"])
    assert results[0] == results[1]
    assert main(["export", str(path), "--member", "7", "--out", str(tmp_path / "no")]) == 2
    assert "--member must be a seed of" in capsys.readouterr().err
