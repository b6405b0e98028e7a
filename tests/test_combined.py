"""The backbone for images beside other parts: which part goes where, against the layers put together by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.agents import DQN, DQNConfig
from gymnast.cli.main import main
from gymnast.networks import build, default_sizes
from gymnast.networks.backbones.combined import Combined
from gymnast.networks.backbones.convolutional import NatureCNN
from gymnast.networks.backbones.mlp import MLP

IMAGE = spaces.Box(0, 255, (3, 36, 48), np.uint8)
OTHER = spaces.Box(0, 255, (1, 84, 84), np.uint8)
SPACE = spaces.Dict(
    {
        "camera": IMAGE,
        "a.b": spaces.Box(-1, 1, (2, 2)),
        "inner": spaces.Tuple([spaces.Discrete(3, start=5), spaces.Dict({"0": OTHER, "bits": spaces.MultiBinary(2)})]),
        "small": spaces.Box(0, 255, (3, 8, 8), np.uint8),
    }
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def combined(space: Any = SPACE, **options: Any) -> Combined:
    network = build("combined", space, **options, generator=generator())
    assert isinstance(network, Combined)
    return network


def observations(rows: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def images(*shape: int) -> Tensor:
        return torch.from_numpy(rng.integers(0, 256, (rows, *shape), np.uint8))

    return {
        "a.b": torch.from_numpy(rng.normal(size=(rows, 2, 2)).astype(np.float32)),
        "camera": images(3, 36, 48),
        "inner": {
            "0": torch.from_numpy(rng.integers(5, 8, rows)),
            "1": {"0": images(1, 84, 84), "bits": torch.from_numpy(rng.integers(0, 2, (rows, 2), np.int8))},
        },
        "small": images(3, 8, 8),
    }


def convolved(part: nn.Module, image: Tensor) -> Tensor:
    features = image.float() / 255
    for layer, stride in zip(part.convolutions, (4, 2, 1), strict=True):  # type: ignore[call-overload]
        features = functional.conv2d(features, layer.weight, layer.bias, stride=stride).relu()
    return features.flatten(1)


def by_hand(network: Combined, obs: dict[str, Any]) -> Tensor:
    """The parts in the space's order, then a ReLU layer each."""
    of_part = dict(zip(network.paths, network.parts, strict=True))
    inner = obs["inner"]
    whole = {
        ("a.b",): obs["a.b"].flatten(1),
        ("camera",): convolved(of_part[("camera",)], obs["camera"]),
        ("inner", "0"): functional.one_hot(inner["0"] - 5, 3).float(),
        ("inner", "1", "0"): convolved(of_part[("inner", "1", "0")], inner["1"]["0"]),
        ("inner", "1", "bits"): inner["1"]["bits"].float(),
        ("small",): obs["small"].flatten(1).float() / 255,
    }
    features = torch.cat([whole[path] for path in network.paths], 1)
    for layer in network.layers:
        features = (features @ layer.weight.T + layer.bias).relu()
    return features


@pytest.mark.parametrize("sizes", [None, (32, 16), ()])
def test_it_is_the_layers_put_together_by_hand(sizes: tuple[int, ...] | None) -> None:
    network, obs = combined(hidden_sizes=sizes), observations(5)
    assert network.paths == list(_order(SPACE))
    features = network(obs)
    width = 4 + 64 * 1 * 2 + 3 + 64 * 7 * 7 + 2 + 3 * 8 * 8
    assert features.shape == (5, network.out_features) == (5, {None: 512, (): width}.get(sizes, 16))
    torch.testing.assert_close(features, by_hand(network, obs), rtol=1e-4, atol=1e-5)


def _order(space: gym.Space[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _order(part, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _order(part, (*path, str(index)))
    else:
        yield path


def test_every_part_matters_and_learns() -> None:
    network, obs = combined(activation="tanh"), observations(4)
    features = network(obs)
    for path in network.paths:
        other = observations(4)
        holder = other
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = observations(4, seed=1)[path[0]] if len(path) == 1 else _changed(holder[path[-1]])
        assert not torch.equal(network(other), features), path
    features.sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def _changed(part: Tensor) -> Tensor:
    return 12 - part if part.dtype == torch.int64 else 1 - part


def test_a_tuple_of_images_alone() -> None:
    network = combined(spaces.Tuple([IMAGE, IMAGE]), hidden_sizes=(8,))
    first, second = observations(2)["camera"], observations(2, seed=1)["camera"]
    assert not torch.equal(network({"0": first, "1": second}), network({"0": second, "1": first}))
    weights = [part.convolutions[0].weight for part in network.parts]
    assert not torch.equal(*weights)  # each has its own


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (SPACE, Combined),
        (spaces.Tuple([spaces.Discrete(2), OTHER]), Combined),
        (spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(2)}), MLP),
        (spaces.Dict({"a": spaces.Box(0, 255, (3, 20, 20), np.uint8)}), MLP),
        (IMAGE, NatureCNN),
    ],
)
def test_auto_takes_it_where_a_part_is_an_image(space: Any, kind: type) -> None:
    assert isinstance(build("auto", space, generator=generator()), kind)
    assert default_sizes("auto", space) == {MLP: (120, 84)}.get(kind, (512,))


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    one = combined()
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), combined().parameters(), strict=True))
    for layer, gain in ((one.layers[0], 2.0), (combined(activation="tanh").layers[0], (5 / 3) ** 2)):
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain * torch.eye(512), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (IMAGE, {"activation": "rulu"}, "activation must be one of relu, tanh"),
        (spaces.Box(-1, 1, (2,)), {}, "network combined needs a uint8 image .* among the parts .*; mlp takes any"),
        (spaces.Dict({"a": spaces.Box(0, 255, (3, 20, 20), np.uint8)}), {}, "of at least 36x36 pixels"),
        (spaces.Dict({"a": IMAGE, "b": spaces.Text(3)}), {}, "a network cannot read a Text observation"),
        (spaces.Dict({"a": IMAGE}), {"hidden_sizes": (0,)}, "hidden_sizes must be numbers >= 1"),
    ],
)
def test_what_does_not_fit_is_refused(space: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        combined(space, **options)
    assert "\n" not in str(caught.value)


class Pictures(gym.Env):  # type: ignore[misc]
    """Random pictures and numbers; ends at random."""

    observation_space = spaces.Dict({"image": IMAGE, "speed": spaces.Box(-1, 1, (2,))})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.seen(), {}

    def seen(self) -> Any:
        image = self.np_random.integers(0, 256, IMAGE.shape, np.uint8)
        return {"image": image, "speed": self.np_random.uniform(-1, 1, 2).astype(np.float32)}

    def step(self, action: Any) -> Any:
        return self.seen(), float(action), bool(self.np_random.random() < 0.1), False, {}


def test_dqn_trains_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gym.register("Pictures-v0", entry_point=Pictures, max_episode_steps=20)
    options = "--steps 100 --learning-starts 40 --log-every 50 --batch-size 8 --hidden-sizes 16 --no-video --name r"
    try:
        assert main(["train", "dqn", "--env", "Pictures-v0", "--network", "combined", *options.split()]) == 0
    finally:
        del gym.registry["Pictures-v0"]
    run = tmp_path / "runs/Pictures-v0/dqn/r"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["env_step"] == 100
    assert any(math.isfinite(row.get("loss", math.nan)) for row in rows)
    assert json.loads((run / "config.json").read_text())["config"]["network"] == "combined"


def test_bf16_is_refused() -> None:
    with pytest.raises(ValueError, match="bf16 needs a backbone nature-cnn, a3c-cnn or efficient-cnn, got Combined"):
        DQN(Pictures.observation_space, Pictures.action_space, DQNConfig(network="combined", bf16=True))


def test_each_part_may_have_a_network_of_its_own() -> None:
    space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (36, 40, 3), np.uint8),
            "map": spaces.Box(0, 1, (10, 10, 4), np.float32),
            "inner": spaces.Dict({"speed": spaces.Box(-1, 1, (3,), np.float32)}),
            "past": spaces.Box(-1, 1, (6, 2), np.float32),
        }
    )
    options = {"images": "impala", "parts": ("map=resnet", "past=gru")}
    network = build("combined", space, options=options, generator=torch.Generator().manual_seed(0))
    kinds = dict(zip((".".join(path) for path in network.paths), network.parts, strict=True))
    assert {key: type(part).__name__ for key, part in kinds.items()} == {
        "camera": "Impala",
        "map": "ResNet",
        "inner.speed": "Vector",
        "past": "GRU",
    }
    obs = {
        "camera": torch.zeros(2, 36, 40, 3, dtype=torch.uint8),
        "map": torch.zeros(2, 10, 10, 4),
        "inner": {"speed": torch.zeros(2, 3)},
        "past": torch.zeros(2, 6, 2),
    }
    features = network(obs)
    assert features.shape == (2, 512)
    features.sum().backward()
    again = build("combined", space, options=options, generator=torch.Generator().manual_seed(0))
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"parts": ("camera",)}, "network combined: parts must be written as PART=NETWORK, got 'camera'"),
        ({"parts": ("lidar=gru",)}, "network combined: parts names 'lidar', and the observation has camera, speed"),
        ({"parts": ("speed=impala",)}, "network impala needs images"),
        ({"images": "resnets"}, "network combined: the network of a part must be one of nature-cnn,"),
        ({"imges": "resnet"}, "network combined has no option imges; its options are images, parts"),
    ],
)
def test_wrong_networks_of_parts(options: dict[str, Any], line: str) -> None:
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (36, 40, 3), np.uint8), "speed": spaces.Box(-1, 1, (3,), np.float32)}
    )
    with pytest.raises(ValueError, match=re.escape(line)):
        build("combined", space, options=options, generator=torch.Generator().manual_seed(0))


def test_linear_is_the_vector() -> None:
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,), np.float32)})
    network = build("linear", space, generator=torch.Generator().manual_seed(0))
    assert network.out_features == 5
    obs = {"a": torch.tensor([[2]]), "b": torch.tensor([[0.5, -0.5]])}
    assert network(obs).tolist() == [[0.0, 0.0, 1.0, 0.5, -0.5]]
    assert not list(network.parameters())
