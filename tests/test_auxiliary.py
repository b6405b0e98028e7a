"""Auxiliary losses: the maths, the heads, and agents that train them beside their own loss."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, PPO, ActorCriticConfig, DQNConfig
from gymnast.agents.auxiliary import Actions, Auxiliary, Transitions
from gymnast.agents.base import Acted
from gymnast.agents.maths import auxiliary as losses
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.networks.heads.auxiliary import ContrastiveHead
from gymnast.networks.layers.augment import random_shift
from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.views import NOISE, Views
from gymnast.storage import checkpoint

SPACE = spaces.Box(-1.0, 1.0, (4,), np.float32)
TASKS = ("contrastive", "inverse-dynamics", "reward", "self-prediction")
EVEN = torch.full((2,), 0.5)


@pytest.mark.parametrize("task", TASKS)
def test_a_backbone_without_layers_is_refused(task: str) -> None:
    config = DQNConfig(auxiliary=task, hidden_sizes=(16,))  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=f"auxiliary {task} teaches the layers below the head, and this network has none"
    ):
        DQN(SPACE, spaces.Discrete(2), config)


def test_contrastive_loss_by_hand() -> None:
    similarity = torch.tensor([[math.log(3.0), 0.0], [math.log(4.0), 0.0]])
    loss, accuracy = losses.contrastive_loss(similarity, EVEN)
    assert loss.item() == pytest.approx(0.5 * (math.log(4 / 3) + math.log(5)))
    assert accuracy.item() == 0.5
    # A row that does not count is no negative example either.
    loss, _ = losses.contrastive_loss(similarity, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(0.0)


def test_losses_of_choices_bits_and_numbers_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, math.log(3.0), 0.0, 0.0], [0.0, math.log(3.0), 0.0, 0.0, 0.0]])
    label = torch.tensor([[1, 0], [1, 2]])
    loss, accuracy = losses.choices_loss(logits, label, (2, 3), EVEN)
    first = math.log(2) + math.log(5 / 3)
    second = math.log(4 / 3) + math.log(3)
    assert loss.item() == pytest.approx((first + second) / 2)
    assert accuracy.item() == pytest.approx((0.5 + 0.5) / 2)
    loss, accuracy = losses.bits_loss(torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[1.0, 1.0]]), torch.ones(1))
    assert loss.item() == pytest.approx(math.log(2) + math.log(4 / 3))
    assert accuracy.item() == 0.5
    assert losses.regression_loss(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0]), EVEN).item() == 2.5
    both = losses.regression_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.ones(1))
    assert both.item() == 2.0
    hidden = losses.regression_loss(torch.tensor([1.0, float("inf")]), torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert hidden.item() == 1.0


def test_similarity_is_a_bilinear_product() -> None:
    head = ContrastiveHead(5)
    query, key = torch.randn(3, 5), torch.randn(3, 128)
    wanted = torch.einsum("ic,cd,jd->ij", head.projection(query), head.product.weight, key) / math.sqrt(128)
    assert torch.allclose(head(query, key), wanted, atol=1e-5)


def test_targets_of_actions() -> None:
    device = torch.device("cpu")
    box = Actions(spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([4.0, np.inf], np.float32)), device=device)
    loss, accuracy = box.loss(torch.zeros(1, 2), torch.tensor([[4.0, 3.0]]), torch.ones(1))
    assert (loss.item(), accuracy) == ((1.0 + 9.0) / 2, None)  # 4 is the upper bound, 1; unbounded numbers stay
    shifted = Actions(spaces.Discrete(3, start=5), device=device)
    loss, accuracy = shifted.loss(torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([6]), torch.ones(1))
    assert loss.item() < 0.001
    assert accuracy == 1.0
    assert Actions(spaces.MultiDiscrete([2, 3]), device=device).outputs == 5
    assert Actions(spaces.MultiBinary([2, 2]), device=device).outputs == 4


def test_views_shift_images_and_add_noise_to_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape, is_last, pad in (((4, 84, 84), False, 4), ((10, 10, 6), True, 1), ((2, 84, 84, 3), True, 4)):
        space = spaces.Box(0, 255, shape, np.uint8)
        obs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8))
        wanted = random_shift(obs, pad, torch.Generator().manual_seed(5), is_last=is_last)
        assert torch.equal(Views(space)(obs, torch.Generator().manual_seed(5)), wanted)
    image = spaces.Box(0.0, 1.0, (3, 10, 10), np.float32)
    obs = torch.rand(2, 3, 10, 10)
    as_last = Views(image, layout=Layout.of(image, "last"))(obs, torch.Generator().manual_seed(5))
    assert torch.equal(as_last, random_shift(obs, 1, torch.Generator().manual_seed(5), is_last=True))
    vectors = torch.randn(20_000, 2, generator=generator) * torch.tensor([1.0, 50.0]) + 7.0
    moved = Views(spaces.Box(-9.0, 9.0, (2,), np.float32))(vectors, generator) - vectors
    assert moved.std(0).tolist() == pytest.approx([NOISE, 50 * NOISE], rel=0.05)
    memory = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)
    seen = Views(spaces.Box(0, 255, (2,), np.uint8))(memory, generator)
    assert seen.dtype == torch.uint8
    assert (seen.int() - memory.int()).abs().max() < 100  # no overflow
    both = spaces.Dict(a=SPACE, b=spaces.Discrete(3))
    part = {"a": torch.randn(3, 4), "b": torch.tensor([0, 1, 2])}
    view = Views(both)(part, generator)
    assert torch.equal(view["b"], part["b"])
    assert not torch.equal(view["a"], part["a"])
    with pytest.raises(ValueError, match="need Box observations, got Discrete"):
        Views(spaces.Discrete(3))


def scripted(agent: DQN, space: spaces.Box, rows: int, start: int, stop: int) -> None:
    """Steps of random observations, each a function of its number alone, with the updates that are due."""

    def obs(number: int) -> Tensor:
        rng = np.random.default_rng(number)
        if space.dtype == np.uint8:
            return torch.from_numpy(rng.integers(0, 256, (rows, *space.shape), np.uint8))
        return torch.from_numpy(rng.random((rows, *space.shape), np.float32))

    flags = torch.zeros(rows, dtype=torch.bool)
    before = obs(start)
    for number in range(start, stop):
        following = obs(number + 1)
        ends = flags.clone()
        ends[0] = number % 7 == 6
        step = Step(following, ends, following, torch.ones(rows), ends, flags, num_active=rows, num_ended=int(ends[0]))
        agent.store(before, Acted(torch.arange(rows) + number % 3 - torch.arange(rows)), step)
        for _ in range(agent.updates_due(agent.env_step)):
            agent.learn()
        before = following


def filled(task: str, **changes: Any) -> DQN:
    config = DQNConfig(auxiliary=task, learning_starts=8, batch_size=8, replay_size=200, train_period=1, **changes)  # type: ignore[arg-type]
    agent = DQN(SPACE, spaces.Discrete(3), config, seed=1)
    flags = torch.zeros(1, dtype=torch.bool)
    obs = torch.rand(1, 4)
    for number in range(30):
        following = torch.rand(1, 4)
        step = Step(following, flags, following, torch.rand(1), flags, flags, num_active=1, num_ended=0)
        agent.store(obs, Acted(torch.tensor([number % 3])), step)
        obs = following
    return agent


@pytest.mark.parametrize("task", TASKS)
def test_the_gradient_reaches_the_backbone_and_is_that_of_the_sum(task: str) -> None:
    agent = filled(task, auxiliary_weight=0.5)
    assert agent.extras.auxiliary is not None
    batch = agent.allocate().sample()
    state = agent.extras.auxiliary.generator.get_state()

    def gradient(which: str) -> Tensor:
        assert agent.extras.auxiliary is not None
        agent.extras.auxiliary.generator.set_state(state)
        agent.weights.grad.zero_()
        if which == "both":
            both = agent.extras.loss(agent.loss, agent.online, agent.loss_of, first_action=0, read=agent.allocate)
            both(batch, None)[0].backward()  # type: ignore[no-untyped-call]
        elif which == "own":
            agent.loss(batch, None)[0].backward()  # type: ignore[no-untyped-call]
        else:
            share = torch.full((8,), 1 / 8)
            following = agent.extras.following(agent.allocate(), batch.index)
            seen = Transitions(batch.obs, batch.next_obs, batch.action, batch.reward, share, following)
            agent.extras.auxiliary.loss(seen, agent.online.backbone(batch.obs))[0].backward()  # type: ignore[no-untyped-call]
        agent.extras.auxiliary.weights.grad.zero_()
        return agent.weights.grad.clone()

    both, own, extra = (gradient(which) for which in ("both", "own", "extra"))
    assert torch.allclose(both, own + extra, atol=1e-6)
    of_backbone = sum(parameter.numel() for parameter in agent.online.backbone.parameters())
    assert extra[:of_backbone].abs().max() > 0
    assert extra[of_backbone:].abs().max() == 0  # the agent's own head does not see it


def test_an_update_moves_head_and_key_encoder() -> None:
    agent = filled("contrastive")
    assert agent.extras.auxiliary is not None
    assert agent.extras.auxiliary.keys is not None
    head = agent.extras.auxiliary.weights.data.clone()
    before = [parameter.clone() for parameter in agent.extras.auxiliary.keys.parameters()]
    metrics = agent.learn()
    assert not torch.equal(agent.extras.auxiliary.weights.data, head)
    assert agent.extras.auxiliary.weights.grad.abs().max() == 0
    now = [*agent.online.backbone.parameters(), *agent.extras.auxiliary.head.projection.parameters()]  # type: ignore[union-attr,operator]
    for old, own, key in zip(before, now, agent.extras.auxiliary.keys.parameters(), strict=True):
        assert torch.allclose(key, 0.95 * old + 0.05 * own, atol=1e-6)
    assert {"loss", "q", "auxiliary_loss", "auxiliary_accuracy"} <= metrics.keys()


def test_loading_an_encoder_restarts_the_key_encoder() -> None:
    agent, other = filled("contrastive"), DQN(SPACE, spaces.Discrete(3), seed=9)
    agent.load_encoder(dict(other.online.backbone.state_dict()), None)
    assert agent.extras.auxiliary is not None
    assert agent.extras.auxiliary.keys is not None
    keys = list(agent.extras.auxiliary.keys.parameters())
    for one, wanted in zip(keys, other.online.backbone.parameters(), strict=False):
        assert torch.equal(one, wanted)


def test_pairs_never_cross_the_end_of_an_episode() -> None:
    config = ActorCriticConfig(auxiliary="inverse-dynamics", rollout_steps=6, minibatches=1, epochs=1)
    agent = PPO(SPACE, spaces.Discrete(2), config)
    actor = agent.actor(1, explore=True, seed=0)
    obs, no = torch.zeros(1, 4), torch.zeros(1, dtype=torch.bool)
    for number in range(6):
        acted = actor.act(obs, no)
        end = torch.tensor([number in (2, 4)])
        final = torch.full((1, 4), number + 0.5)
        following = torch.full((1, 4), 100.0) if end else final
        kinds = (end, no) if number == 2 else (no, end)
        agent.store(obs, acted, Step(following, end, final, torch.ones(1), *kinds, num_active=1, num_ended=int(end)))
        obs = following
    agent.estimates.see()
    samples = agent.estimates.samples(agent.rollout.fields["value"])
    assert samples.next_obs[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]  # type: ignore[index]
    assert samples.obs[:, 0].tolist() == [0.0, 0.5, 1.5, 100.0, 3.5, 100.0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "space", "chance"),
    [
        ("contrastive", spaces.Discrete(3), math.log(64)),
        ("inverse-dynamics", spaces.Discrete(3), math.log(3)),
        ("inverse-dynamics", spaces.MultiDiscrete([3, 2]), math.log(6)),
        ("inverse-dynamics", spaces.MultiBinary(2), math.log(4)),
        ("inverse-dynamics", spaces.Box(-1.0, 1.0, (2,), np.float32), 1 / 3),
        ("reward", spaces.Discrete(3), 2 / 3),
        ("reward", spaces.Box(-1.0, 1.0, (1,), np.float32), 1 / 3),
    ],
)
def test_each_task_learns_what_there_is_to_learn(task: str, space: gym.Space[Any], chance: float) -> None:
    """The successor is the observation plus the action in its first components; the reward is the action."""
    config = ActorCriticConfig(auxiliary=task, learning_rate=1e-3)  # type: ignore[arg-type]
    agent = PPO(SPACE, space, config, seed=2)
    auxiliary: Auxiliary | None = agent.auxiliary
    assert auxiliary is not None
    optimizer = torch.optim.Adam(agent.network.actor.parameters(), 1e-3)
    rng = np.random.default_rng(0)
    space.seed(0)
    found = []
    for _ in range(300):
        obs = torch.from_numpy(rng.uniform(-1, 1, (64, 4)).astype(np.float32))
        action = torch.from_numpy(np.array([space.sample() for _ in range(64)]))
        change = action.reshape(64, -1).float()
        following = obs.clone()
        following[:, : change.shape[1]] += change
        reward = change[:, 0] - (1.0 if isinstance(space, spaces.Discrete) else 0.0)  # mean 0
        batch = Transitions(obs, following, action, reward, torch.full((64,), 1 / 64))
        loss, metrics = auxiliary.loss(batch, agent.network.actor(obs))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        auxiliary.step(1e-3)
        found.append(float(metrics["auxiliary_loss"]))
    assert np.mean(found[-20:]) < 0.5 * chance


def words(agent: str, task: str, out: Path, name: str, steps: int) -> list[str]:
    small = {
        "rainbow": ["--learning-starts", "60", "--replay-size", "500"],
        "dqn": ["--learning-starts", "60", "--replay-size", "500"],
        "ppo": ["--rollout-steps", "32"],
        "a2c": [],
    }
    fixed = ["--env", "gymnast/Catch-v0", "--num-envs", "2", "--no-video", "--eval-episodes", "2", "--log-every", "40"]
    run = ["--steps", str(steps), "--out", str(out), "--name", name, "--auxiliary", task]
    return ["train", agent, *fixed, *run, *small[agent]]


@pytest.mark.parametrize(
    ("agent", "task"),
    [
        ("dqn", "contrastive"),
        ("dqn", "self-prediction"),
        ("rainbow", "inverse-dynamics"),
        ("ppo", "contrastive"),
        ("a2c", "reward"),
    ],
)
def test_a_run_resumes_exactly(agent: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(agent, task, tmp_path, "whole", 640)) == 0, capsys.readouterr().err
    assert main(words(agent, task, tmp_path, "halves", 320)) == 0
    whole, halves = (tmp_path / "gymnast-Catch-v0" / agent / name for name in ("whole", "halves"))
    assert main(["resume", str(halves), "--steps", "640"]) == 0

    def trained(run: Path) -> list[str]:
        return [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"kind":"train"' in line]

    assert trained(whole) == trained(halves)
    assert "auxiliary_loss" in json.loads(trained(whole)[-1])
    one, other = (checkpoint.read(run / "checkpoints" / "last.pt")[1]["agent"]["auxiliary"] for run in (whole, halves))
    for name, value in one["head"].items():
        assert torch.equal(value, other["head"][name])
    assert torch.equal(one["generator"], other["generator"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "dqn --auxiliary rewards",
            "--auxiliary must be one of none, contrastive, inverse-dynamics, reward, self-prediction",
        ),
        ("dqn --auxiliary reward --auxiliary-weight 0", "--auxiliary-weight must be > 0"),
        ("r2d2 --auxiliary reward", "cannot be combined with recurrent: its samples are single steps"),
        ("a3c --auxiliary reward", "cannot be combined with workers"),
        ("ppo --auxiliary reward --trunk separate", "needs trunk shared"),
        ("ppo --auxiliary reward --freeze-encoder", "cannot be combined with"),
        ("dqn --auxiliary reward --compile", "cannot be combined with compile"),
        ("ppo --auxiliary reward --seeds 0:2", "cannot be used in a population"),
        ("pqn --auxiliary reward", "train pqn has no option --auxiliary"),
        ("dqn --auxiliary contrastive --env gymnast/Chain-v0", "contrastive: random views need Box observations"),
    ],
)
def test_mistakes_cost_one_line(given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = [] if "--env" in given else ["--env", "CartPole-v1"]
    assert main(["train", *given.split(), *env, "--steps", "50", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message in said
    assert not (tmp_path / "out").exists()


def test_without_a_task_the_numbers_are_those_of_an_agent_that_never_heard_of_one() -> None:
    plain = DQN(SPACE, spaces.Discrete(3), DQNConfig(), seed=4)
    other = DQN(SPACE, spaces.Discrete(3), dataclasses.replace(DQNConfig(), auxiliary_weight=9.0), seed=4)
    assert plain.extras.auxiliary is None
    assert torch.equal(plain.weights.data, other.weights.data)
    with_task = DQN(SPACE, spaces.Discrete(3), DQNConfig(auxiliary="reward"), seed=4)
    assert torch.equal(plain.weights.data, with_task.weights.data)  # its own random numbers come after the agent's
