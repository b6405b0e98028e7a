"""IRIS: its replay, its losses by hand, episodes' boundaries, dreams, exact resume and learning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import Iris, IrisConfig
from gymnast.agents.base import Acted, WorldModel
from gymnast.agents.world_models import iris_model
from gymnast.agents.world_models.context import Context
from gymnast.agents.world_models.iris_model import CodeSequences
from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.networks.world_models import frames
from gymnast.networks.world_models.token_world import ABSENT, BEGINS, FOLLOWS
from gymnast.training.loop import Loop
from tests.test_dreamer import CASES, Random, returns_by_hand
from tests.test_resume import SMALL_IRIS

SMALL = IrisConfig(**SMALL_IRIS)
ONE = spaces.Box(-100.0, 100.0, (1,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counted(agent: Iris, lengths: list[int], *, truncated: bool) -> None:
    """Episodes of one row whose observations and rewards count the observations: 0, 1, 2, …"""
    number, obs = 0, torch.tensor([[0.0]])
    for length in lengths:
        for step in range(length):
            acted, ends = Acted(torch.tensor([number % 3])), torch.tensor([step == length - 1])
            number += 1
            following = final = torch.tensor([[float(number)]])
            if ends:
                number += 1
                following = torch.tensor([[float(number)]])
            cut, none = (ends, torch.tensor([False])) if truncated else (torch.tensor([False]), ends)
            agent.store(obs, acted, Step(following, ends, final, final[:, 0].clone(), none, cut, 1, int(ends)))
            obs = following


@pytest.mark.parametrize("truncated", [False, True])
def test_a_sequence_holds_each_observation_with_what_led_to_it(truncated: bool) -> None:
    """Boundaries of episodes fall on every index of a sequence."""
    agent = Iris(ONE, spaces.Discrete(3), SMALL)
    counted(agent, [4, 3, 7, 1, 5, 9], truncated=truncated)
    firsts, finals = {0, 5, 9, 17, 19, 25}, {4, 8, 16, 18, 24, 34}
    boundaries: set[int] = set()
    for _ in range(30):
        sampled = agent.allocate().sample()
        batch, numbers = agent._sequences(sampled), sampled.obs["obs"][..., 0]
        assert torch.equal(numbers - numbers[:, :1], torch.arange(6.0).expand(3, 6))
        for row, step in np.ndindex(3, 6):
            number = int(numbers[row, step])
            assert batch.start[row, step] == (number in firsts)
            assert batch.terminated[row, step] == float(number in finals and not truncated)
            if number in firsts:
                boundaries.add(step)
            else:
                assert batch.reward[row, step] == number
                assert batch.action[row, step].argmax() == (number - 1) % 3
    assert boundaries == set(range(6))


def sequences(rows: int, steps: int, config: IrisConfig = SMALL) -> CodeSequences:
    return CodeSequences(
        codes=torch.randint(config.codes, (rows, steps, config.vector_codes), generator=generator()),
        action=torch.nn.functional.one_hot(torch.randint(3, (rows, steps), generator=generator(1)), 3).float(),
        reward=torch.randn((rows, steps), generator=generator(2)),
        terminated=torch.zeros((rows, steps)),
        start=torch.zeros((rows, steps), dtype=torch.bool),
    )


@pytest.mark.parametrize("begins", range(6))
def test_the_policy_remembers_nothing_of_the_episode_before(begins: int) -> None:
    """An episode that begins anywhere in a sequence is imagined on as if nothing had been before it."""
    model = Iris(ONE, spaces.Discrete(3), SMALL).model
    batch = sequences(4, 6)
    batch.start[:, begins] = True
    other = dataclasses.replace(batch, codes=batch.codes.clone(), action=batch.action.clone())
    other.codes[:, :begins], other.action[:, : begins + 1] = 0, 0.0
    one, two = (model.imagine(part, generator(5)) for part in (batch, other))
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left, right)
    if begins:
        cut = dataclasses.replace(batch, start=torch.zeros_like(batch.start))
        assert not torch.equal(model.imagine(cut, generator(5)).value, one.value)


def test_the_memory_is_that_of_acting_step_by_step() -> None:
    agent = Iris(ONE, spaces.Discrete(3), SMALL)
    model, policy = agent.model, agent.model.policy
    batch = sequences(3, 6)
    batch.start[0, 2] = batch.start[1, 5] = batch.start[2, 0] = True
    memory, seen = model._burnt_in(batch)
    wanted = torch.zeros_like(memory)
    for step in range(5):
        wanted = wanted.masked_fill(batch.start[:, step : step + 1], 0.0)
        wanted = policy.step(model.seen(batch.codes[:, step]), wanted)[2]
    wanted = wanted.masked_fill(batch.start[:, 5:], 0.0)
    assert torch.allclose(memory, wanted, atol=1e-6)
    assert torch.equal(seen, model.seen(batch.codes[:, 5]))


def test_losses_of_policy_and_value_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(SMALL, gamma=0.9, return_lambda=0.7, entropy_coef=0.1, horizon=3)
    model = Iris(ONE, spaces.Discrete(2), config).model
    policy = torch.randn((2, 3, 2), generator=generator()).requires_grad_(True)
    value = torch.randn((3, 3), generator=generator(1)).requires_grad_(True)
    action = torch.tensor([[0, 1, 1], [1, 0, 1]])
    reward, ended = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[False, True, False]] * 2)
    imagined = iris_model.Imagined(policy, value, action, reward, ended)
    monkeypatch.setattr(model, "imagine", lambda *_: imagined)
    batch = sequences(3, 6)
    batch.terminated[2, 5] = 1.0  # nothing follows the last row's first observation
    loss, metrics = model.policy_loss(batch, generator())
    expected = torch.zeros(())
    alive = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    for row in range(3):
        discount = [0.9 * (1.0 - float(end)) for end in ended[:, row]]
        returns = returns_by_hand(reward[:, row].tolist(), discount, value[1:, row].tolist(), 0.7)
        for step in range(2):
            log_prob = policy[step, row].log_softmax(0)
            advantage = returns[step] - value[step, row].item()
            gain = log_prob[action[step, row]] * advantage - 0.1 * (log_prob.exp() * log_prob).sum()
            error = (value[step, row] - returns[step]) ** 2
            expected = expected + alive[step][row] * (error - gain) / 6
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for parameter in (policy, value):
        (found,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, parameter, retain_graph=True)
        assert torch.allclose(found, wanted, atol=1e-5)
    assert metrics["imagined_ends"].item() == pytest.approx(1 / 3)


def test_each_part_learns_from_its_own_loss_and_in_its_own_time() -> None:
    env = make("gymnast/Chain-v0", num_envs=1, seed=0)
    agent = Iris(env.single_observation_space, env.single_action_space, SMALL)
    env.reset()
    loop = Loop(agent, agent.actor(1, explore=True, seed=1), env)
    starts, changed = {"tokenizer": 34, "world": 42, "policy": 50}, {}
    before = {name: learner.weights.data.clone() for name, learner in agent.learners.items()}
    for step in range(1, 60):
        loop.advance(step, lambda: False)
        for name, learner in agent.learners.items():
            if name not in changed and not torch.equal(learner.weights.data, before[name]):
                changed[name] = step
    assert changed == starts  # a round at 34, 38, …: one more than every 4 steps after the first 30
    assert agent.updates == (59 - 30) // 4
    assert {"code_loss", "policy_loss", "reconstruction_loss"} <= loop.metrics.keys()


def test_the_policy_gives_the_other_parts_no_gradient() -> None:
    agent = Iris(ONE, spaces.Discrete(3), SMALL)
    loss, _ = agent.model.policy_loss(sequences(4, 6), generator())
    loss.backward()
    assert agent.learners["policy"].weights.grad.abs().sum() > 0
    assert all(not agent.learners[name].weights.grad.any() for name in ("tokenizer", "world"))


def test_weights_decay_in_the_linear_layers_of_the_transformer_only() -> None:
    agent = Iris(ONE, spaces.Discrete(3), dataclasses.replace(SMALL, weight_decay=0.5))
    modules = {name: dict(learner.module.named_parameters()) for name, learner in agent.learners.items()}
    before = {name: {key: value.clone() for key, value in part.items()} for name, part in modules.items()}
    for learner in agent.learners.values():
        learner.step(0.0 * learner.weights.parameter.sum(), 0.1)
    for name, part in modules.items():
        for key, value in part.items():
            kept = "norm" in key or key.startswith(("code.", "position.", "beginning."))
            decays = name == "world" and not kept
            assert torch.allclose(value, before[name][key] * (0.95 if decays else 1.0)), (name, key)


@pytest.mark.parametrize(("observation", "action", "changes"), CASES, ids=lambda case: str(case)[:12])
def test_all_kinds_of_spaces_learn(observation: Any, action: Any, changes: dict[str, Any]) -> None:
    if changes.get("decoder"):
        return
    env = make(lambda: Random(observation, action), num_envs=2, seed=0)
    config = dataclasses.replace(SMALL, predicted_reward="two-hot" if "bf16" in changes else "sign")
    agent = Iris(observation, action, config, num_envs=2)
    env.reset()
    loop = Loop(agent, agent.actor(2, explore=True, seed=1), env)
    loop.advance(60, lambda: False)
    assert agent.updates == (60 - 30) // 4
    assert all(torch.isfinite(value) for value in loop.metrics.values())
    assert agent.predict(env.single_observation_space.sample()) is not None
    state, obs = agent.dream_start(2, generator())
    step = agent.dream_step(state, torch.as_tensor(np.stack([action.sample(), action.sample()])), generator())
    for some in (obs, step.obs):
        same_kind(some, env.obs)


def same_kind(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            same_kind(left[key], right[key])
    else:
        assert (left.dtype, left.shape) == (right.dtype, right.shape)


def test_numbers_are_counted_in_their_deviation() -> None:
    obs = 1000.0 + torch.randn((50, 3), generator=generator())
    made = frames.tokenizer(
        spaces.Box(-np.inf, np.inf, (3,)),
        code_grid=1,
        places=2,
        codes=4,
        code_size=4,
        channels=1,
        blocks=0,
        units=8,
        generator=generator(),
    )
    frames.start(made, obs)
    assert torch.allclose(made.target(obs).mean(0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(made.target(obs).std(0, correction=0), torch.ones(3), atol=1e-3)
    made.losses(obs, generator())
    assert torch.allclose(frames.decoded(made, made.encode(obs)).mean(), torch.tensor(1000.0), atol=2.0)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 84, 84), (10, 10, 4)])
def test_a_grid_of_codes_over_images(shape: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    made = frames.tokenizer(
        space,
        code_grid=4,
        places=99,
        codes=6,
        code_size=4,
        channels=2,
        blocks=1,
        units=8,
        generator=generator(),
    )
    obs = torch.randint(256, (3, *shape), generator=generator()).to(torch.uint8)
    frames.start(made, obs)
    losses = made.losses(obs, generator())
    assert losses.codes.shape == (3, 16)
    found = frames.decoded(made, losses.codes)
    assert (found.shape, found.dtype) == (obs.shape, torch.uint8)


def test_a_context_keeps_the_last_steps() -> None:
    context = Context(steps=3, places=2, action_size=1)
    state = context.new(torch.tensor([[1, 2], [3, 4]]))
    codes, action, kind = context.opened(state)
    assert codes.tolist() == [[[1, 2]], [[3, 4]]]
    assert kind.tolist() == [[BEGINS], [BEGINS]]
    for number in range(5, 8):
        followed = context.followed(state, torch.full((2, 2), number), torch.full((2, 1), -float(number)))
        state = torch.stack([followed[0], state[1]])  # rows are mixed freely
    codes, action, kind = context.opened(state)
    assert codes.tolist() == [[[5, 5], [6, 6], [7, 7]], [[0, 0], [0, 0], [3, 4]]]
    assert action[0].tolist() == [[-5.0], [-6.0], [-7.0]]
    assert kind.tolist() == [[FOLLOWS] * 3, [ABSENT, ABSENT, BEGINS]]


def test_iris_is_a_world_model() -> None:
    agent = Iris(ONE, spaces.Discrete(2), SMALL)
    assert isinstance(agent, WorldModel)
    state, obs = agent.dream_start(200, generator())
    action = torch.arange(200) % 2
    one, other = (agent.dream_step(state, action, generator(seed), temperature=0.0) for seed in (5, 6))
    assert torch.equal(one.state, other.state)  # the most probable outcome has no randomness
    assert not torch.equal(agent.dream_step(state, action, generator(6)).state, one.state)
    assert one.reward.shape == one.terminated.shape == (200,)
    assert (one.reward.dtype, one.terminated.dtype) == (torch.float32, torch.bool)
    assert one.obs.shape == obs.shape == (200, 1)
    for _ in range(9):  # beyond the context
        one = agent.dream_step(one.state, action, generator(7))
    mixed = torch.where((action == 0).unsqueeze(1), state, one.state)
    rows = agent.dream_step(mixed, action, generator(), temperature=0.0)
    for number, whole in enumerate((state, one.state)):
        apart = agent.dream_step(whole, action, generator(), temperature=0.0)
        assert torch.equal(rows.state[action == number], apart.state[action == number])


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_watching_is_the_context_of_real_steps(steps: int) -> None:
    agent = Iris(ONE, spaces.Discrete(3), SMALL)
    obs = torch.randn((5, steps, 1), generator=generator())
    agent.model.tokenizer.losses(obs.flatten(0, 1), generator())
    action, start = torch.randint(3, (5, steps), generator=generator()), torch.zeros((5, steps), dtype=torch.bool)
    for row in range(5):
        start[row, row % steps] = True
    codes, actions, kind = agent._context.opened(agent.dream_after(obs, action, start))
    kept = codes.shape[1]
    assert kept == min(steps, SMALL.sequence_length - 1)
    for row in range(5):
        begun = row % steps
        for step in range(steps - kept, steps):
            index = step - (steps - kept)
            wanted = ABSENT if step < begun else BEGINS if step == begun else FOLLOWS
            assert kind[row, index] == wanted
            if wanted != ABSENT:
                assert torch.equal(codes[row, index], agent.model.codes(obs[row, step : step + 1])[0])
            if wanted == FOLLOWS:
                assert actions[row, index].argmax() == action[row, step]


def test_some_actions_are_random() -> None:
    space = spaces.Discrete(4, start=3)
    agent = Iris(ONE, space, dataclasses.replace(SMALL, epsilon=0.4))
    with torch.no_grad():
        agent.model.policy.policy.bias.copy_(torch.tensor([0.0, 0.0, 50.0, 0.0]))
    obs, start = torch.zeros(4000, 1), torch.ones(4000, dtype=torch.bool)
    assert (agent.actor(4000, explore=False, seed=0).act(obs, start).action == 5).all()
    found = agent.actor(4000, explore=True, seed=0).act(obs, start).action
    assert (found == 5).float().mean().item() == pytest.approx(0.6 + 0.1, abs=0.03)
    mask = torch.tensor([[True, True, True, False]]).expand(4000, 4)
    found = agent.actor(4000, explore=True, seed=0).act(obs, start, mask).action
    assert (found == 5).float().mean().item() == pytest.approx(0.6 + 0.4 / 3, abs=0.03)
    assert (found < 6).all()


@pytest.mark.long
def test_it_learns_the_chain() -> None:
    env = make("gymnast/Chain-v0", num_envs=4, seed=0)
    config = dataclasses.replace(
        SMALL,
        vector_codes=1,
        codes=16,
        tokenizer_units=32,
        model_width=32,
        model_dropout=0.0,
        memory_size=32,
        predicted_reward="two-hot",
        batch_size=8,
        tokenizer_batch=32,
        sequence_length=6,
        horizon=5,
        context=1,
        burn_in=0,
        learning_rate=5e-3,
        gamma=0.9,
        learning_starts=40,
        model_starts=80,
        policy_starts=150,
        train_period=2,
    )
    agent = Iris(env.single_observation_space, env.single_action_space, config, num_envs=4)
    env.reset()
    loop = Loop(agent, agent.actor(4, explore=True, seed=1), env)
    loop.advance(600, lambda: False)
    result = evaluate(agent, make("gymnast/Chain-v0", num_envs=10, seed=5), episodes=10, seed=3)
    assert result.mean_return == 1.0  # 0.1 at hand, and 1.0 five steps away
    assert loop.metrics["entropy"] < 0.3
    assert loop.metrics["codes_used"] == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--codes 1", "--codes must be >= 2, got 1"),
        ("--predicted-reward log", "--predicted-reward must be one of sign, two-hot, got log"),
        ("--model-width 10 --model-heads 4", "--model-width must be a multiple of --model-heads 4, got 10"),
        ("--horizon 30", "--horizon must be <= 20 with context 1 and --sequence-length 20, got 30"),
        ("--tokenizer-batch 2000", "--tokenizer-batch must be <= 1344"),
        ("--policy-starts 4000", "--policy-starts must be >= --model-starts 5000, got 4000"),
        ("--model-dropout 1", "--model-dropout must be >= 0 and < 1, got 1"),
        ("--gamma 2", "--gamma must be between 0 and 1, got 2"),
        ("--replay-size 10", "replay_size must be >= "),
        ("--epsilon 2", "--epsilon"),
        ("--max-grad-norm 0", "--max-grad-norm must be > 0, got 0"),
    ],
)
def test_bad_input_is_one_line(given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "iris", "--env", "gymnast/Chain-v0", "--out", str(tmp_path), *given.split()])
    out, err = capsys.readouterr()
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out


def test_a_grid_larger_than_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", "iris", "--env", "gymnast/MinAtar-Breakout-v1", "--out", str(tmp_path), "--code-grid", "11"]
    assert main(given) == 2
    assert "code_grid must be at most the sides of the images, 10x10, got 11" in capsys.readouterr().err
