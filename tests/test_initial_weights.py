"""Initial weights by name: variances by hand, LSUV, and the observations that it looks at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import Tensor, nn

from gymnast.agents import DQN, PPO, PQN, ActorCriticConfig, DQNConfig, PQNConfig
from gymnast.networks.build import build
from gymnast.networks.layers.init import INITS, initialise, lsuv
from gymnast.networks.layers.samples import sampled

BOX = Box(-1, 1, (5,), np.float32)
STEPS = Box(-1, 1, (6, 3), np.float32)
DIGITS = Box(0, 16, (8, 8), np.float32)
ATARI = Box(0, 255, (4, 84, 84), np.uint8)
CARTPOLE = Box(np.array([-4.8, -np.inf, -0.42, -3.4e38], np.float32), np.array([4.8, np.inf, 0.42, 3.4e38], np.float32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "deviation", "uniform"),
    [
        ("he", math.sqrt(2 / 300), False),
        ("he-uniform", math.sqrt(2 / 300), True),
        ("lecun", math.sqrt(1 / 300), False),
        ("lecun-uniform", math.sqrt(1 / 300), True),
        ("xavier", 5 / 3 * math.sqrt(2 / 500), True),
        ("xavier-normal", 5 / 3 * math.sqrt(2 / 500), False),
        ("torch", math.sqrt(1 / 900), True),
    ],
)
def test_deviations_by_hand(name: str, deviation: float, uniform: bool) -> None:
    """Of a layer of 200 units over 300 features, before a tanh. The largest of uniform numbers is sqrt(3) of them."""
    layer = nn.Linear(300, 200)
    initialise(layer, name, activation="tanh", generator=generator())
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    largest = float(layer.weight.detach().abs().max()) / deviation
    assert (largest < math.sqrt(3) * 1.001) == uniform
    assert bool(layer.bias.any()) == (name == "torch")


@pytest.mark.parametrize("name", INITS)
def test_every_name_makes_a_network(name: str) -> None:
    one, same, other = (
        build("mlp", BOX, activation="crelu", init=name, generator=generator(seed)) for seed in (0, 0, 1)
    )
    values = [torch.cat([p.flatten() for p in net.parameters()]) for net in (one, same, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def outputs(network: nn.Module, obs: Any) -> dict[str, Tensor]:
    """What each linear and convolutional layer gives."""
    found: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, output, path=path: found.update({path: output.detach().clone()}))
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]
    network.eval()(obs)
    for hook in hooks:
        hook.remove()
    return found


SCALED: dict[str, Any] = {
    "mlp": BOX,
    "nature-cnn": ATARI,
    "minatar-cnn": Box(0, 1, (10, 10, 4), np.float32),
    "lenet5": DIGITS,
    "vgg": DIGITS,
    "resnet": DIGITS,
    "squeeze-excitation": DIGITS,
    "impala": DIGITS,
    "inception": DIGITS,
    "densenet": DIGITS,
    "xception": DIGITS,
    "hadamax": DIGITS,
    "wavenet": STEPS,
    "transformer": STEPS,
    "combined": Dict({"a": Box(0, 255, (36, 40, 3), np.uint8), "b": Discrete(3)}),
}


@pytest.mark.parametrize("name", SCALED)
def test_lsuv_gives_every_layer_unit_variance(name: str) -> None:
    """On the batch itself to rounding, and to 0.1 on another one (Mishkin & Matas 2016: 0.1 on the batch)."""
    space = SCALED[name]
    options = {"reduction": 2} if name == "squeeze-excitation" else {}  # a single rectified unit may be silent
    network = build(name, space, options=options, hidden_sizes=(32, 32), activation="tanh", generator=generator())
    before = outputs(network, sampled(space, 64, generator=generator(1)))
    assert any(abs(float(output.var()) - 1) > 0.1 for output in before.values())
    lsuv(network, sampled(space, 64, generator=generator(1)))
    after = outputs(network, sampled(space, 64, generator=generator(1)))
    assert after.keys() == before.keys()
    for path, output in after.items():
        assert float(output.var(correction=0)) == pytest.approx(1.0, abs=0.01), path
    assert network.training is False


@pytest.mark.parametrize("name", ["mlp", "lenet5", "impala"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu", "prelu", "maxout:3", "selu"])
def test_a_network_built_by_lsuv(name: str, activation: str) -> None:
    space = SCALED[name]
    network = build(name, space, activation=activation, init="lsuv", generator=generator())
    for path, output in outputs(network, sampled(space, 512, generator=generator(7))).items():
        assert float(output.var(correction=0)) == pytest.approx(1.0, abs=0.1), path
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            rows = layer.weight.detach() @ layer.weight.detach().T
            assert layer.out_features > layer.in_features or torch.allclose(
                rows, rows[0, 0] * torch.eye(len(rows)), atol=1e-4 * float(rows[0, 0])
            ), path  # orthogonal rows, of one length


def test_lsuv_takes_a_batch_of_whoever_has_data() -> None:
    """With biases one scaling is not enough, and a layer that gives one number everywhere stays."""
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        network[2].bias.copy_(torch.tensor([0.3, -0.3, 0.5, 0.1]))
        network[4].weight.zero_()
    data = torch.randn(500, 3, generator=generator()) * 40 + 7
    lsuv(network, data)
    found = outputs(network, data)
    assert float(found["0"].var(correction=0)) == pytest.approx(1.0, abs=0.01)
    assert float(found["2"].var(correction=0)) == pytest.approx(1.0, abs=0.01)
    assert not network[4].weight.any()
    assert not any(layer._forward_hooks for layer in network)


def test_heads_of_agents() -> None:
    """DQN's last hidden layer is its head's; output layers are orthonormal, the policy's scaled by 0.01."""
    dqn = DQN(BOX, Discrete(3), DQNConfig(init="lsuv", hidden_sizes=(32, 16), dueling=True))
    found = outputs(dqn.online, sampled(BOX, 1000, generator=generator(3)))
    hidden = [path for path in found if not path.endswith("output")]
    assert len(hidden) == 3
    for path in hidden:
        assert float(found[path].var()) == pytest.approx(1.0, abs=0.1), path
    recurrent = DQN(BOX, Discrete(3), DQNConfig(init="lsuv", recurrent="gru"))
    found = outputs(recurrent.online, sampled(BOX, 1000, generator=generator(3)))
    assert float(found["head.stream.hidden.0"].var()) == pytest.approx(1.0, abs=0.1)
    ppo = PPO(BOX, Discrete(3), ActorCriticConfig(init="lsuv"))
    for layer, length in ((ppo.network.policy, 0.01), (ppo.network.value, 1.0)):
        torch.testing.assert_close(layer.weight.norm(dim=1).detach(), torch.full((layer.out_features,), length))
    assert PQN(BOX, Discrete(3), PQNConfig(init="lsuv"), num_envs=4).network.head.stream.output.weight.any()


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        CARTPOLE,
        ATARI,
        Box(-5, 9, (3,), np.int16),
        Box(-np.inf, np.inf, (2, 2), np.float64),
        Box(0.5, np.inf, (2,), np.float32),
        Box(-1, 1, (2,), np.float16),
        Discrete(4, start=3),
        MultiDiscrete([2, 5], start=[1, -2]),
        MultiBinary(3),
        Dict({"a": Discrete(2), "b": Tuple([BOX, MultiBinary([2, 2])])}),
    ],
)
def test_observations_are_of_the_space(space: spaces.Space[Any]) -> None:
    first, same = (sampled(space, 50, generator=generator(5)) for _ in range(2))
    check(space, first, same)
    build("mlp", space, init="lsuv", generator=generator())(first)


def check(space: Any, obs: Any, same: Any) -> None:
    if isinstance(space, Dict | Tuple):
        for key, part in space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces):
            check(part, obs[str(key)], same[str(key)])
        return
    assert torch.equal(obs, same)
    assert obs.shape == (50, *space.shape)
    assert len(obs.unique()) > 1
    dtype = space.dtype if np.dtype(space.dtype) != np.float64 else np.float32
    assert all(space.contains(np.asarray(row).astype(space.dtype)) for row in obs.numpy().astype(dtype))
    assert obs.float().abs().max() <= 255
    if isinstance(space, Box) and space.dtype == np.int16:
        assert (obs.min(), obs.max()) == (-5, 9)
