"""Activations by name: numbers by hand, every backbone with each of them, and who supports or declines them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from gymnast.agents import DQN, PPO, ActorCriticConfig, DQNConfig, EvolutionStrategies, PQNConfig
from gymnast.agents.population.kinds import KINDS
from gymnast.cli.main import main
from gymnast.networks.backbones.table import BACKBONES
from gymnast.networks.build import build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.numpy_forward import numpy_forward
from gymnast.networks.fast.q_backward import fast
from gymnast.networks.heads.q import DuelingHead, QHead, QNetwork
from gymnast.networks.layers.activations import FUNCTIONS, CReLU, Maxout, PReLU, activation, gain_of
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.samples import sampled
from gymnast.networks.modes import depends_on_mode
from gymnast.networks.stacked.network import Stacked, flat_vector, with_output

NAMES = (*FUNCTIONS, "crelu", "prelu", "maxout", "maxout:3")
NEW = ("crelu", "prelu", "maxout:3")
BOX = Box(-1, 1, (5,), np.float32)
STEPS = Box(-1, 1, (6, 3), np.float32)
SPACES: dict[str, Any] = {
    **dict.fromkeys(("mlp", "linear"), BOX),
    **dict.fromkeys(("wavenet", "rnn", "lstm", "gru", "attention", "transformer"), STEPS),
    **dict.fromkeys(("nature-cnn", "a3c-cnn", "efficient-cnn"), Box(0, 255, (36, 40, 3), np.uint8)),
    "embedding": MultiDiscrete([3, 4]),
    "combined": Dict({"a": Box(0, 255, (36, 40, 3), np.uint8), "b": Discrete(3)}),
}
CNNS = ("nature-cnn", "a3c-cnn", "efficient-cnn", "minatar-cnn")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crelu_by_hand() -> None:
    assert CReLU()(torch.tensor([[1.0, -2.0]])).tolist() == [[1.0, 0.0, 0.0, 2.0]]
    assert CReLU()(torch.full((1, 2, 3, 3), -1.0))[0, :, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert activation("crelu", 7)[:2] == (7, 14)


def test_prelu_by_hand() -> None:
    layer = PReLU(2)
    assert layer(torch.tensor([[4.0, -4.0]])).tolist() == [[4.0, -1.0]]
    with torch.no_grad():
        layer.slope.copy_(torch.tensor([0.5, 2.0]))
    out = layer(torch.tensor([[-1.0, -3.0], [2.0, -1.0]]))
    assert out.tolist() == [[-0.5, -6.0], [2.0, -2.0]]
    out.sum().backward()
    assert layer.slope.grad is not None
    assert layer.slope.grad.tolist() == [-1.0, -4.0]  # the sum of the negative inputs of each unit
    assert activation("prelu", 7)[:2] == (7, 7)


def test_maxout_by_hand() -> None:
    """Units of three pieces: features 0, 2, 4 and features 1, 3, 5."""
    features = torch.tensor([[1.0, 2.0, 5.0, -1.0, 3.0, 4.0]], requires_grad=True)
    out = Maxout(3)(features)
    assert out.tolist() == [[5.0, 4.0]]
    out.sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]]
    assert activation("maxout:3", 7)[:2] == (21, 7)
    assert activation("maxout", 7)[:2] == (14, 7)


@pytest.mark.parametrize("name", ["rulu", "maxout:1", "maxout:", "maxout:x", "maxout:-2", "crelu:2", "relu:2"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match=f"activation must be one of relu, .*, got '{name}'"):
        activation(name, 3)


@pytest.mark.parametrize("name", ["crelu", "prelu", "maxout", "maxout:4", "relu"])
def test_gains_keep_the_mean_square(name: str) -> None:
    """Of standard normal pre-activations: the next pre-activation has variance 1 again."""
    made = activation(name, 4)
    features = torch.randn(100_000, made.in_features, generator=generator())
    mean_square = float(made.function(features).square().mean().detach())
    assert gain_of(name) ** 2 * mean_square == pytest.approx(1.0, abs=0.01)
    assert gain_of("maxout") == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_has_each_and_learns_with_it(backbone: str, name: str) -> None:
    space = SPACES.get(backbone, Box(0, 1, (10, 10, 4), np.float32))
    options = {"activation": name} if backbone in CNNS else {}
    network = build(
        backbone, space, hidden_sizes=(6, 5), activation=name, init="he", options=options, generator=generator()
    )
    assert network.out_features == (10 if name == "crelu" else 5)
    features = network(sampled(space, 8, generator=generator(1)))
    assert features.shape == (8, network.out_features)
    (features * torch.randn(features.shape, generator=generator(2))).sum().backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
    last = network.network if backbone == "minatar-cnn" else network
    assert all(parameter.grad.any() for parameter in last.layers.parameters())  # type: ignore[union-attr]
    assert any(isinstance(part, PReLU) for part in network.modules()) == (name == "prelu")


@pytest.mark.parametrize("name", NEW)
def test_save_and_load(name: str) -> None:
    first = build("mlp", BOX, activation=name, generator=generator())
    other = build("mlp", BOX, activation=name, generator=generator(1))
    obs = torch.randn(4, 5, generator=generator(2))
    assert not torch.equal(first(obs), other(obs))
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(first(obs), other(obs))
    assert not depends_on_mode(first)


def test_names_of_elementwise_networks_are_those_of_before() -> None:
    for name in FUNCTIONS:
        network = build("mlp", BOX, hidden_sizes=(4,), activation=name, generator=generator())
        assert list(network.state_dict()) == ["layers.0.weight", "layers.0.bias"]


@pytest.mark.long
def test_mlps_compile() -> None:
    """With every activation; in one graph, for a graph takes seconds to compile."""
    torch._dynamo.reset()
    networks = [build("mlp", BOX, hidden_sizes=(6, 5), activation=name, generator=generator()) for name in NAMES]
    obs = torch.randn(4, 5, generator=generator(1))
    compiled = torch.compile(lambda obs: [network(obs) for network in networks], fullgraph=True)(obs)
    for name, network, found in zip(NAMES, networks, compiled, strict=True):
        torch.testing.assert_close(
            found, network(obs), rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("head", [QHead, DuelingHead])
def test_heads_have_them_and_fast_forms_leave_them_to_autograd(name: str, head: Any) -> None:
    backbone = build("mlp", BOX, hidden_sizes=(6,), activation=name, generator=generator())
    network = QNetwork(backbone, head(backbone.out_features, 3, 1, hidden=(4,), activation=name))
    initialise(network, "orthogonal", activation=name, generator=generator())
    flat = FlatParameters(network)
    assert fast(network, flat) is network
    assert numpy_forward(network) is None
    output = network(torch.randn(7, 5, generator=generator(1)))
    assert output.shape == (7, 3, 1)
    output.square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NEW)
def test_candidates_of_a_search_each_have_their_own(name: str) -> None:
    backbone = build("mlp", BOX, hidden_sizes=(6, 4), activation=name, generator=generator())
    network = with_output(backbone, 2, init="xavier", generator=generator())
    vector, obs = flat_vector(network), torch.randn(3, 5, generator=generator(1))
    expected = network(obs).detach()
    stacked = Stacked(copy.deepcopy(network))
    torch.testing.assert_close(stacked(torch.stack([vector, 2 * vector, vector]), obs)[::2], expected[::2])
    assert EvolutionStrategies(BOX, Discrete(2), type(EvolutionStrategies.defaults)(activation=name)).network.size


@pytest.mark.parametrize(
    ("agent", "settings", "said"),
    [
        ("ppo", {"activation": "crelu"}, "activation crelu cannot be used in a population"),
        ("dqn", {"activation": "prelu", "hidden_sizes": (8,)}, "activation prelu cannot be used in a population"),
        ("pqn", {"activation": "maxout:3"}, "activation maxout:3 cannot be used in a population"),
        ("ppo", {"network": "mlp", "network_options": {"shortcuts": True}}, "shortcuts cannot be used in a population"),
        ("dqn", {"network": "mlp", "network_options": {"dropout": 0.5}}, "dropout cannot be used in a population"),
        ("dqn", {"network": "mlp", "network_options": {"norm": "rms"}}, "norm rms cannot be used in a population"),
        ("ppo", {"weight_penalty": "l2"}, "weight_penalty l2 cannot be used in a population"),
        ("pqn", {"max_norm": 3.0}, "max_norm 3.0 cannot be used in a population"),
    ],
)
def test_populations_decline_them(agent: str, settings: dict[str, Any], said: str) -> None:
    config = {"ppo": ActorCriticConfig, "dqn": DQNConfig, "pqn": PQNConfig}[agent]
    settings = {"layer_norm": False} | settings if agent == "pqn" else settings
    with pytest.raises(ValueError, match=said) as caught:
        KINDS[config](BOX, Discrete(2), config(**settings), seeds=[0, 1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NEW)
def test_agents_act_and_learn_with_them(name: str) -> None:
    obs = torch.randn(4, 5, generator=generator())
    for agent in (
        PPO(BOX, Discrete(3), ActorCriticConfig(activation=name), num_envs=4),
        DQN(BOX, Discrete(3), DQNConfig(activation=name, dueling=True, noisy=True), num_envs=4),
    ):
        acted = agent.actor(4, explore=False, seed=0).act(obs, torch.ones(4, dtype=torch.bool))
        assert acted.action.shape == (4,)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ppo", "--env", "CartPole-v1", "--activation", "maxout:1"]) == 2
    said = capsys.readouterr().err
    assert "maxout:K (K >= 2), got 'maxout:1'" in said
    assert said.count("\n") == 1
    assert (
        main(["train", "ppo", "--env", "CartPole-v1", "--seeds", "0:2", "--activation", "crelu", "--steps", "100"]) == 2
    )
    assert "activation crelu cannot be used in a population" in capsys.readouterr().err


def test_a_convolution_s_activation_is_an_option_of_its_network() -> None:
    """CReLU doubles the channels (Shang et al. 2016), so the next layer reads twice as many."""
    space = Box(0, 255, (4, 84, 84), np.uint8)
    network = build("nature-cnn", space, options={"activation": "crelu"}, activation="tanh", generator=generator())
    assert [layer.in_channels for layer in network.convolutions] == [4, 64, 128]  # type: ignore[union-attr]
    assert network.layers[0].in_features == 2 * 3136  # type: ignore[index, union-attr]
    assert network.out_features == 1024
    plain = build("nature-cnn", space, activation="tanh", generator=generator())
    obs = sampled(space, 2, generator=generator())
    assert float(plain(obs).detach().min()) == 0.0  # rectified
