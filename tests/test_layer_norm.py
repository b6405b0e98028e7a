"""Layer normalisation in backbones, and the networks of PQN: gradients against autograd, layers by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import PQN, PQNConfig
from gymnast.agents.samples import Drawn, ValueSamples
from gymnast.networks import build
from gymnast.networks.backbones.convolutional import ConvNet
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.numpy_forward import numpy_forward
from gymnast.networks.fast.policy_backward import plain_policy
from gymnast.networks.fast.q_compiled import CompiledQ, compiled_q
from gymnast.networks.heads.actor_critic import ActorCriticNetwork, Trunk
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.blocks import ChannelNorm
from gymnast.networks.stacked.network import Stacked, flat_vector, with_output

BOX, ACTIONS = spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Discrete(4)
SMALL = PQNConfig(rollout_steps=6, epochs=2, minibatches=3, hidden_sizes=(8,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(values: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last axis."""
    centred = values - values.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


IMAGES = spaces.Box(0, 255, (4, 36, 36), np.uint8)
NETWORKS: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "mlp": (BOX, {"hidden_sizes": (8, 6)}),
    "mlp without norm": (BOX, {"hidden_sizes": (8, 6), "layer_norm": False}),
    "tanh": (BOX, {"hidden_sizes": (8, 6), "activation": "tanh"}),
    "nature-cnn": (IMAGES, {"hidden_sizes": (16,)}),
    "nature-cnn, no layers": (IMAGES, {"hidden_sizes": ()}),
    "minatar-cnn": (spaces.Box(0, 1, (10, 10, 4), np.float32), {"network": "minatar-cnn", "hidden_sizes": (16,)}),
    "combined": (spaces.Dict({"a": IMAGES, "b": BOX}), {"hidden_sizes": (16,)}),
    "discrete": (spaces.Discrete(5), {"hidden_sizes": (8,)}),
}


def sampled(space: spaces.Space[Any], rows: int) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: sampled(part, rows) for name, part in space.spaces.items()}
    space.seed(0)
    return torch.from_numpy(np.stack([space.sample() for _ in range(rows)]))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_autograds_of_the_mean_squared_error(name: str) -> None:
    space, changes = NETWORKS[name]
    agent = PQN(space, ACTIONS, replace(SMALL, max_grad_norm=None, **changes), seed=4)
    obs, action = sampled(space, 7), torch.tensor([0, 3, 1, 2, 2, 0, 1])
    target, counts = torch.randn(7, generator=generator()), torch.tensor([1.0, 1, 0, 1, 1, 1, 1])
    value = agent.network(obs)[..., 0][range(7), action]
    agent.weights.grad.zero_()
    loss = 0.5 * sum((target[b] - value[b]) ** 2 * counts[b] for b in range(7)) / 6
    loss.backward()
    expected = agent.weights.grad.clone()
    agent.weights.grad.fill_(9.0)
    before = agent.weights.data.clone()
    samples = ValueSamples(obs, action, target, counts)
    error, metrics = agent._update(Drawn(samples, None) if isinstance(agent._network, CompiledQ) else samples, None)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(agent.weights.grad, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(error, (target - value).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(metrics["loss"], loss.detach(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(agent.weights.data, before)


def test_an_mlp_normalises_before_each_activation() -> None:
    mlp = build("mlp", BOX, hidden_sizes=(8, 6), activation="tanh", layer_norm=True, generator=generator())
    assert isinstance(mlp, MLP)
    obs = torch.randn(5, 3, generator=generator())
    features = obs
    for layer in mlp.layers:
        features = torch.tanh(normal(layer(features)))
    torch.testing.assert_close(mlp(obs), features)


def test_a_cnn_normalises_over_the_channels_of_each_position_and_over_units() -> None:
    cnn = build("nature-cnn", IMAGES, hidden_sizes=(16,), layer_norm=True, generator=generator())
    assert isinstance(cnn, ConvNet)
    obs = sampled(IMAGES, 3)
    features = obs.float() / 255
    for convolution in cnn.convolutions:
        features = torch.relu(normal(convolution(features).movedim(1, -1)).movedim(-1, 1))
    features = torch.relu(normal(cnn.layers[0](features.flatten(1))))
    output = cnn(obs)
    torch.testing.assert_close(output, features, rtol=1e-4, atol=1e-5)
    weights = [parameter for name, parameter in cnn.named_parameters() if "norm" not in name]
    slope = torch.randn(output.shape, generator=generator(1))
    for mine, theirs in zip(*(torch.autograd.grad(one, weights, slope) for one in (output, features)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "minatar-cnn", "nature-cnn", "efficient-cnn"])
def test_without_it_the_parameters_are_those_of_before(name: str) -> None:
    space = spaces.Box(0, 255, (40, 40, 40), np.uint8)
    plain, normed = (build(name, space, layer_norm=norm, generator=generator()) for norm in (False, True))
    names = [key for key in normed.state_dict() if "norm" not in key]
    assert list(plain.state_dict()) == names
    assert all(torch.equal(plain.state_dict()[key], normed.state_dict()[key]) for key in names)
    layers = sum(isinstance(layer, nn.Linear | nn.Conv2d) for layer in normed.modules())
    assert sum(isinstance(layer, nn.LayerNorm) for layer in normed.modules()) == layers


def test_a_plain_network_gives_what_the_module_gives() -> None:
    network = QNetwork(build("mlp", BOX, hidden_sizes=(16,), layer_norm=True, generator=generator()), QHead(16, 4, 1))
    with torch.no_grad():  # scales and shifts that are not 1 and 0
        for layer in network.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.weight.normal_(generator=generator(1))
                layer.bias.normal_(generator=generator(2))
    flat = FlatParameters(network)
    plain, obs = compiled_q(network, flat), sampled(BOX, 5)
    assert isinstance(plain, CompiledQ)
    output, other = network(obs), plain(obs)
    torch.testing.assert_close(other, output, rtol=1e-5, atol=1e-5)
    slope = torch.randn(output.shape, generator=generator(3))
    flat.grad.zero_()
    output.backward(slope)
    expected = flat.grad.clone()
    flat.grad.fill_(5.0)
    other.backward(slope)
    torch.testing.assert_close(flat.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [3, 100_000])
def test_a_plain_policy_gives_what_the_module_gives(rows: int) -> None:
    trunks = (Trunk(MLP(BOX, (8,), activation="tanh", layer_norm=True), None) for _ in range(2))
    policy = ActorCriticNetwork(*trunks, outputs=2, scales=2)
    plain, obs = plain_policy(policy, FlatParameters(policy)), sampled(BOX, rows)
    assert plain is not None
    with torch.no_grad():
        for mine, other in zip(plain(obs), policy(obs), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_forms_that_know_no_normalisation_leave_it_to_the_module() -> None:
    def mlp() -> MLP:
        return MLP(BOX, (8,), activation="relu", layer_norm=True)

    network = QNetwork(mlp(), QHead(8, 2, 1))
    FlatParameters(network)
    assert numpy_forward(network) is None
    sequential = with_output(mlp(), 2, init="he", generator=generator())
    obs, parameters = torch.randn(5, 3, generator=generator()), flat_vector(sequential)
    torch.testing.assert_close(Stacked(sequential)(parameters, obs), sequential(obs))


def test_channels_are_normalised_in_whatever_order_they_lie() -> None:
    images = torch.randn(2, 3, 4, 5, generator=generator())
    expected = normal(images.movedim(1, -1)).movedim(-1, 1)
    for order in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(ChannelNorm(3)(images.contiguous(memory_format=order)), expected)
