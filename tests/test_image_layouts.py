"""Images of any layout, depth and shape get a convolutional network, or a line that says why not (row 42)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import TrainOptions, load, train
from gymnast.evaluation import evaluate
from gymnast.networks import build
from gymnast.networks.backbones.convolutional import NatureCNN
from gymnast.networks.build import automatic
from gymnast.networks.layers.images import Layout, reading

IMAGES: list[tuple[tuple[int, ...], tuple[int, int, int]]] = [
    ((84, 84), (1, 84, 84)),
    ((84, 84, 1), (1, 84, 84)),
    ((84, 84, 3), (3, 84, 84)),
    ((40, 100, 3), (3, 40, 100)),
    ((100, 40, 4), (4, 100, 40)),
    ((1, 84, 84), (1, 84, 84)),
    ((3, 40, 100), (3, 40, 100)),
    ((4, 84, 84), (4, 84, 84)),
    ((12, 84, 84), (12, 84, 84)),
    ((36, 36, 3), (3, 36, 36)),
    ((4, 84, 60, 3), (12, 84, 60)),
    ((4, 84, 60, 1), (4, 84, 60)),
    ((4, 3, 84, 60), (12, 84, 60)),
]


def box(shape: tuple[int, ...], dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(0, 255, shape, dtype)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("shape", "planes"), IMAGES)
def test_every_layout_gets_the_convolutions_over_the_same_planes(
    shape: tuple[int, ...], planes: tuple[int, int, int]
) -> None:
    layout = Layout.of(box(shape))
    assert layout is not None
    assert layout.planes == planes
    network = build("auto", box(shape), generator=generator())
    assert isinstance(network, NatureCNN)
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    first = layout.to_planes(images)
    assert first.shape == (2, *planes)
    same = build("nature-cnn", box(planes), generator=generator())
    torch.testing.assert_close(network(images), same(first))


def test_planes_keep_rows_columns_and_channels_apart() -> None:
    image = torch.arange(2 * 40 * 50 * 3).view(2, 40, 50, 3)
    layout = Layout.of(box((40, 50, 3)))
    assert layout is not None
    assert torch.equal(layout.to_planes(image)[1, 2, 7, 9], image[1, 7, 9, 2])
    stack = torch.arange(2 * 4 * 40 * 50 * 3).view(2, 4, 40, 50, 3)
    layout = Layout.of(box((4, 40, 50, 3)))
    assert layout is not None
    assert torch.equal(layout.to_planes(stack)[1, 3 * 3 + 2, 7, 9], stack[1, 3, 7, 9, 2])


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            box((20, 84, 3)),
            "observations [20, 84, 3] are read as a vector, not as images: convolutions need 36x36 pixels",
        ),
        (box((3, 8, 8)), "observations [3, 8, 8] are read as a vector, not as images: convolutions need 36x36 pixels"),
        (
            box((84, 84, 3), np.float32),
            "observations [84, 84, 3] are read as a vector, not as images: they are float32, and images are uint8",
        ),
    ],
)
def test_what_is_no_image_for_convolutions_is_said(space: spaces.Box, line: str) -> None:
    assert automatic(space) == "mlp"
    assert reading(space) == [line]


def test_vectors_are_not_spoken_of_and_parts_are_named() -> None:
    assert reading(box((5,))) == reading(spaces.Discrete(3)) == reading(box((84, 4), np.float32)) == []
    space = spaces.Dict({"camera": box((84, 100, 3)), "speed": box((2,)), "map": box((9, 9, 1))})
    assert automatic(space) == "combined"
    assert reading(space) == [
        "observations camera [84, 100, 3] are images of 84x100 pixels and 3 channels, for convolutions",
        "observations map [9, 9, 1] are read as a vector, not as images: convolutions need 36x36 pixels",
    ]


class Camera(gym.Env[Any, Any]):
    """Its left or right half is bright; the action that names the half is worth 1."""

    action_space = spaces.Discrete(2)

    def __init__(self, shape: tuple[int, ...] = (40, 48, 3)) -> None:
        self.observation_space = box(shape)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def _see(self) -> Any:
        self.bright = int(self.np_random.integers(2))
        shape = self.observation_space.shape
        assert shape is not None
        image = np.zeros(shape, np.uint8)
        image[:, 24 * self.bright : 24 * self.bright + 24] = 255
        return image

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        reward = float(action == self.bright)
        return self._see(), reward, self.time == 5, False, {}


@pytest.mark.parametrize("agent", ["dqn", "ppo", "pqn", "reinforce"])
@pytest.mark.parametrize("shape", [(40, 48, 3), (40, 48)])
def test_an_image_environment_trains_and_says_its_backbone(
    agent: str, shape: tuple[int, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = TrainOptions("own", steps=40, out=str(tmp_path), name="run", eval_episodes=1, video=False, num_envs=2)
    result = train(agent, options, env=lambda: Camera(shape))
    assert result.exit_code == 0
    channels = 3 if len(shape) == 3 else 1
    said = f"backbone auto is nature-cnn: observations {list(shape)} are images of 40x48 pixels and {channels} channels"
    assert said in capfd.readouterr().err
    agent_again = load(result.path)
    assert evaluate(agent_again, lambda: Camera(shape), episodes=2).lengths == (5, 5)
