"""Backbones, heads, initial weights, flat parameters, and the faster forms of plain networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.value import q_network as building
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.networks import build
from gymnast.networks.backbones.convolutional import NatureCNN
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.flat import FlatParameters, clip_norm
from gymnast.networks.fast.numpy_forward import numpy_forward
from gymnast.networks.fast.q_backward import Plain, fast
from gymnast.networks.fast.q_compiled import CompiledQ, compiled_q
from gymnast.networks.heads.q import QHead, QNetwork
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Vector

torch.set_num_threads(1)  # two threads beside a busy core are many times slower than one
BOX = spaces.Box(-1, 1, (5,))
IMAGES = spaces.Box(0, 255, (4, 84, 84), np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def q_network(hidden: tuple[int, ...] = (7, 20), *, activation: str = "relu", outputs: int = 1) -> QNetwork:
    backbone = build("mlp", BOX, hidden_sizes=hidden, activation=activation, generator=generator())
    head = QHead(hidden[-1], 3, outputs)
    initialise(head, "torch", activation=None, generator=generator(1))
    return QNetwork(backbone, head)


def test_nature_cnn_is_the_paper_s() -> None:
    network = NatureCNN(IMAGES)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.dim() > 1]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136)]
    obs = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    features = network(obs)
    assert features.shape == (2, network.out_features) == (2, 512)
    scaled = obs.float() / 255
    for convolution in network.convolutions:
        scaled = convolution(scaled).relu()
    torch.testing.assert_close(features, network.layers[0](scaled.flatten(1)).relu())


@pytest.mark.parametrize(("height", "width"), [(36, 36), (64, 100), (84, 84)])
def test_nature_cnn_takes_other_sizes(height: int, width: int) -> None:
    network = NatureCNN(spaces.Box(0, 255, (3, height, width), np.uint8))
    assert network(torch.zeros(1, 3, height, width, dtype=torch.uint8)).shape == (1, 512)


@pytest.mark.parametrize(
    ("space", "obs", "vector"),
    [
        (spaces.Discrete(3, start=5), torch.tensor([5, 7]), [[1, 0, 0], [0, 0, 1]]),
        (spaces.MultiDiscrete([2, 3]), torch.tensor([[1, 2]]), [[0, 1, 0, 0, 1]]),
        (spaces.MultiBinary(2), torch.tensor([[1, 0]], dtype=torch.int8), [[1, 0]]),
        (spaces.Box(-1, 1, ()), torch.tensor([0.5, 1.0]), [[0.5], [1.0]]),
        (spaces.Box(0, 255, (1, 2), np.uint8), torch.tensor([[[0, 255]]], dtype=torch.uint8), [[0, 1]]),
        (
            spaces.Dict({"b": spaces.Discrete(2), "a.b": spaces.Tuple([spaces.Box(-1, 1, (2,))])}),
            {"a.b": {"0": torch.tensor([[3.0, 4.0]])}, "b": torch.tensor([1])},
            [[3, 4, 0, 1]],
        ),
    ],
)
def test_any_observation_becomes_a_vector(space: Any, obs: Any, vector: list[list[float]]) -> None:
    if isinstance(space, spaces.Dict):  # the order is the space's own
        vector = [[3, 4, 0, 1]] if next(iter(space.spaces)) == "a.b" else [[0, 1, 3, 4]]
    network = Vector(space)
    assert network(obs).tolist() == vector
    assert network.out_features == len(vector[0])
    assert build("auto", space, generator=generator())(obs).shape == (len(vector), 84)


@pytest.mark.parametrize("space", [BOX, IMAGES, spaces.Discrete(4), spaces.Box(0, 255, (10, 10, 3), np.uint8)])
def test_auto_fits_the_space(space: Any) -> None:
    backbone = build("auto", space, generator=generator())
    assert isinstance(backbone, NatureCNN if space is IMAGES else MLP)


@pytest.mark.parametrize(
    ("name", "space", "options", "message"),
    [
        ("nature-cn", IMAGES, {}, "did you mean nature-cnn?"),
        ("nature-cnn", BOX, {}, "needs images"),
        ("nature-cnn", spaces.Box(0, 255, (1, 20, 84), np.uint8), {}, "needs larger images than 20x84"),
        ("mlp", spaces.Text(4), {}, "cannot read a Text observation; use Box, Discrete"),
        ("mlp", BOX, {"activation": "rulu"}, "activation must be one of relu"),
        ("mlp", BOX, {"hidden_sizes": (0,)}, "hidden_sizes must be numbers >= 1"),
        ("mlp", BOX, {"init": "zeros"}, "init must be one of orthogonal"),
        ("tests.test_networks:Missing", BOX, {}, "has no Missing"),
        ("no_such_module_here:Net", BOX, {}, "import no_such_module_here first"),
        ("subprocess:Popen", BOX, {}, "is not an nn.Module"),
        (nn.ReLU(), BOX, {}, "integer attribute out_features"),
    ],
)
def test_what_does_not_fit_is_refused(name: Any, space: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build(name, space, **options, generator=generator())
    assert "\n" not in str(caught.value)


class Own(nn.Module):
    """A user's backbone."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(observation_space.shape[0], 6)
        self.out_features = 6

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.layer(obs)


def test_a_user_s_module_is_taken_as_it_is() -> None:
    own = Own(BOX)
    weight = own.layer.weight.clone()
    assert build(own, BOX, init="he", generator=generator()) is own
    assert torch.equal(own.layer.weight, weight)
    assert build(f"{__name__}:Own", BOX, generator=generator()).out_features == 6


def test_initial_weights() -> None:
    layer = nn.Linear(300, 200)
    initialise(layer, "orthogonal", activation="relu", generator=generator())
    torch.testing.assert_close(layer.weight @ layer.weight.T, 2 * torch.eye(200), rtol=0, atol=1e-4)
    assert not layer.bias.any()
    initialise(layer, "he", activation="relu", generator=generator())
    assert layer.weight.std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    initialise(layer, "xavier", activation=None, generator=generator())
    assert layer.weight.abs().max().item() == pytest.approx((6 / 500) ** 0.5, rel=0.01)
    initialise(layer, "torch", activation=None, generator=generator())
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max().item() == pytest.approx(300**-0.5, rel=0.05)
        assert parameter.std().item() == pytest.approx(300**-0.5 / 3**0.5, rel=0.1)


@pytest.mark.parametrize("init", ["orthogonal", "he", "xavier", "torch"])
def test_weights_depend_on_the_generator_alone(init: str) -> None:
    torch.manual_seed(1)
    one = build("nature-cnn", IMAGES, init=init, generator=generator(3))
    torch.manual_seed(2)
    other = build("nature-cnn", IMAGES, init=init, generator=generator(3))
    different = build("nature-cnn", IMAGES, init=init, generator=generator(4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.convolutions[0].weight, different.convolutions[0].weight)


def test_head_gives_outputs_per_action() -> None:
    head = QHead(6, 3, 5)
    features = torch.randn(4, 6)
    flat = head.stream.output(features)
    output = head(features)
    assert output.shape == (4, 3, 5)
    assert torch.equal(output[2, 1], flat[2, 5:10])
    tied = QHead(6, 3, 2, shared_bias=True)
    with torch.no_grad():
        tied.stream.output.bias.copy_(torch.tensor([0.5, -1.0]))  # type: ignore[union-attr, operator, arg-type]
    assert tied(torch.zeros(1, 6)).tolist() == [[[0.5, -1.0]] * 3]  # the same for each action
    tied(torch.ones(1, 6)).sum().backward()
    assert tied.stream.output.bias.grad.tolist() == [3.0, 3.0]  # type: ignore[union-attr]
    assert isinstance(QHead(6, 3, 5, linear=lambda a, b: nn.LazyLinear(b)).stream.output, nn.LazyLinear)


def test_flat_parameters_are_the_module_s() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    reference = copy.deepcopy(network)
    flat = FlatParameters(network)
    inputs = torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(network(inputs), reference(inputs))  # on some processors memory decides the last bits
    assert network.state_dict().keys() == reference.state_dict().keys()
    network(inputs).square().sum().backward()
    reference(inputs).square().sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in reference.parameters()])
    torch.testing.assert_close(flat.grad, expected)
    # An optimizer's step on the flat parameter is the same step on the module's own.
    torch.optim.Adam([flat.parameter], lr=0.1).step()
    torch.optim.Adam(reference.parameters(), lr=0.1).step()
    torch.testing.assert_close(network(inputs), reference(inputs))
    network.load_state_dict({name: torch.ones_like(value) for name, value in network.state_dict().items()})
    assert (flat.data == 1).all()


def test_following_moves_part_of_the_way() -> None:
    source, target = FlatParameters(nn.Linear(2, 2)), FlatParameters(nn.Linear(2, 2))
    source.data.fill_(1.0)
    target.data.fill_(0.0)
    target.follow(source, 0.25)
    assert target.module.weight.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    target.follow(source)
    assert torch.equal(target.data, source.data)
    source.data.fill_(5.0)
    assert (target.data == 1).all()  # they share no storage


def test_clip_norm() -> None:
    grad = torch.tensor([3.0, 4.0])
    assert clip_norm(grad, 10.0) == 5.0
    assert grad.tolist() == [3.0, 4.0]
    assert clip_norm(grad, 1.0) == 5.0
    torch.testing.assert_close(grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("hidden", [(7,), (7, 20), (30, 4, 16)])
@pytest.mark.parametrize(
    ("form", "outputs", "activation"),
    [(fast, 1, "relu"), (fast, 3, "relu"), (compiled_q, 1, "relu"), (compiled_q, 3, "tanh")],
)
@pytest.mark.parametrize("rows", [1, 9, 40])
def test_plain_mlp_equals_autograd(
    form: Any, hidden: tuple[int, ...], outputs: int, activation: str, rows: int
) -> None:
    network = q_network(hidden, outputs=outputs, activation=activation)
    reference = copy.deepcopy(network)
    flat = FlatParameters(network)
    plain = form(network, flat)
    assert isinstance(plain, Plain | CompiledQ)
    obs = torch.randn(rows, 5, generator=generator(2))
    target = torch.randn(rows, 3, outputs, generator=generator(3))
    with torch.no_grad():
        torch.testing.assert_close(plain(obs), reference(obs))
    for _ in range(2):  # the second pass must not see the first one's gradients
        flat.grad.zero_()
        output = plain(obs)
        nn.functional.huber_loss(output, target).backward()
        torch.testing.assert_close(output, reference(obs))
    nn.functional.huber_loss(reference(obs), target).backward()
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    flat.data.mul_(0.5)
    for parameter in reference.parameters():
        parameter.data.mul_(0.5)
    torch.testing.assert_close(plain(obs), reference(obs))  # it follows the weights


@pytest.mark.parametrize("backbone", ["nature-cnn", "efficient-cnn"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [4, 3])
def test_a_cnn_in_flat_memory_learns_as_its_operations_do(backbone: str, kind: Any, channels: int) -> None:
    """Against convolutions of plain images and weights, which do not lie channels last."""
    space = spaces.Box(0, 255, (channels, 84, 84), kind)
    network = build(backbone, space, generator=generator())
    weights = [parameter.detach().clone().contiguous().requires_grad_() for parameter in network.parameters()]
    flat = FlatParameters(network)
    obs = torch.randint(0, 256, (5, *space.shape), generator=generator(2)).to(torch.uint8)
    features, slope = obs.float() / 255, torch.randn(5, network.out_features, generator=generator(3))
    for _ in range(2):  # the second pass must not see the first one's gradients
        flat.added.zero_()
        output = network(obs if kind is np.uint8 else features)
        output.backward(slope)
    for convolution, weight, bias in zip(network.convolutions, weights[::2], weights[1::2], strict=False):
        features = nn.functional.conv2d(features, weight, bias, convolution.stride).relu()
    features = nn.functional.linear(features.flatten(1), *weights[-2:]).relu()
    torch.testing.assert_close(output, features, rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad(features, weights, slope)
    for mine, theirs in zip(network.parameters(), expected, strict=True):
        assert theirs.count_nonzero()
        torch.testing.assert_close(mine.grad, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_numpy_forward_equals_torch(rows: int) -> None:
    network = q_network()
    FlatParameters(network)
    forward = numpy_forward(network)
    assert forward is not None
    obs = torch.randn(rows, 5, generator=generator(2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # it follows the weights
        torch.testing.assert_close(torch.from_numpy(forward(obs.numpy())), network(obs))


def test_other_networks_keep_torch_s_own_way() -> None:
    class Noisy(nn.Linear):
        """A layer of another kind."""

    images = QNetwork(build("auto", IMAGES, generator=generator()), QHead(512, 3, 1))
    one_hot = QNetwork(build("auto", spaces.Discrete(4), generator=generator()), QHead(84, 3, 1))
    binary = QNetwork(build("mlp", spaces.MultiBinary(3), generator=generator()), QHead(84, 3, 1))
    noisy = QNetwork(build("mlp", BOX, generator=generator()), QHead(84, 3, 1, linear=Noisy))
    for network in (
        images,
        one_hot,
        binary,
        noisy,
        q_network(activation="gelu"),
        QNetwork(Own(BOX), QHead(6, 3, 1)),
    ):
        for form in (fast, compiled_q):
            assert form(network, FlatParameters(network)) is network
        assert numpy_forward(network) is None


def test_convolutions_lie_channels_last_in_the_flat_tensor_too() -> None:
    network = NatureCNN(IMAGES)
    torch.nn.init.normal_(network.convolutions[0].weight)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    flat = FlatParameters(network)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.is_contiguous(
            memory_format=torch.channels_last if parameter.dim() == 4 else torch.contiguous_format
        )
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()
    network(torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)).square().sum().backward()
    assert torch.equal(flat.flatten(parameter.grad for parameter in network.parameters()), flat.grad)
    assert torch.equal(flat.flatten(network.parameters()), flat.data)
    assert flat.grad.count_nonzero() > 0.1 * flat.grad.numel()


@pytest.mark.parametrize("init", ["orthogonal", "he", "xavier", "torch"])
def test_weights_do_not_depend_on_their_order_in_memory(init: str) -> None:
    one, other = nn.Conv2d(3, 8, 4), nn.Conv2d(3, 8, 4).to(memory_format=torch.channels_last)
    for layer in (one, other):
        initialise(layer, init, activation="relu", generator=generator())
    assert torch.equal(one.weight, other.weight)


def test_pixels_are_scaled_and_observations_left_alone() -> None:
    network = NatureCNN(IMAGES)
    obs = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    floats = obs.float().contiguous(memory_format=torch.channels_last)
    kept = floats.clone()
    torch.testing.assert_close(network(floats), network(obs))
    assert torch.equal(floats, kept)


def test_bf16_is_near_float32_and_keeps_float32_weights() -> None:
    half, full = (
        building.q_network("nature-cnn", IMAGES, 3, DQNConfig(bf16=bf16), 1, generator()) for bf16 in (True, False)
    )
    images = torch.randint(0, 256, (8, *IMAGES.shape), dtype=torch.uint8, generator=generator())
    torch.testing.assert_close(half(images), full(images), rtol=0.05, atol=0.01)
    assert not torch.equal(half(images), full(images))
    half(images).sum().backward()
    assert {parameter.grad.dtype for parameter in half.parameters()} == {torch.float32}


def test_bf16_is_near_float32_for_policies_too() -> None:
    agents = [ActorCritic(IMAGES, spaces.Discrete(3), ActorCriticConfig(bf16=bf16), seed=1) for bf16 in (True, False)]
    images = torch.randint(0, 256, (8, *IMAGES.shape), dtype=torch.uint8, generator=generator())
    for half, full in zip(*(agent.network(images) for agent in agents), strict=True):
        torch.testing.assert_close(half, full, rtol=0.05, atol=0.01)
        assert not torch.equal(half, full)
    with pytest.raises(ValueError, match="bf16 needs a backbone nature-cnn, a3c-cnn or efficient-cnn, got MLP"):
        ActorCritic(BOX, spaces.Discrete(3), ActorCriticConfig(bf16=True))


def test_bf16_is_for_convolutions() -> None:
    with pytest.raises(ValueError, match="bf16 needs a backbone nature-cnn, a3c-cnn or efficient-cnn, got MLP"):
        building.q_network("mlp", BOX, 3, DQNConfig(bf16=True), 1, generator())
