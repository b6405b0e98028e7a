"""Self-prediction (SPR), and what SR-SPR and BBF add: augmentation, an annealed horizon, acting by the target."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional

from gymnast.agents import BBF, DQN, DQNConfig
from gymnast.agents.experience.augmentation import INTENSITY
from gymnast.agents.maths.auxiliary import self_prediction_loss
from gymnast.agents.value.horizon import horizon
from gymnast.cli.main import main
from gymnast.networks.heads.self_prediction import SelfPredictionHead, rescaled
from gymnast.networks.layers.augment import random_intensity, random_shift
from tests.replay_world import GAMMA, World, make
from tests.test_auxiliary import scripted
from tests.test_rainbow import Run

SMALL = DQNConfig(
    auxiliary="self-prediction",
    network="minatar-cnn",
    hidden_sizes=(16,),
    batch_size=8,
    replay_size=300,
    learning_starts=30,
    train_period=2,
    target_period=20,
    prediction_steps=3,
)
BREAKOUT = "gymnast/MinAtar-Breakout-v1"
PIXELS = spaces.Box(0, 255, (4, 84, 84), np.uint8)


# The replay.


@pytest.mark.parametrize("kind", ["cpu", "device"])
@pytest.mark.parametrize(("stack", "num_envs"), [(1, 1), (3, 2)])
def test_what_follows_is_what_happened(kind: str, stack: int, num_envs: int) -> None:
    """Actions and observations of the next steps, up to an end, a lost life, a reset from outside or the present."""
    size, steps = 60 * num_envs, 4
    world = World(np.random.default_rng(3), num_envs=num_envs, stack=stack, n=1, capacity=60)
    ring = make(kind, stack=stack, n=1, size=size, num_envs=num_envs, batch_size=size)
    lengths = set()
    for time in range(150):
        if time % 17 == 16:
            world.reset_outside(time % num_envs)
        ring.add(**world.step(waits=True))
        if time < 20:
            continue
        moments = {m.number: (stream, at) for stream, n in enumerate(world.naive) for at, m in enumerate(n.moments)}
        batch = ring.sample()
        found = ring.following(batch.index, steps)
        for row, number in enumerate(batch.action.tolist()):
            stream, at = moments[number]
            expected = []
            for moment in world.naive[stream].moments[at : at + steps]:
                if moment.number is None:
                    break
                expected.append(moment)
                if moment.stop:
                    break
            lengths.add(len(expected))
            assert found.valid[row].tolist() == [True] * len(expected) + [False] * (steps - len(expected))
            for step, moment in enumerate(expected):
                assert found.action[row, step].item() == moment.number
                assert moment.next_obs is not None
                shown = torch.from_numpy(moment.next_obs if stack > 1 else moment.next_obs[-1])
                assert torch.equal(found.obs[row, step], shown)
    assert lengths == {1, 2, 3, 4}


@pytest.mark.parametrize("kind", ["cpu", "device"])
def test_a_shorter_look_ahead_is_that_of_a_ring_of_fewer_steps(kind: str) -> None:
    sizes = {"stack": 2, "size": 160, "num_envs": 2, "batch_size": 160}
    far, near = (make(kind, n=n, **sizes) for n in (5, 2))
    world = World(np.random.default_rng(0), num_envs=2, stack=2, n=5, capacity=80)
    for _ in range(150):
        step = world.step(waits=False)
        for ring in (far, near):
            ring.add(**step)
    far.look_ahead(2, GAMMA)
    ours, theirs = copy.deepcopy(far.sample()), near.sample()
    by_number = {number: row for row, number in enumerate(theirs.action.tolist())}
    for row, number in enumerate(ours.action.tolist()):
        other = by_number[number]  # near has all of far's transitions, and a few newer ones
        assert ours.reward[row].item() == pytest.approx(theirs.reward[other].item(), rel=1e-6)
        assert ours.discount[row].item() == pytest.approx(theirs.discount[other].item(), rel=1e-6)
        assert torch.equal(ours.next_obs[row], theirs.next_obs[other])
    far.look_ahead(5, 0.5)
    whole = far.sample()
    assert not torch.equal(whole.reward, ours.reward)
    assert whole.discount.unique().tolist() == pytest.approx([0.0, *(0.5**power for power in (5, 4, 3, 2, 1))])


# The maths.


def test_horizon_by_hand() -> None:
    config = DQNConfig(n_step=10, gamma=0.97, anneal_steps=100, final_n_step=3, final_gamma=0.997, reset_period=1_000)

    def at(env_step: int) -> tuple[int, float]:
        found = horizon(config, env_step, begun=50)
        return found.n, round(found.gamma, 6)

    assert at(0) == at(50) == at(1_000) == (10, 0.97)
    assert at(150) == at(999) == at(1_100) == at(2_999) == (3, 0.997)
    middle = round(math.sqrt(10 * 3)), round(1 - math.sqrt(0.03 * 0.003), 6)
    assert at(100) == at(1_050) == middle == (5, 0.990513)
    assert horizon(DQNConfig(n_step=4, gamma=0.9), 70, begun=0) == (4, 0.9)
    assert horizon(DQNConfig(n_step=4, gamma=0.9, anneal_steps=5), 5, begun=0).n == 3
    assert horizon(DQNConfig(n_step=2, gamma=0.9, anneal_steps=5), 5, begun=0).n == 2


def test_loss_by_hand() -> None:
    prediction = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [9.0, 9.0]]])
    target = torch.tensor([[[5.0, 0.0], [0.0, -3.0]], [[0.0, 2.0], [1.0, 0.0]]])
    valid = torch.tensor([[True, True], [True, False]])
    loss, cosine = self_prediction_loss(prediction, target, valid, torch.tensor([0.25, 0.75]))
    first, second = (0.0 + 4.0) / 2, (2 - 2 / math.sqrt(2)) / 2
    assert loss.item() == pytest.approx(0.25 * first + 0.75 * second)
    assert cosine.item() == pytest.approx((1.0 - 1.0 + 1 / math.sqrt(2)) / 3)


def test_latents_are_rescaled() -> None:
    latent = torch.tensor([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]])
    assert torch.allclose(rescaled(latent), torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]), atol=1e-5)


def test_a_transition_adds_the_action_as_planes() -> None:
    head = SelfPredictionHead(2 * 5 * 4, 3, (2, 5, 4))
    features, action = torch.rand(6, 40), torch.randint(3, (6, 2))
    latent, expected = rescaled(features), []
    for step in range(2):
        planes = torch.zeros(6, 5, 5, 4)
        planes[:, :2] = latent.view(6, 2, 5, 4)
        planes[range(6), 2 + action[:, step]] = 1.0
        one, two = head.transition.first, head.transition.second
        hidden = functional.conv2d(planes, one.weight, one.bias, padding=1).relu()  # type: ignore[arg-type]
        hidden = functional.conv2d(hidden, two.weight, two.bias, padding=1).relu()  # type: ignore[arg-type]
        latent = rescaled(hidden.flatten(1))
        expected.append(head.predictor(head.projection.linear(latent)))
    assert torch.allclose(head(features, action), torch.stack(expected, 1), atol=1e-5)


def test_brightness_keeps_type_and_range() -> None:
    images = torch.full((4_000, 1, 2, 2), 100, dtype=torch.uint8)
    bright = random_intensity(images, INTENSITY, torch.Generator().manual_seed(0))
    assert bright.dtype == torch.uint8
    assert (bright.flatten(1) == bright[:, 0, 0, :1]).all()  # one factor for each image
    numbers = bright[:, 0, 0, 0].float()
    assert (numbers.min(), numbers.max()) == (90, 110)  # two deviations at most
    assert numbers.mean().item() == pytest.approx(100, abs=0.3)
    assert random_intensity(torch.full((50, 1), 250, dtype=torch.uint8), 0.5).max() == 255
    real = torch.rand(3, 2, 2)
    assert random_intensity(real, INTENSITY).dtype == torch.float32


# Agents.


def test_the_features_of_a_convolution_keep_their_places() -> None:
    agent = Run(BREAKOUT, SMALL).agent
    assert agent.extras.auxiliary is not None
    channels, height, width = agent.extras.auxiliary.head.transition.shape  # type: ignore[union-attr,misc]
    assert channels * height * width == agent.online.backbone.out_features  # type: ignore[operator]
    flat = Run("CartPole-v1", dataclasses.replace(SMALL, network="auto", hidden_sizes=(8, 8))).agent
    assert flat.extras.auxiliary is not None
    assert not hasattr(flat.extras.auxiliary.head.transition, "shape")


def test_targets_follow_the_online_encoder() -> None:
    run = Run(BREAKOUT, dataclasses.replace(SMALL, prediction_momentum=0.9)).go(30)
    auxiliary = run.agent.extras.auxiliary
    assert auxiliary is not None
    assert auxiliary.keys is not None
    before = [part.clone() for part in auxiliary.keys.parameters()]
    run.go(32)
    assert run.agent.updates == 1
    mine = [*run.agent.online.backbone.parameters(), *auxiliary.head.projection.parameters()]  # type: ignore[operator,union-attr]
    for old, own, now in zip(before, mine, auxiliary.keys.parameters(), strict=True):
        assert torch.allclose(now, 0.9 * old + 0.1 * own, atol=1e-6)
    assert {"auxiliary_loss", "auxiliary_cosine"} <= run.metrics[0].keys()


def test_it_learns_to_predict() -> None:
    """Among the targets of 32 transitions a prediction finds its own, three steps ahead."""
    config = dataclasses.replace(
        SMALL, network="auto", hidden_sizes=(32, 32), batch_size=32, replay_size=1_000, learning_rate=1e-3
    )

    def found(run: Run) -> float:
        agent = run.agent
        auxiliary = agent.extras.auxiliary
        assert auxiliary is not None
        assert auxiliary.keys is not None
        batch = agent.allocate().sample()
        following = agent.extras.following(agent.allocate(), batch.index)
        with torch.no_grad():
            prediction = auxiliary.head(agent.online.backbone(batch.obs), following.action)[:, 2]
            target = auxiliary.keys(following.obs[:, 2])  # type: ignore[index]
        near = functional.cosine_similarity(prediction[:, None], target[None], dim=2).argmax(1)
        return float((near == torch.arange(32))[following.valid[:, 2]].float().mean())

    run = Run("CartPole-v1", config).go(500)
    assert found(Run("CartPole-v1", dataclasses.replace(config, learning_starts=900)).go(500)) < 0.13
    assert found(run.go(1_400)) > 0.25


def test_resets_begin_with_another_head() -> None:
    run = Run(BREAKOUT, dataclasses.replace(SMALL, reset_period=60, reset_keep=0.75)).go(58)
    auxiliary, resets = run.agent.extras.auxiliary, run.agent.extras.resets
    assert auxiliary is not None
    assert auxiliary.keys is not None
    assert resets is not None
    before = {name: part.clone() for name, part in auxiliary.head.named_parameters()}
    resets(60, (run.agent.online, run.agent.target), run.agent.optimizer, auxiliary)
    for name, part in auxiliary.head.named_parameters():
        new = (part - 0.75 * before[name]) / 0.25 if name.startswith("transition.") else part
        bound = before[name].abs().max().item()  # weights are uniform within a bound that this is close to
        assert not torch.allclose(new, before[name])
        assert new.abs().max().item() == pytest.approx(bound, rel=0.5), name
    for mine, key in zip(run.agent.online.backbone.parameters(), auxiliary.keys.parameters(), strict=False):
        assert torch.equal(mine, key)
    assert all(value.abs().sum() == 0 for state in auxiliary.optimizer.state.values() for value in state.values())


def test_the_target_network_acts_and_follows_every_update() -> None:
    config = dataclasses.replace(SMALL, auxiliary="none", act_by_target=True, target_period=0, tau=0.25)
    run = Run(BREAKOUT, config).go(30)
    agent, obs = run.agent, run.obs
    before = agent.target_weights.data.clone()
    run.go(32)
    assert agent.updates == 1
    assert torch.allclose(agent.target_weights.data, 0.75 * before + 0.25 * agent.weights.data)
    assert torch.equal(agent.q_values(obs), agent.values.q(agent.target(obs, None)))
    with torch.no_grad():  # the online network would choose otherwise
        agent.target_weights.data.normal_(generator=torch.Generator().manual_seed(0))
        agent.weights.data.copy_(-agent.target_weights.data)
    actor = agent.actor(1, explore=False, seed=0)
    assert actor.act(obs, run.env.start).action.item() == agent.target(obs, None).argmax().item()
    assert agent.decide(obs).preference.argmax().item() == agent.target(obs, None).argmax().item()


def test_images_of_a_batch_are_changed_and_nothing_else() -> None:
    config = DQNConfig(augment="shift", network="efficient-cnn", batch_size=2, replay_size=100, learning_starts=4)
    agent = DQN(PIXELS, spaces.Discrete(3), config, seed=1)
    assert agent.extras.augmentation is not None
    obs = torch.randint(256, (5, 4, 84, 84), dtype=torch.uint8)
    state = agent.extras.augmentation.generator.get_state()
    twin = torch.Generator()
    twin.set_state(state)
    assert torch.equal(agent.extras.augmentation(obs), random_shift(obs, 4, twin))
    both = spaces.Dict(image=PIXELS, speed=spaces.Box(-1.0, 1.0, (2,)))
    mixed = DQN(both, spaces.Discrete(3), dataclasses.replace(config, network="combined"))
    assert mixed.extras.augmentation is not None
    seen: Any = mixed.extras.augmentation({"image": obs, "speed": torch.ones(5, 2)})
    assert torch.equal(seen["speed"], torch.ones(5, 2))
    assert not torch.equal(seen["image"], obs)


@pytest.mark.parametrize("rows", [1, 2])
def test_bbf_resumes_exactly(rows: int) -> None:
    """All its parts at once, over a reset."""
    config = dataclasses.replace(
        BBF.config,
        network="efficient-cnn",
        hidden_sizes=(16,),
        batch_size=4,
        replay_size=200,
        learning_starts=20,
        updates_per_train=1,
        train_period=4,
        reset_period=60,
        anneal_steps=30,
        augment="shift-intensity",
    )
    wide = spaces.Box(0, 255, (1, 30, 30), np.uint8)

    whole, first, second = (DQN(wide, spaces.Discrete(3), config, num_envs=rows, seed=2) for _ in range(3))
    scripted(whole, wide, rows, 0, 50)
    scripted(first, wide, rows, 0, 25)
    second.load_state_dict(first.state_dict())
    scripted(second, wide, rows, 25, 50)
    assert second.updates == whole.updates > 5
    assert torch.equal(second.weights.data, whole.weights.data)
    assert torch.equal(second.target_weights.data, whole.target_weights.data)
    assert second.scheduled() == whole.scheduled()
    assert whole.scheduled()["n"] < 10


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("dqn --prediction-steps 3", "--prediction-steps 3 has no effect without --auxiliary self-prediction"),
        ("dqn --auxiliary self-prediction --prediction-steps 0", "--prediction-steps must be >= 1, got 0"),
        ("dqn --auxiliary self-prediction --prediction-momentum 2", "--prediction-momentum must be between 0 and 1"),
        ("ppo --auxiliary self-prediction", "--auxiliary self-prediction needs a replay"),
        ("dqn --augment shift", "augment shift needs images"),
        ("dqn --augment turn", "--augment must be one of none, shift, shift-intensity, got turn"),
        ("r2d2 --augment shift", "--augment needs recurrent none"),
        ("dqn --final-n-step 2", "--final-n-step 2 has no effect without --anneal-steps"),
        ("dqn --anneal-steps 9 --final-n-step 3", "--final-n-step must be <= --n-step 1, got 3"),
        ("dqn --anneal-steps 9 --n-step 5 --gamma 1", "--gamma must be > 0 and < 1 with --anneal-steps, got 1.0"),
        ("dqn --weight-decay -1", "--weight-decay must be >= 0, got -1.0"),
        ("a3c --weight-decay 0.1", "--weight-decay 0.1 cannot be combined with workers"),
        ("dqn --seeds 0:2 --act-by-target", "act_by_target True cannot be used in a population"),
        ("dqn --seeds 0:2 --target-period 0", "target_period 0 cannot be used in a population"),
    ],
)
def test_bad_input_is_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split(), "--env", "gymnast/CartPole-v1"]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
