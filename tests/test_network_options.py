"""Options of the mlp and the small CNNs, and of the networks of a Dict's parts: layers by hand, flags, resume."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from torch import Tensor, nn
from torch.nn import functional

from gymnast.agents import DQN, PPO, PQN, ActorCriticConfig, DQNConfig, PQNConfig
from gymnast.cli.main import main
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.backbones.residual import Impala
from gymnast.networks.backbones.table import options_of, written
from gymnast.networks.build import build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.q_compiled import CompiledQ, compiled_q
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.blocks import NORMS
from gymnast.networks.layers.samples import sampled
from gymnast.networks.modes import depends_on_mode
from gymnast.settings.request import resolve

BOX = Box(-1, 1, (5,), np.float32)
IMAGES = Box(0, 255, (36, 40, 3), np.uint8)
GRID = Box(0, 1, (10, 10, 4), np.float32)
PARTS = Dict({"camera": IMAGES, "map": GRID, "speed": BOX})
NETS = {"mlp": BOX, "nature-cnn": IMAGES, "efficient-cnn": IMAGES, "minatar-cnn": GRID}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str, space: Any, **options: Any) -> Any:
    return build(name, space, options=options, generator=generator())


def test_shortcuts_by_hand() -> None:
    """Each layer, and the head, see the observation and all earlier layers."""
    network = build("mlp", BOX, options={"shortcuts": True}, hidden_sizes=(4, 3), generator=generator())
    assert [layer.in_features for layer in network.layers] == [5, 9]  # type: ignore[union-attr]
    assert network.out_features == 12
    obs = torch.randn(6, 5, generator=generator(1))
    first, second = network.layers  # type: ignore[misc]
    one = torch.relu(first(obs))
    two = torch.relu(second(torch.cat([obs, one], 1)))
    torch.testing.assert_close(network(obs), torch.cat([obs, one, two], 1))


def test_bounded_numbers_are_scaled() -> None:
    """From their bounds to [-1, 1], in the parts of a Dict too; numbers without two finite bounds stay as they are."""
    low, high = np.array([-1.2, -0.07, 0.0, -np.inf, -3e38]), np.array([0.6, 0.07, np.inf, 5.0, 3e38])
    space = Box(low.astype(np.float32), high.astype(np.float32))
    obs = torch.tensor([[-1.2, 0.07, 3.0, 4.0, 5.0], [0.6, -0.035, 2.0, -4.0, 6.0]])
    expected = torch.tensor([[-1.0, 1.0, 3.0, 4.0, 5.0], [1.0, -0.5, 2.0, -4.0, 6.0]])
    torch.testing.assert_close(made("mlp", space, scale=True).read(obs), expected)
    network = made("mlp", Dict({"car": space, "gear": Discrete(2)}), scale=True)
    read = network.read({"car": obs, "gear": torch.tensor([1, 0])})
    torch.testing.assert_close(read, torch.cat([expected, torch.tensor([[0.0, 1.0], [1.0, 0.0]])], 1))
    assert torch.equal(made("mlp", space).read(obs), obs)


def test_scaled_numbers_are_those_of_another_observation() -> None:
    """DQN acts as on observations that came scaled, without the forms that read them as they are."""
    config = DQNConfig(network="mlp", network_options={"scale": True}, hidden_sizes=(8,))
    scaled = DQN(Box(-2, 6, (3,), np.float32), Discrete(2), config, seed=0)
    plain = DQN(Box(-1, 1, (3,), np.float32), Discrete(2), DQNConfig(hidden_sizes=(8,)), seed=0)
    assert scaled.numpy_q is None
    obs = torch.rand(20, 3, generator=generator()) * 2 - 1
    own = obs * 4 + 2
    assert np.array_equal(scaled.predict(own.numpy()), plain.predict(obs.numpy()))
    torch.testing.assert_close(scaled.online(own), plain.online(obs))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("norm", NORMS)
def test_norms(name: str, norm: str) -> None:
    """Each has its layers, works in both modes, and gives a gradient to every parameter."""
    space = NETS[name]
    network = made(name, space, norm=norm).train()
    obs = sampled(space, 6, generator=generator(1))
    for _ in range(2):
        features = network(obs)
    (features * torch.randn(features.shape, generator=generator(2))).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(obs).isfinite().all()
    kinds = {type(part).__name__ for part in network.modules()}
    wanted = {
        "batch": {"BatchNorm1d"},
        "layer": {"LayerNorm"},
        "group": {"GroupNorm"},
        "rms": {"RMSNorm"},
        "weight": {"_WeightNorm"},
        "spectral": {"_SpectralNorm"},
    }
    of_images = {"batch": {"BatchNorm2d"}, "layer": {"ChannelNorm"}, "rms": {"ChannelRMS"}}
    assert wanted.get(norm, set()) <= kinds
    assert (name == "mlp") or of_images.get(norm, set()) <= kinds
    assert depends_on_mode(network) == (norm in ("batch", "weight", "spectral"))


def test_a_norm_comes_before_the_activation() -> None:
    network = build("mlp", BOX, options={"norm": "rms"}, hidden_sizes=(4,), activation="tanh", generator=generator())
    obs = torch.randn(6, 5, generator=generator(1))
    values = network.layers[0](obs)  # type: ignore[index, operator]
    eps = torch.finfo(torch.float32).eps
    torch.testing.assert_close(network(obs), torch.tanh(values / (values.square().mean(1, keepdim=True) + eps).sqrt()))


def test_the_norm_layer_is_layer_norm() -> None:
    for name, space in NETS.items():
        one = made(name, space, norm="layer")
        other = build(name, space, layer_norm=True, generator=generator())
        obs = sampled(space, 3, generator=generator(1))
        assert list(one.state_dict()) == list(other.state_dict())
        assert torch.equal(one(obs), other(obs))
    network = QNetwork(made("mlp", BOX, norm="layer"), QHead(84, 2, 1))
    assert isinstance(compiled_q(network, FlatParameters(network)), CompiledQ)  # PQN's faster form has it


@pytest.mark.parametrize("name", NETS)
def test_both_norms_are_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"network {name}: norm rms cannot be combined with layer_norm"):
        build(name, NETS[name], options={"norm": "rms"}, layer_norm=True, generator=generator())
    config = PQNConfig(network=name, network_options={"norm": "rms"}, rollout_steps=4, minibatches=2)
    with pytest.raises(ValueError, match="cannot be combined with layer_norm"):
        PQN(NETS[name], Discrete(2), config)


@pytest.mark.parametrize("name", NETS)
def test_dropout_is_of_training_only(name: str) -> None:
    space = NETS[name]
    network, plain = made(name, space, dropout=0.5), made(name, space)
    obs = sampled(space, 3, generator=generator(1))
    torch.testing.assert_close(network.eval()(obs), plain(obs))
    assert depends_on_mode(network)
    assert not depends_on_mode(plain)
    network.train()
    torch.manual_seed(0)
    features = network(obs)
    dropped = (features == 0) & (plain(obs) > 0)
    assert 0.3 < float(dropped.sum() / (plain(obs) > 0).sum()) < 0.7
    assert not torch.equal(features, network(obs))


def test_dropout_by_hand() -> None:
    """What stays of a layer is doubled, after its activation."""
    network = build("mlp", BOX, options={"dropout": 0.5}, hidden_sizes=(64,), generator=generator()).train()
    obs = torch.randn(3, 5, generator=generator(1))
    hidden = torch.relu(network.layers[0](obs))  # type: ignore[index, operator]
    features = network(obs)
    torch.testing.assert_close(features[features > 0], 2 * hidden[features > 0])


@pytest.mark.parametrize("option", [{"shortcuts": True}, {"norm": "layer"}, {"dropout": 0.1}])
def test_options_of_layers_that_are_not_there(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"network mlp: {next(iter(option))} needs layers below the head"):
        build("mlp", BOX, options=option, hidden_sizes=(), generator=generator())
    with pytest.raises(ValueError, match="needs layers below the head"):
        DQN(BOX, Discrete(2), DQNConfig(network="mlp", network_options=option, hidden_sizes=(8,)))


def test_minatar_reads_channels_first_by_its_option() -> None:
    last = made("minatar-cnn", GRID)
    first = made("minatar-cnn", Box(0, 1, (4, 10, 10), np.float32), channels_axis="first")
    obs = sampled(GRID, 3, generator=generator())
    assert torch.equal(last(obs), first(obs.movedim(-1, 1)))
    assert list(last.state_dict()) == [
        f"network.{name}.0.{part}" for name in ("convolutions", "layers") for part in ("weight", "bias")
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dropout": 1.0}, "network mlp: dropout must be >= 0 and < 1, got 1.0"),
        ({"dropout": "much"}, "network mlp: dropout must be a number, got 'much'"),
        ({"norm": "bach"}, "network mlp: norm must be one of none, batch,"),
        ({"shortcuts": 1}, "network mlp: shortcuts must be true or false, got 1"),
        ({"shortcut": True}, "network mlp has no option shortcut; its options are shortcuts, norm, dropout, scale"),
    ],
)
def test_mistakes(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        options_of("mlp", options)


@pytest.mark.parametrize(
    ("name", "option", "value", "words"),
    [
        ("impala", "channels", (16, 2.5), "numbers"),
        ("impala", "width", 2.5, "a whole number"),
        ("impala", "width", True, "a whole number"),
        ("hadamax", "channels", (1, 2), "3 numbers"),
        ("combined", "parts", "a=gru", "text, one for each part"),
    ],
)
def test_values_of_other_types(name: str, option: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"network {name}: {option} must be {words}, got {value!r}")):
        options_of(name, {option: value})
    assert options_of("alexnet", {"width": 1}).width == 1  # a whole number is a number


def test_a_network_and_its_options_as_text() -> None:
    assert written("impala") == ("impala", {})
    text = "impala:width=2:spectral-norm=true:channels=[8,16]"
    assert written(text) == ("impala", {"width": 2, "spectral_norm": True, "channels": [8, 16]})
    assert written("vgg:norm=batch") == ("vgg", {"norm": "batch"})
    with pytest.raises(ValueError, match=r"network vgg takes options as in NAME:OPTION=VALUE, got 'norm'"):
        written("vgg:norm")


def test_networks_of_parts_have_options() -> None:
    options = {"images": "impala:width=2:channels=[4,8]", "parts": ("map=vgg:norm=batch:width=4",)}
    network = made("combined", PARTS, **options)
    of = dict(zip((".".join(path) for path in network.paths), network.parts, strict=True))
    assert isinstance(of["camera"], Impala)
    assert [layer.out_channels for layer in of["camera"].body if isinstance(layer, nn.Conv2d)] == [8, 16]
    assert any(isinstance(part, nn.BatchNorm2d) for part in of["map"].modules())
    obs = sampled(PARTS, 4, generator=generator())
    network(obs).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": "impala:widht=2"}, "network combined: network impala has no option widht; its options are"),
        ({"images": "impala:width=0"}, "network combined: network impala: width must be >= 1, got 0"),
        ({"images": "impala:width=big"}, "network impala: width must be a whole number, got 'big'"),
        ({"images": "impala:width"}, "network impala takes options as in NAME:OPTION=VALUE, got 'width'"),
        (
            {"parts": ("map=mlp",)},
            "the network of a part must be one of nature-cnn, a3c-cnn, efficient-cnn,",
        ),
        ({"images": "combined"}, "the network of a part must be one of"),
    ],
)
def test_wrong_networks_of_parts(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        DQNConfig(network="combined", network_options=options)
    assert "\n" not in str(caught.value)


def test_flags() -> None:
    words = [
        "--env",
        "X",
        "--network",
        "mlp",
        "--network.shortcuts",
        "--network.dropout",
        "0.25",
        "--network.norm",
        "layer",
    ]
    config = resolve("ppo", words, of="train ppo").config
    assert config.network_options == {"shortcuts": True, "dropout": 0.25, "norm": "layer"}
    words = [
        "--env",
        "X",
        "--network",
        "combined",
        "--network.images",
        "impala:width=2",
        "--network.parts",
        "map=vgg:depth=13",
    ]
    config = resolve("ppo", words, of="train ppo").config
    assert config.network_options == {"images": "impala:width=2", "parts": ("map=vgg:depth=13",)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--network mlp --network.shortcut", "did you mean --network.shortcuts?"),
        ("--network nature-cnn --network.dropout 2", "network nature-cnn: dropout must be >= 0 and < 1, got 2.0"),
        ("--network nature-cnn --network.activation rulu", "network nature-cnn: activation must be one of relu"),
        ("--network combined --network.images impala:widht=2", "network impala has no option widht"),
        ("--network mlp --network.norm rms --layer-norm", "cannot be combined with layer_norm"),
    ],
)
def test_mistakes_on_the_command_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pqn", "--env", "CartPole-v1", *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "options", [{"dropout": 0.3}, {"norm": "batch"}, {"norm": "spectral"}, {"norm": "weight"}, {"shortcuts": True}]
)
def test_agents_learn_with_them(options: dict[str, Any]) -> None:
    """The gradient of an update reaches every parameter, and autograd makes it."""
    config = ActorCriticConfig(network="mlp", network_options=options, rollout_steps=8, minibatches=1, epochs=1)
    agent = PPO(BOX, Discrete(3), config, num_envs=2)
    assert agent.plain is None
    assert isinstance(agent.network.actor.backbone, MLP)
    before = agent.weights.data.clone()
    play(agent)
    agent.learn()
    assert agent.weights.data.isfinite().all()
    names = {name for name, parameter in agent.network.named_parameters() if not parameter.grad.any()}  # type: ignore[union-attr]
    assert not names
    assert not torch.equal(agent.weights.data, before)


def play(agent: Any) -> None:
    from gymnast.envs.step import Step

    actor = agent.actor(2, explore=True, seed=0)
    ended, drawn = torch.zeros(2, dtype=torch.bool), generator(3)
    obs = torch.randn(2, 5, generator=drawn)
    while not agent.updates_due(agent.env_step):
        following = torch.randn(2, 5, generator=drawn)
        acted = actor.act(obs, ended)
        reward = acted.action.float() + torch.randn(2, generator=drawn)
        agent.store(obs, acted, Step(following, ended, following, reward, ended, ended, 2, 0))
        obs = following


@pytest.mark.slow
def test_a_run_with_options_resumes_exactly(tmp_path: Path) -> None:
    """N steps, then N more, are 2N steps, dropout's draws included."""
    words = (
        "train ppo --env CartPole-v1 --network mlp --network.dropout 0.2 --network.shortcuts --activation maxout:3 "
        f"--init lsuv --weight-penalty elastic --max-norm 2 --rollout-steps 32 --no-video --log-every 64 "
        f"--out {tmp_path}"
    ).split()
    assert main([*words, "--steps", "512", "--name", "whole"]) == 0
    assert main([*words, "--steps", "256", "--name", "half"]) == 0
    assert main(["resume", f"{tmp_path}/CartPole-v1/ppo/half", "--steps", "512"]) == 0
    whole, half = (rows(tmp_path / f"CartPole-v1/ppo/{name}/metrics.jsonl") for name in ("whole", "half"))
    assert half == whole
    assert any("penalty" in row for row in whole)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.long
def test_twin_spirals_need_shortcuts() -> None:
    """Three layers of eight units separate the spirals with shortcuts (Lang & Witbrock 1988), and not without."""
    turns = torch.arange(97) * torch.pi / 16
    radius = (104 - torch.arange(97)) / 104
    arm = torch.stack([radius * turns.sin(), radius * turns.cos()], 1)
    obs, label = torch.cat([arm, -arm]), torch.cat([torch.ones(97), torch.zeros(97)])

    def accuracy(*, shortcuts: bool, seed: int) -> float:
        options, space = {"shortcuts": shortcuts}, Box(-1, 1, (2,), np.float32)
        sizes, drawn = (8, 8, 8), generator(seed)
        network = build("mlp", space, hidden_sizes=sizes, activation="tanh", options=options, generator=drawn)
        torch.manual_seed(0)
        head = nn.Linear(int(network.out_features), 1)  # type: ignore[arg-type]
        parameters = [*network.parameters(), *head.parameters()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=1500, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(head(network(obs)).squeeze(1), label)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)
        return float(((head(network(obs)).squeeze(1) > 0) == (label > 0)).float().mean())

    assert max(accuracy(shortcuts=True, seed=seed) for seed in (0, 1)) >= 0.99
    assert max(accuracy(shortcuts=False, seed=seed) for seed in (0, 1)) < 0.95
