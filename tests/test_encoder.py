"""Encoders: runs that start from another run's backbone (`gymnast/storage/encoder.py`, `training/encoding.py`)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast import agents
from gymnast.agents import DQN, PPO, DQNConfig
from gymnast.agents.base import Acted
from gymnast.agents.optim import optimizers
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.hogwild import Follower, Shared
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.errors import UsageError
from gymnast.networks.build import build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.settings import agents as names
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, rebuild, space_json
from gymnast.storage.checkpoint import About
from gymnast.storage.encoder import read_encoder, same_kind
from gymnast.training.parts import Parts

CARTPOLE = gym.make("CartPole-v1").observation_space
TWO = spaces.Discrete(2)
FRAMES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
DEEP = ("dqn", "rainbow", "r2d2", "pqn", "ppo", "a2c", "trpo", "reinforce")
SMALL: dict[str, dict[str, Any]] = {
    "dqn": {"learning_starts": 50, "replay_size": 500},
    "rainbow": {"learning_starts": 50, "replay_size": 500},
    "r2d2": {"learning_starts": 100, "replay_size": 500},
    "pqn": {"rollout_steps": 16, "minibatches": 2},
    "ppo": {"rollout_steps": 32},
    "a2c": {},
    "trpo": {"rollout_steps": 32},
    "reinforce": {"episodes": 2},
}
STEPS = 320


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a DQN for CartPole, whose backbone is an MLP of 24 units."""
    path = tmp_path_factory.mktemp("source") / "dqn.pt"
    rebuild.save(DQN(CARTPOLE, TWO, DQNConfig(hidden_sizes=(24, 12)), seed=7), path, env="CartPole-v1")
    return path


def parts_of(agent: str, stack: ExitStack, *, env: str = "CartPole-v1", **changes: Any) -> Parts:
    config = dataclasses.replace(names.default_config(agent), **SMALL.get(agent, {}) | changes)
    return Parts.make(agent, TrainOptions(env=env, num_envs=2, device="cpu"), config, env=None, stack=stack)


def backbones(agent: Any) -> list[nn.Module]:
    if isinstance(agent, DQN):
        return [agent.online.backbone, agent.target.backbone]
    return list(agent.network.backbones) if hasattr(agent.network, "backbones") else [agent.network.backbone]


def same(state: dict[str, Tensor], weights: dict[str, Tensor]) -> bool:
    return state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)


def words(agent: str, path: Path, out: Path, *more: str, name: str = "r", steps: int = STEPS) -> list[str]:
    given = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL[agent].items()]
    fixed = ["--env", "CartPole-v1", "--num-envs", "2", "--no-video", "--eval-episodes", "2", "--log-every", "40"]
    run = ["--steps", str(steps), "--out", str(out), "--name", name, "--encoder", str(path)]
    return ["train", agent, *fixed, *run, *given, *more]


def state_of(run: Path) -> dict[str, Any]:
    return checkpoint.read(run / "checkpoints" / "last.pt")[1]["agent"]


def kept_backbone(agent: str, run: Path) -> dict[str, Tensor]:
    """The policy's or the online network's backbone in a run's last checkpoint."""
    part, prefix = ("online", "backbone.") if agent in ("dqn", "rainbow", "r2d2") else ("network", "actor.backbone.")
    prefix = "backbone." if agent == "pqn" else prefix
    state = state_of(run)[part]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("agent", DEEP)
def test_the_weights_arrive_in_every_deep_agent(agent: str, source: Path) -> None:
    encoder = read_encoder(source)
    with ExitStack() as stack:
        parts = parts_of(agent, stack, encoder=str(source))
        assert (parts.config.network, parts.config.encoder_layers["hidden_sizes"]) == ("mlp", (24,))
        assert all(same(dict(one.state_dict()), encoder.weights) for one in backbones(parts.agent))
        # The fast forms read the loaded weights too.
        obs = torch.randn(2, 4)
        actor = parts.agent.actor(2, explore=False, seed=0)
        first = actor.act(obs, torch.ones(2, dtype=torch.bool)).action
        again = parts.agent.predict(obs)  # type: ignore[attr-defined]
        assert torch.equal(first, torch.as_tensor(again))


def test_an_encoder_of_pixels_keeps_dqns_layer_of_512_units(tmp_path: Path) -> None:
    agent = DQN(FRAMES, spaces.Discrete(3), DQNConfig(dueling=True, replay_size=100), seed=3)
    rebuild.save(agent, tmp_path / "a.pt", env="game")
    encoder = read_encoder(tmp_path / "a.pt")
    assert (encoder.name, encoder.hidden_sizes) == ("nature-cnn", ())
    obs = torch.randint(0, 256, (5, 4, 84, 84)).to(torch.uint8)
    features = agent.online.backbone(obs)
    assert torch.equal(encoder.build()(obs), features)
    config = DQNConfig(
        encoder="a.pt", network="nature-cnn", encoder_layers=dataclasses.asdict(encoder.layers), replay_size=100
    )
    other = DQN(FRAMES, spaces.Discrete(3), config)
    other.load_encoder(encoder.weights, None)
    assert torch.equal(other.online.backbone(obs), features)
    assert [layer.out_features for layer in other.online.head.stream.hidden] == [512]  # type: ignore[union-attr]


@pytest.mark.parametrize("agent", DEEP)
def test_a_frozen_encoder_stays_bit_for_bit_and_what_is_above_learns(
    agent: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(agent, source, tmp_path, "--freeze-encoder")) == 0, capsys.readouterr().err
    run = tmp_path / "CartPole-v1" / agent / "r"
    assert same(kept_backbone(agent, run), read_encoder(source).weights)
    with ExitStack() as stack:
        untrained = parts_of(agent, stack, encoder=str(source), freeze_encoder=True).agent.state_dict()
    part = "online" if "online" in untrained else "network"
    trained = state_of(run)
    assert trained["updates"] > 0
    moved = [name for name, value in untrained[part].items() if not torch.equal(value, trained[part][name])]
    assert moved
    assert not any("backbone" in name for name in moved)
    learned = {name for name, _ in trained["optimizer"]["layout"]}
    assert learned
    assert not any("backbone" in name for name in learned)


@pytest.mark.parametrize("agent", ["dqn", "ppo", "pqn", "reinforce"])
def test_a_learning_rate_of_its_own(
    agent: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = read_encoder(source).weights
    for rate, stays in (("0", True), ("1e-3", False)):
        assert main(words(agent, source, tmp_path, "--encoder-learning-rate", rate, name=rate)) == 0
        run = tmp_path / "CartPole-v1" / agent / rate
        assert same(kept_backbone(agent, run), weights) is stays
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        logged = {record["encoder_learning_rate"] for record in records if record["kind"] == "train"}
        assert logged == {float(rate)}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("agent", "how"),
    [
        ("dqn", ["--freeze-encoder"]),
        ("rainbow", ["--encoder-learning-rate", "linear:1e-3:1e-5:300"]),
        ("ppo", ["--encoder-learning-rate", "1e-4"]),
        ("ppo", ["--freeze-encoder"]),
        ("pqn", []),
        ("reinforce", ["--encoder-learning-rate", "1e-4", "--trunk", "separate"]),
    ],
)
def test_a_run_resumes_exactly_and_evaluates_without_the_encoders_file(
    agent: str, how: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    file = Path(shutil.copy(source, folder))
    assert main(words(agent, file, tmp_path, *how, name="whole", steps=2 * STEPS)) == 0
    assert main(words(agent, file, tmp_path, *how, name="halves")) == 0
    shutil.rmtree(folder)
    whole, halves = (tmp_path / "CartPole-v1" / agent / name for name in ("whole", "halves"))
    assert main(["resume", str(halves), "--steps", str(2 * STEPS)]) == 0, capsys.readouterr().err
    one, other = state_of(whole), state_of(halves)
    part = "online" if "online" in one else "network"
    assert same(one[part], other[part])
    assert optimizer_numbers(one) == optimizer_numbers(other)

    def trained(run: Path) -> list[str]:
        return [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"kind":"train"' in line]

    assert trained(whole) == trained(halves)
    assert main(["evaluate", str(halves), "--episodes", "1"]) == 0


def optimizer_numbers(state: dict[str, Any]) -> list[Any]:
    found = state["optimizer"]["state"]
    assert list(found) == [0]  # one flat state, however many groups there are
    return [value.tolist() if isinstance(value, Tensor) else value for value in found[0].values()]


def test_a3c_shares_a_frozen_encoder_with_its_workers(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ActorCriticConfig(freeze_encoder=True, trunk="shared")
    parent, worker = (PPO(CARTPOLE, TWO, config, seed=seed) for seed in (0, 1))
    frozen = parent.network.actor.backbone.state_dict()
    assert not same(dict(frozen), dict(worker.network.actor.backbone.state_dict()))
    worker.follow(Shared.of(parent.weights, "adam", parent.optimizer))
    assert same(dict(frozen), dict(worker.network.actor.backbone.state_dict()))
    capsys.readouterr()


def test_workers_move_two_groups_at_their_own_rates() -> None:
    modules = [nn.ModuleDict({"low": nn.Linear(3, 2), "high": nn.Linear(2, 1)}) for _ in range(2)]
    flats = [FlatParameters(module, apart=(module["low"],)) for module in modules]
    optimizer = optimizers.build_groups("sgd", flats[0].groups, lr=1.0)
    follower = Follower(flats[1], Shared.of(flats[0], "sgd", optimizer), optimizer="sgd", eps=None)
    before = flats[0].data.clone()
    flats[1].grad.fill_(1.0)
    optimizers.set_learning_rate(follower.optimizer, 0.5)
    optimizers.set_learning_rate(follower.optimizer, 0.25, group=1)
    follower.step()
    step = before - flats[0].data
    assert torch.allclose(step, torch.tensor([0.25] * 8 + [0.5] * 3))
    assert torch.equal(flats[0].data, flats[1].data)


@pytest.mark.parametrize("name", ["adam", "nature-rmsprop", "radam"])
def test_two_groups_are_two_optimizers_whose_state_is_kept_by_names(name: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1))
    flat = FlatParameters(module, apart=(module[1],))  # in the middle: the others are two runs
    assert flat.spans == [[(0, 9), (17, 20)], [(9, 17)]]
    optimizer = optimizers.build_groups(name, flat.groups, lr=0.1)
    slow, quick = (nn.Parameter(flat.data.clone()) for _ in range(2))
    references = [optimizers.build(name, one, lr=rate) for one, rate in ((quick, 0.1), (slow, 0.01))]
    optimizers.set_learning_rate(optimizer, 0.01, group=1)
    generator = torch.Generator().manual_seed(0)

    def step(which: torch.optim.Optimizer, grad: Tensor) -> None:
        flat.grad.copy_(grad)
        which.step()
        for one, reference in zip((quick, slow), references, strict=True):
            one.grad = grad.clone()
            reference.step()

    for _ in range(3):
        step(optimizer, torch.randn(20, generator=generator))
    wanted = torch.cat([quick[:9], slow[9:17], quick[17:]])
    assert torch.allclose(flat.data, wanted, atol=1e-7)
    state = optimizers.state_of(optimizer, flat)
    again = optimizers.build_groups(name, flat.groups, lr=0.1)
    optimizers.set_learning_rate(again, 0.01, group=1)
    optimizers.load_state(again, state, flat)
    step(again, torch.randn(20, generator=generator))
    assert torch.allclose(flat.data, torch.cat([quick[:9], slow[9:17], quick[17:]]), atol=1e-7)


class Normed(nn.Module):
    out_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)

    def forward(self, obs: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.layer(obs))
        return normed


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_normalisation_of_a_frozen_backbone_keeps_its_statistics(frozen: bool) -> None:
    config = DQNConfig(freeze_encoder=frozen, learning_starts=8, batch_size=8, replay_size=100, train_period=1)
    agent = DQN(CARTPOLE, TWO, config, network=Normed())
    before = {name: value.clone() for name, value in agent.online.backbone.state_dict().items()}
    for number in range(12):
        obs = torch.randn(1, 4) + 5.0
        flags = torch.zeros(1, dtype=torch.bool)
        agent.store(
            obs,
            Acted(torch.tensor([number % 2])),
            Step(obs, flags, obs, torch.ones(1), flags, flags, num_active=1, num_ended=0),
        )
    agent.learn()
    after = dict(agent.online.backbone.state_dict())
    assert same(after, before) is frozen
    assert torch.equal(after["norm.running_mean"], before["norm.running_mean"]) is frozen


def test_statistics_of_normalised_observations_come_along(tmp_path: Path) -> None:
    agent = PPO(CARTPOLE, TWO, ActorCriticConfig(normalise_obs=True))
    assert agent.network.norm is not None
    agent.network.norm.update(torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]]))
    rebuild.save(agent, tmp_path / "a.pt", env="CartPole-v1")
    with ExitStack() as stack:
        parts = parts_of("reinforce", stack, encoder=str(tmp_path / "a.pt"))
        assert parts.config.normalise_obs
        norm = parts.agent.network.norm  # type: ignore[attr-defined]
        assert norm.moments.mean.tolist() == [2.0, 2.0, 2.0, 2.0]
        assert norm.moments.count == 2.0
        with pytest.raises(ValueError, match="reads normalised observations, which this agent does not have"):
            parts_of("dqn", stack, encoder=str(tmp_path / "a.pt"))


def test_a_fitted_network_is_an_encoder(tmp_path: Path) -> None:
    options = {"width": 1}
    backbone = build("impala", FRAMES, options=options, hidden_sizes=(16,), generator=torch.Generator().manual_seed(1))
    config = {
        "network": "impala",
        "network_options": options,
        "hidden_sizes": [16],
        "activation": "relu",
        "layer_norm": False,
        "init": "orthogonal",
    }
    space = space_json.encode(FRAMES)
    about = About("fit", config, "minari/pong-v0", 0, space, space_json.encode(TWO), {}, {})
    checkpoint.save(tmp_path / "fit.pt", about, {"agent": {"backbone": dict(backbone.state_dict())}})
    encoder = read_encoder(tmp_path / "fit.pt")
    assert (encoder.agent, encoder.trained_on, encoder.hidden_sizes) == ("fit", "minari/pong-v0", (16,))
    obs = torch.randint(0, 256, (2, 4, 84, 84)).to(torch.uint8)
    with torch.no_grad():
        assert torch.equal(encoder.build()(obs), backbone.eval()(obs))
    agent = PPO(FRAMES, TWO, network=encoder.build())
    assert same(dict(agent.network.actor.backbone.state_dict()), encoder.weights)


def test_an_encoder_of_an_encoder(source: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = parts_of("ppo", stack, encoder=str(source)).agent
        rebuild.save(first, tmp_path / "b.pt", env="CartPole-v1")
        encoder = read_encoder(tmp_path / "b.pt")
        assert (encoder.hidden_sizes, encoder.activation) == ((24,), "relu")  # not PPO's own tanh
        assert same(encoder.weights, read_encoder(source).weights)


@pytest.mark.parametrize(
    ("agent", "changes", "message"),
    [
        ("dqn", {"network": "linear"}, "network linear contradicts encoder .*, which is mlp$"),
        ("dqn", {"hidden_sizes": (32, 12)}, "hidden_sizes 32 12 contradict encoder .*, whose layers have 24$"),
        ("ppo", {"hidden_sizes": (64, 64)}, "hidden_sizes 64 64 contradict encoder"),
        ("ppo", {"normalise_obs": True}, "normalise_obs cannot be combined with encoder .*reads observations as"),
        ("a2c", {"recurrent": "gru", "env": "Acrobot-v1"}, r"reads float32 \[4\] .*Acrobot-v1 are float32 \[6\]$"),
        ("pqn", {"env": "gymnast/Chain-v0"}, r"reads float32 \[4\] .*gymnast/Chain-v0 are Discrete\(5\)$"),
    ],
)
def test_settings_that_contradict_the_encoder(agent: str, changes: dict[str, Any], message: str, source: Path) -> None:
    with ExitStack() as stack, pytest.raises(ValueError, match=message):
        parts_of(agent, stack, encoder=str(source), **changes)


def test_sizes_that_agree_with_the_encoder_choose_dqns_own_layer(source: Path) -> None:
    with ExitStack() as stack:
        parts = parts_of("dqn", stack, encoder=str(source), network="mlp", hidden_sizes=(24, 5))
        assert [layer.out_features for layer in parts.agent.online.head.stream.hidden] == [5]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--freeze-encoder", "freeze_encoder needs encoder RUN"),
        ("--encoder-learning-rate 1e-4", "encoder_learning_rate needs encoder RUN"),
        ("--encoder SOURCE --freeze-encoder --encoder-learning-rate 1e-4", "cannot be combined with"),
        ("--encoder nowhere", "no run or checkpoint nowhere"),
        ("--encoder TABULAR", "is of q-learning, which has no backbone"),
        ("--encoder NAN", "its weights layers.0.bias are infinite or not a number"),
        ("--encoder SOURCE --seeds 0:2", "cannot be used in a population"),
    ],
)
def test_mistakes_cost_one_line(
    given: str, message: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tabular = agents.QLearning(spaces.Discrete(3), TWO, agents.QLearningConfig())
    rebuild.save(tabular, tmp_path / "t.pt", env="gymnast/Chain-v0")
    broken = DQN(CARTPOLE, TWO)
    broken.online.backbone.layers[0].bias.data[0] = float("nan")  # type: ignore[index, union-attr]
    rebuild.save(broken, tmp_path / "n.pt", env="CartPole-v1")
    for word, path in (("SOURCE", source), ("TABULAR", tmp_path / "t.pt"), ("NAN", tmp_path / "n.pt")):
        given = given.replace(word, str(path))
    out = tmp_path / "out"
    code = main(["train", "dqn", "--env", "CartPole-v1", "--steps", "50", "--out", str(out), *given.split()])
    said = capsys.readouterr().err
    assert (code, len(said.splitlines())) == (2, 1), said
    assert message in said
    assert not out.exists()


def test_an_agent_of_ones_own_is_told_how_to_take_an_encoder(source: Path) -> None:
    with pytest.raises(ValueError, match="read_encoder"):
        DQN(CARTPOLE, TWO, DQNConfig(encoder=str(source)))


def test_kinds_of_observations() -> None:
    box = spaces.Box(-1.0, 1.0, (3,), np.float32)
    assert same_kind(box, spaces.Box(-5.0, 5.0, (3,), np.float32))
    assert not same_kind(box, spaces.Box(-1.0, 1.0, (3,), np.float64))
    assert not same_kind(box, spaces.Box(-1.0, 1.0, (4,), np.float32))
    assert not same_kind(spaces.Discrete(3), spaces.Discrete(4))
    assert not same_kind(spaces.Discrete(3), spaces.Discrete(3, start=1))
    both = spaces.Dict(a=box, b=TWO)
    assert same_kind(both, spaces.Dict(a=spaces.Box(0.0, 1.0, (3,), np.float32), b=TWO))
    assert not same_kind(both, spaces.Dict(a=box, c=TWO))
    assert not same_kind(both, spaces.Dict(a=box, b=spaces.Discrete(3)))


def test_list_networks_describes_a_runs_encoder(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "networks", "--run", str(source), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["network"], found["hidden_sizes"], found["features"]) == ("mlp", [24], 24)
    assert (found["parameters"], found["multiply_adds"]) == (4 * 24 + 24, 4 * 24)
    assert (found["observations"], found["trained_on"], found["agent"]) == ("float32 [4]", "CartPole-v1", "dqn")
    assert main(["list", "networks", "--run", str(source)]) == 0
    shown = capsys.readouterr().out
    assert "observations             float32 [4]\n" in shown
    assert main(["list", "agents", "--run", str(source)]) == 2
    assert "run belongs to the list networks" in capsys.readouterr().err


def test_reading_a_population_is_refused(tmp_path: Path) -> None:
    about = About("ppo", {}, "x", 0, space_json.encode(CARTPOLE), space_json.encode(TWO), {}, {})
    checkpoint.save(tmp_path / "p.pt", about, {"population": True})
    with pytest.raises(UsageError, match="holds a population"):
        read_encoder(tmp_path / "p.pt")
