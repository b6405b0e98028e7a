"""Dreamer: its replay, its losses by hand, imagination, dreams, exact resume and learning."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import Dreamer, DreamerConfig
from gymnast.agents.base import Acted, WorldModel
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.networks.world_models.rssm import State, one_hot_argmax, pack, unpack
from gymnast.training.loop import Loop
from tests.test_resume import SMALL_DREAMER

CPU = torch.device("cpu")
SMALL = DreamerConfig(**SMALL_DREAMER)
ONE = spaces.Box(-100.0, 100.0, (1,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counted(agent: Dreamer, lengths: list[int], *, truncated: bool = False) -> None:
    """Episodes of one row whose observations and rewards count the observations: 0, 1, 2, …"""
    device = agent.device
    actor, number, start = agent.actor(1, explore=True, seed=0), 0, torch.tensor([True], device=device)
    obs: Any = torch.tensor([[0.0]], device=device)
    for length in lengths:
        for step in range(length):
            acted = actor.act(obs, start)
            acted = Acted(torch.tensor([number % 3], device=device), memory=acted.memory)
            ends = torch.tensor([step == length - 1], device=device)
            number += 1
            following = final = torch.tensor([[float(number)]], device=device)
            if ends:
                number += 1
                following = torch.tensor([[float(number)]], device=device)
            cut, none = (ends, ~ends & ends) if truncated else (~ends & ends, ends)
            reward = final[:, 0].clone()
            agent.store(obs, acted, Step(following, ends, final, reward, none, cut, 1, int(ends)))
            obs, start = following, ends


@pytest.mark.parametrize("truncated", [False, True])
def test_every_record_is_an_observation_with_what_led_to_it(truncated: bool) -> None:
    agent = Dreamer(ONE, spaces.Discrete(3), SMALL)
    counted(agent, [4, 3, 7, 1, 5, 9], truncated=truncated)
    firsts, finals = {0, 5, 9, 17, 19, 25}, {4, 8, 16, 18, 24}
    seen: set[int] = set()
    for _ in range(30):
        sampled = agent.allocate().sample()
        batch = agent._sequences(sampled)
        numbers = sampled.obs["obs"][..., 0]
        assert torch.equal(numbers - numbers[:, :1], torch.arange(6.0).expand(3, 6))
        for row in range(3):
            for step in range(6):
                number = int(numbers[row, step])
                seen.add(number)
                assert batch.start[row, step] == (number in firsts)
                assert batch.terminated[row, step] == float(number in finals and not truncated)
                assert batch.reward[row, step] == (0 if number in firsts else number)
                if step < 5:
                    assert batch.last[row, step] == float(number in finals)
                if number not in firsts:  # the action before it; those of starts are ignored
                    assert batch.action[row, step].argmax() == (number - 1) % 3
    assert len(seen) > 20


def test_states_are_packed_without_loss() -> None:
    stoch = one_hot_argmax(torch.randn(5, 3, 4, generator=generator()))
    state = State(torch.randn(5, 16, generator=generator(1)), stoch)
    for some in (state, State(torch.zeros(5, 16), torch.zeros(5, 3, 4))):
        packed = pack(some)
        assert packed.shape == (5, 19)
        for left, right in zip(unpack(packed, deter=16, classes=4), some, strict=True):
            assert torch.equal(left, right)


def test_learning_refreshes_the_latents_of_the_sequences_that_begin_within() -> None:
    agent = Dreamer(ONE, spaces.Discrete(3), SMALL)
    counted(agent, [40])
    replay = agent.allocate()
    before = replay.memory.copy()
    memory = torch.arange(3 * 6.0).view(3, 6, 1).expand(3, 6, agent.state_size)
    replay.refresh(torch.tensor([2, 7, 2]), memory)  # they begin at the slots 4 and 14
    changed = (replay.memory != before).any(1).nonzero()[0].tolist()
    assert changed == [3, 4, 8, 9]
    assert [replay.memory[row, 0] for row in changed] == [13.0, 15.0, 7.0, 9.0]


def test_acting_in_training_and_replaying_see_the_same_states() -> None:
    """The state that the actor had before a stored step is the model's after the steps before it."""
    env = make("gymnast/Chain-v0", num_envs=1, seed=0)
    agent = Dreamer(
        env.single_observation_space, env.single_action_space, dataclasses.replace(SMALL, sequence_period=1)
    )
    env.reset()
    Loop(agent, agent.actor(1, explore=True, seed=1), env).advance(25, lambda: False)
    replay = agent.allocate()
    stored = torch.from_numpy(replay.memory[: replay.ring.slot[0]])
    assert agent.updates == 0
    assert (stored.abs().sum(1) > 0).sum() > 10
    for slot in np.flatnonzero(replay.valid[1:] & ~replay.start[1:]) + 1:
        assert stored[slot].abs().sum() > 0


def returns_by_hand(reward: list[float], discount: list[float], value: list[float], lam: float) -> list[float]:
    """R_t = r_{t+1} + d_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}), after the last step the value (equation 6)."""
    following, found = value[-1], []
    for r, d, v in reversed(list(zip(reward, discount, value, strict=True))):
        following = r + d * ((1 - lam) * v + lam * following)
        found.append(following)
    return found[::-1]


class Fixed(torch.nn.Module):
    """A head whose outputs are looked up by the first feature."""

    def __init__(self, outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = torch.nn.Parameter(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.outputs[features[..., 0].long()]


def test_losses_of_policy_and_value_by_hand() -> None:
    config = dataclasses.replace(SMALL, horizon=2, gamma=0.9, return_lambda=0.7, entropy_coef=0.1)
    model = Dreamer(ONE, spaces.Discrete(2), config).model
    two_hot, states = model.two_hot, 3
    values, rewards = [2.0, -1.0, 5.0], [0.5, 1.0, 3.0]
    model.value = Fixed(two_hot.encode(torch.tensor(values)).clamp(min=1e-20).log())
    model.slow_value = Fixed(two_hot.encode(torch.tensor([1.0, 0.0, 4.0])).clamp(min=1e-20).log())
    model.reward = Fixed(two_hot.encode(torch.tensor(rewards)).clamp(min=1e-20).log())
    model.ending = Fixed(torch.tensor([-50.0, 0.0, 1.0]).unsqueeze(1))
    going = [1.0, 0.5, 1 - 1 / (1 + np.exp(-1.0))]
    index = torch.arange(states).view(states, 1, 1).expand(states, 2, 640).float()  # H + 1 steps of M = 2 rows
    policy = torch.randn(2, 2, 2, generator=generator()).log_softmax(-1).requires_grad_(True)
    action = torch.tensor([[0, 1], [1, 1]])
    from gymnast.agents.world_models.dreamer_model import Imagined

    loss, returns, metrics = model._behaviour_loss(Imagined(index, policy, action), torch.tensor([0.0, 1.0]))
    discount = [0.9 * part for part in going]
    by_hand = returns_by_hand(rewards[1:], discount[1:], values[1:], 0.7)
    assert returns[:, 0].tolist() == pytest.approx(by_hand, rel=1e-4)
    low, high = np.quantile(returns.numpy(), [0.05, 0.95])
    scale = max(1.0, high - low)
    alive = [[1.0, 0.0], [discount[1], 0.0]]  # nothing follows the second row, which began in a terminal state
    expected = torch.zeros(())
    for step in range(2):
        for row in range(2):
            log_prob = policy[step, row].log_softmax(-1)
            entropy = -(log_prob.exp() * log_prob).sum()
            advantage = (by_hand[step] - values[step]) / scale
            chosen = log_prob[action[step, row]]
            expected -= alive[step][row] * (chosen * advantage + 0.1 * entropy) / 4
    assert metrics["policy_loss"].item() == pytest.approx(float(expected.detach()), rel=1e-4)
    (found,) = torch.autograd.grad(loss, policy, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, policy)
    assert torch.allclose(found, wanted, atol=1e-5)
    logits = model.value.outputs
    cross = torch.zeros(())
    for step, slow in ((0, 1.0), (1, 0.0)):
        for target in (by_hand[step], slow):
            hot = two_hot.encode(torch.tensor(target, dtype=torch.float32))
            cross -= alive[step][0] * (hot * logits[step].log_softmax(-1)).sum() / 4
    assert metrics["value_loss"].item() == pytest.approx(float(cross.detach()), rel=1e-4)


def test_the_value_of_replayed_steps_stops_at_ends() -> None:
    """A termination keeps nothing, a truncation bootstraps, and the step from a last to a first one counts nothing."""
    config = dataclasses.replace(SMALL, gamma=0.9, return_lambda=0.7)
    model = Dreamer(ONE, spaces.Discrete(2), config).model
    logits = torch.randn(6, 255, generator=generator())
    model.value, model.slow_value = Fixed(logits.clone()), Fixed(logits.clone())
    features = torch.arange(6.0).view(1, 6, 1)
    reward, bootstrap = torch.tensor([[0.0, 1.0, 2.0, 0.0, 4.0, 5.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    for terminated in (0.0, 1.0):
        last = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
        batch: Any = type("Batch", (), {"reward": reward, "last": last, "terminated": last * terminated})
        found = model._replay_value_loss(batch, features, bootstrap)
        end = 2.0 + 0.9 * (1 - terminated) * 3.0
        later = 5.0 + 0.9 * 6.0
        wanted = {
            0: 1.0 + 0.9 * (0.3 * 2.0 + 0.7 * end),
            1: end,
            3: 4.0 + 0.9 * (0.3 * 5.0 + 0.7 * later),
            4: later,
        }
        log_probs = logits.log_softmax(-1)
        slow = model.two_hot.mean(log_probs)
        targets = torch.tensor(list(wanted.values()))
        rows = list(wanted)
        losses = model.two_hot.loss(log_probs[rows], targets) + model.two_hot.loss(log_probs[rows], slow[rows])
        assert found.item() == pytest.approx(losses.sum().item() / 5, rel=1e-4)


def test_the_scale_of_returns_is_a_corrected_running_range() -> None:
    model = Dreamer(ONE, spaces.Discrete(2), SMALL).model
    low = high = weight = 0.0
    for seed in range(4):
        returns = 40 * torch.randn(50, generator=generator(seed))
        a, b = np.quantile(returns.numpy(), [0.05, 0.95])
        low, high, weight = 0.99 * low + 0.01 * a, 0.99 * high + 0.01 * b, 0.99 * weight + 0.01
        assert model._scale(returns).item() == pytest.approx((high - low) / weight, rel=1e-4)
    assert model._scale(torch.zeros(50)).item() > 1.0
    assert Dreamer(ONE, spaces.Discrete(2), SMALL).model._scale(torch.zeros(50)).item() == 1.0


def test_imagination_draws_actions_of_the_policy_and_gives_the_model_no_gradient() -> None:
    agent = Dreamer(ONE, spaces.Discrete(3), SMALL)
    model = agent.model
    state = model.rssm.initial(200, device=CPU)
    imagined = model.imagine(state, generator())
    assert imagined.features.shape == (5, 200, model.rssm.features)
    assert imagined.action.shape == (4, 200)
    assert not imagined.features.requires_grad
    imagined.policy.sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.rssm.parameters())
    assert imagined.action[0].float().mean().item() == pytest.approx(1.0, abs=0.2)  # nearly uniform at first


CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    (spaces.Box(0, 255, (3, 16, 16), np.uint8), spaces.Discrete(2), {}),
    (spaces.Box(0, 255, (3, 16, 16), np.uint8), spaces.Discrete(2), {"decoder": "none"}),
    (spaces.Dict({"a": spaces.Discrete(2), "b": ONE}), spaces.Box(-2.0, 2.0, (2,)), {"bf16": True}),
    (ONE, spaces.MultiDiscrete([2, 3]), {"clip_rewards": True}),
    (spaces.MultiBinary(3), spaces.MultiBinary(2), {"optimizer": "adam", "warmup": 0}),
]


class Random(gym.Env[Any, Any]):
    """Random observations and rewards, episodes of five steps."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observation_space.sample(), 3.0, self.steps == 5, False, {}


@pytest.mark.parametrize(("observation", "action", "changes"), CASES, ids=lambda case: str(case)[:12])
def test_all_kinds_of_spaces_learn(observation: Any, action: Any, changes: dict[str, Any]) -> None:
    env = make(lambda: Random(observation, action), num_envs=2, seed=0)
    agent = Dreamer(observation, action, dataclasses.replace(SMALL, **changes), num_envs=2)
    env.reset()
    loop = Loop(agent, agent.actor(2, explore=True, seed=1), env)
    loop.advance(60, lambda: False)
    assert agent.updates == 30 * 4 // 18
    assert all(torch.isfinite(value) for value in loop.metrics.values())
    state, seen = agent.model.rssm.initial(2, device=CPU), env.obs
    assert agent.predict(env.single_observation_space.sample()) is not None
    if agent.model.decoder is None:
        with pytest.raises(ValueError, match="train it with --decoder reconstruction"):
            agent.dream_start(2, generator())
        return
    state_after, imagined = agent.dream_start(2, generator())
    assert state_after.shape == (2, agent.state_size)
    assert type(imagined) is type(seen)
    assert len(state.deter) == 2


def test_a_dreamer_is_a_world_model() -> None:
    agent = Dreamer(ONE, spaces.Discrete(2), SMALL)
    assert isinstance(agent, WorldModel)
    state, obs = agent.dream_start(3, generator())
    action = torch.tensor([0, 1, 1])
    one, again = (agent.dream_step(state, action, generator(5), temperature=0.0) for _ in range(2))
    other = agent.dream_step(state, action, generator(6), temperature=0.0)
    assert torch.equal(one.state, again.state)
    assert torch.equal(one.state, other.state)  # the most probable outcome has no randomness
    assert not torch.equal(agent.dream_step(state, action, generator(6)).state, one.state)
    assert one.reward.shape == one.terminated.shape == (3,)
    assert one.obs.shape == obs.shape == (3, 1)
    watched = agent.dream_after(obs.unsqueeze(1), action.unsqueeze(1), torch.tensor([[True]] * 3))
    seen = agent.model.observe_step(agent.unpacked(state), obs, action, torch.tensor([True] * 3), None)
    assert torch.equal(watched, pack(seen))


def test_a_recorded_update_reads_tensors_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CUDA graph would replay, run as it is: the same updates as without."""
    plain, kept = (Dreamer(ONE, spaces.Discrete(3), SMALL) for _ in range(2))
    for agent in (plain, kept):
        counted(agent, [9, 12, 20])
    places = []

    def replayed(generators: Any) -> Any:
        assert kept._kept is not None
        places.append([part.data_ptr() for part in (*kept._kept.inputs, kept._kept.action, *kept._kept.state)])
        return kept._learn_kept()

    monkeypatch.setattr(kept, "_captured", replayed)
    for _ in range(3):
        expected, found = plain.learn(), kept.learn()
        assert {name: value.item() for name, value in found.items()} == {n: v.item() for n, v in expected.items()}
    assert torch.equal(plain.weights.data, kept.weights.data)
    assert places[0] == places[1] == places[2]
    with pytest.raises(ValueError, match="cuda_graphs needs device cuda, got cpu"):
        Dreamer(ONE, spaces.Discrete(3), dataclasses.replace(SMALL, cuda_graphs=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("size", ["1m", "12m"])
def test_captured_equals_eager(size: Any) -> None:
    config = dataclasses.replace(SMALL, size=size, learning_rate=1e-4, warmup=2)
    eager, captured = (
        Dreamer(ONE, spaces.Discrete(3), dataclasses.replace(config, cuda_graphs=graphs), device="cuda")
        for graphs in (False, True)
    )
    for agent in (eager, captured):
        counted(agent, [9, 12, 20])
    for _ in range(8):
        expected, found = eager.learn(), captured.learn()
        torch.testing.assert_close(found["loss"], expected["loss"], rtol=2e-2, atol=1e-2)
    assert captured._captured is not None
    assert captured._captured._graph is not None
    assert torch.isfinite(captured.weights.data).all()


@pytest.mark.slow
def test_it_learns_the_chain() -> None:
    """Within 800 env steps."""
    env = make("gymnast/Chain-v0", num_envs=4, seed=0)
    config = dataclasses.replace(
        SMALL, batch_size=8, sequence_length=16, learning_rate=1e-3, warmup=20, train_ratio=16, horizon=8, gamma=0.9
    )
    agent = Dreamer(env.single_observation_space, env.single_action_space, config, num_envs=4)
    env.reset()
    loop, returned = Loop(agent, agent.actor(4, explore=True, seed=1), env), 0.0
    for until in range(400, 801, 100):
        loop.advance(until, lambda: False)
        returned = evaluate(agent, make("gymnast/Chain-v0", num_envs=10, seed=5), episodes=10, seed=3).mean_return
        if returned > 0.9:
            break
    assert returned > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "2m"}, "size must be one of 1m, 4m, 12m, 50m, got '2m'"),
        ({"decoder": "some"}, "decoder must be one of reconstruction, none, got 'some'"),
        ({"train_ratio": 0}, "train_ratio must be >= 1, got 0"),
        ({"sequence_length": 1}, "sequence_length must be >= 2, got 1"),
        ({"warmup": -1}, "warmup must be >= 0, got -1"),
        ({"gamma": 1.5}, "gamma must be between 0 and 1, got 1.5"),
        ({"entropy_coef": -1.0}, "entropy_coef must be >= 0, got -1.0"),
        ({"adaptive_clip": 0.0}, "adaptive_clip must be > 0, got 0.0"),
        ({"optimizer": "lapprop"}, "did you mean laprop"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        DreamerConfig(**changes)


def test_a_replay_too_short_for_its_sequences() -> None:
    agent = Dreamer(ONE, spaces.Discrete(2), dataclasses.replace(SMALL, replay_size=10))
    with pytest.raises(
        ValueError, match="replay_size must be >= 12 for sequences of 6 steps in 1 environments, got 10"
    ):
        agent.actor(1, explore=True, seed=0)
