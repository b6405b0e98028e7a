"""Images of any layout, depth and shape get a convolutional network, or a line that says why not (row 42)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import TrainOptions, load, train
from gymnast.agents.value.dqn import DQN, DQNConfig
from gymnast.envs import make
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
    said = f"network auto is nature-cnn: observations {list(shape)} are images of 40x48 pixels and {channels} channels"
    assert said in capfd.readouterr().err
    agent_again = load(result.path)
    assert evaluate(agent_again, lambda: Camera(shape), episodes=2).lengths == (5, 5)


class Numbered(Camera):
    """Frame t of episode e is full of 10 * e + t; episodes have 5 steps."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.episodes += 1
        return super().reset(seed=seed)

    def _see(self) -> Any:
        super()._see()
        return np.full(self.observation_space.shape, 10 * self.episodes + self.time, np.uint8)


STACKED = {
    (40, 48): (3, 40, 48),
    (40, 48, 1): (3, 40, 48),
    (1, 40, 48): (3, 40, 48),
    (40, 48, 3): (3, 40, 48, 3),
    (3, 40, 48): (3, 3, 40, 48),
}


@pytest.mark.parametrize(("shape", "stacked"), STACKED.items())
@pytest.mark.parametrize("vectorization", ["serial", pytest.param("async", marks=pytest.mark.slow)])
def test_frames_are_stacked_and_none_outlives_its_episode(
    shape: tuple[int, ...], stacked: tuple[int, ...], vectorization: str
) -> None:
    env = make(lambda: Numbered(shape), 2, frame_stack=3, vectorization=vectorization)
    assert (env.single_observation_space.shape, env.frame_stack) == (stacked, 3)
    found, finals = [numbers(env.reset())], []
    for _ in range(7):
        step = env.step(torch.zeros(2, dtype=torch.int64))
        found.append(numbers(step.obs))
        finals.append(numbers(step.next_obs))
    env.close()
    assert found[:5] == [[0, 0, 10], [0, 10, 11], [10, 11, 12], [11, 12, 13], [12, 13, 14]]
    assert found[5:] == [[0, 0, 20], [0, 20, 21], [20, 21, 22]]
    assert finals[4] == [13, 14, 15]


def numbers(obs: Any) -> list[int]:
    """The number that each frame of row 0 is full of."""
    frames = obs[0].flatten(1)
    assert (frames == frames[:, :1]).all()
    return [int(value) for value in frames[:, 0]]


@pytest.mark.parametrize("shape", STACKED)
def test_a_replay_keeps_each_frame_once_and_gives_the_same_stacks(shape: tuple[int, ...]) -> None:
    env = make(lambda: Numbered(shape), 1, frame_stack=3)
    config = DQNConfig(frame_stack=env.frame_stack, learning_starts=10_000, replay_size=200, batch_size=64)
    agent = DQN(env.single_observation_space, env.single_action_space, config, seed=0)
    actor = agent.actor(1, explore=True, seed=0)
    assert agent.replay is not None
    assert (agent.replay.stack, agent.replay.layout.frame_bytes) == (3, math.prod(shape))
    seen = set()
    obs, start = env.reset(), env.start
    for _ in range(60):
        acted = actor.act(obs, start)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        seen.add((*numbers(obs), *numbers(step.next_obs)))
        obs, start = step.obs, step.start
    batch = agent.replay.sample()
    for row in range(64):
        pair = (*numbers(batch.obs[row : row + 1]), *numbers(batch.next_obs[row : row + 1]))
        assert pair in seen


@pytest.mark.parametrize("agent", ["dqn", "ppo"])
def test_a_run_stacks_in_training_evaluation_and_after_loading(agent: str, tmp_path: Path) -> None:
    options = TrainOptions(
        "own", steps=40, out=str(tmp_path), name="run", eval_episodes=1, video=False, num_envs=2, frame_stack=3
    )
    result = train(agent, options, env=lambda: Camera((40, 48, 3)))
    assert result.exit_code == 0
    kept = json.loads((result.path / "config.json").read_text())
    assert kept["run"]["frame_stack"] == 3
    assert kept["config"].get("frame_stack", 3) == 3
    assert load(result.path).observation_space.shape == (3, 40, 48, 3)


def test_four_planes_of_ones_own_are_no_stack(tmp_path: Path) -> None:
    """The run asks the environment, and does not guess from the shape."""
    options = TrainOptions("own", steps=40, out=str(tmp_path), name="run", eval_episodes=1, video=False)
    result = train("dqn", options, DQNConfig(learning_starts=10), env=lambda: Camera((4, 48, 48)))
    assert result.exit_code == 0
    assert json.loads((result.path / "config.json").read_text())["config"]["frame_stack"] == 1


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("CartPole-v1", "frame_stack needs images, uint8 .* got Box"),
        ("Pong", "frame_stack 3 cannot be set for an Atari game: it has the option stack"),
        ("gymnast/MinAtar-Breakout-v1", "frame_stack 3 cannot be set for the device-native"),
        (gym.vector.SyncVectorEnv([Camera] * 2), "frame_stack 3 cannot be set for a VectorEnv"),
    ],
)
def test_what_cannot_be_stacked_is_refused(id: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(id, frame_stack=3)


def test_atari_says_its_stack() -> None:
    env = make("Pong", options={"stack": 2})
    assert env.frame_stack == env.single_observation_space.shape[0] == 2
    env.close()
