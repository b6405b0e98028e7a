"""REINFORCE: returns and gradients by hand, unbiased baselines, whole episodes, resuming, spaces, and learning."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import Reinforce, ReinforceConfig
from gymnast.agents.base import Acted
from gymnast.agents.policy.reinforce_batch import batch_of, episode_returns, returns_of
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.replay.episode_buffer import EpisodeBuffer
from gymnast.training.loop import Loop

BOX = spaces.Box(-np.inf, np.inf, (3,))
SMALL = ReinforceConfig(episodes=2, hidden_sizes=(16,))
YES, NO = torch.tensor([True]), torch.tensor([False])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def played(agent: Reinforce, rewards: list[float], *, truncated: bool = False, seed: int = 1) -> list[Acted]:
    """One whole episode of one row, with random observations."""
    actor = agent.actor(1, explore=True, seed=seed)
    obs = torch.randn(len(rewards) + 1, 1, 3, generator=generator(seed))
    every = []
    for number, reward in enumerate(rewards):
        ends = number == len(rewards) - 1
        acted = actor.act(obs[number], YES if number == 0 else NO)
        how = (NO, YES) if truncated else (YES, NO)
        terminated, cut_off = how if ends else (NO, NO)
        start, following = (YES, torch.zeros(1, 3)) if ends else (NO, obs[number + 1])
        step = Step(following, start, obs[number + 1], torch.tensor([reward]), terminated, cut_off, 1, int(ends))
        agent.store(obs[number], acted, step)
        every.append(acted)
    return every


def test_returns_by_hand() -> None:
    reward = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).unsqueeze(1)
    bootstrap = torch.tensor([0.0, 0.0, 10.0, 0.0, 0.0]).unsqueeze(1)
    last = torch.tensor([False, False, True, False, True])
    expected = [1 + 0.5 * (2 + 0.5 * (4 + 5)), 2 + 0.5 * (4 + 5), 4 + 5, 8 + 0.5 * 16, 16]
    half = torch.tensor([0.5])
    assert episode_returns(reward, bootstrap, last, half).flatten().tolist() == expected
    fields = {"reward": reward, "bootstrap": bootstrap}
    to_go, total = returns_of(fields, [3, 2], half)
    assert to_go.flatten().tolist() == expected
    assert total.flatten().tolist() == [expected[0]] * 3 + [expected[3]] * 2
    del fields["bootstrap"]
    assert returns_of(fields, [5], half)[0].flatten().tolist() == [5.0, 8.0, 12.0, 16.0, 16.0]


def test_many_steps_have_the_returns_of_a_loop() -> None:
    lengths, gamma = [40, 1, 77, 300], torch.tensor([0.99, 0.9])
    reward = torch.randn(sum(lengths), 2, generator=generator())
    expected, following = torch.zeros_like(reward), torch.zeros(2)
    ends = set(np.cumsum(lengths) - 1)
    for number in reversed(range(len(reward))):
        following = reward[number] + gamma * (0.0 if number in ends else following)
        expected[number] = following
    torch.testing.assert_close(returns_of({"reward": reward}, lengths, gamma)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("baseline", ["value", "mean", "none"])
@pytest.mark.parametrize("returns", ["to-go", "total"])
@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_the_gradient_of_two_steps(baseline: Any, returns: Any, recurrent: Any, truncated: bool) -> None:
    """Of rewards 1 and 2: the sum over steps of -log pi * (return - baseline), by autograd on the plain network."""
    config = replace(SMALL, baseline=baseline, returns=returns, recurrent=recurrent, gamma=0.5, entropy_coef=0.1)
    agent = Reinforce(BOX, spaces.Discrete(3), replace(config, memory_size=4, episodes=1))
    agent.mean_return.fill_(0.25)
    agent._entropy_coef.fill_(0.1)
    actions = [acted.raw for acted in played(agent, [1.0, 2.0], truncated=truncated)]
    obs, network = torch.randn(3, 1, 3, generator=generator(1)), agent.network
    outputs, values, memory = [], [], torch.zeros(1, network.memory_size)
    for number in range(3):
        if recurrent == "none":
            output, value = network(obs[number])
        else:
            output, value, memory = network.step(obs[number], memory)
        outputs.append(output.log_softmax(1)[0])
        values.append(value[0, 0])
    after = float(values[2].detach()) if truncated and baseline == "value" else 0.0
    second = 2.0 + 0.5 * after
    to_go = [1.0 + 0.5 * second, second]
    weighing = to_go if returns == "to-go" else [to_go[0]] * 2
    loss = torch.zeros(())
    for number in range(2):
        taken = {"value": float(values[number].detach()), "mean": 0.25, "none": 0.0}[baseline]
        loss = loss - outputs[number][int(actions[number])] * (weighing[number] - taken)
        loss = loss + 0.1 * (outputs[number].exp() * outputs[number]).sum()
        if baseline == "value":
            loss = loss + 0.5 * 0.5 * (values[number] - to_go[number]).square()
    agent.weights.grad.zero_()
    loss.backward()
    expected = agent.weights.grad.clone()
    agent.optimizer.param_groups[0]["lr"] = 0.0
    agent.learning_rate = lambda step: 0.0
    agent.learn()
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(agent.weights.grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("returns", ["to-go", "total"])
def test_every_baseline_has_the_same_expected_gradient(returns: Any) -> None:
    """Exactly: over all 9 pairs of actions in two steps of rewards that depend on both, by their probabilities."""
    obs = torch.randn(2, 3, generator=generator(4))
    pairs = [(first, second) for first in range(3) for second in range(3)]
    gradients = {}
    for baseline in ("value", "mean", "none"):
        trunk = "shared" if baseline != "value" else "separate"
        config = replace(SMALL, baseline=baseline, returns=returns, gamma=1.0, value_coef=0.0, trunk=trunk)
        agent = Reinforce(BOX, spaces.Discrete(3), config)
        mean = 0.7 if baseline == "mean" else 0.0
        agent.network.policy.weight.data.normal_(generator=generator(5))
        policy = (agent.network.actor, agent.network.policy)
        for number, part in enumerate(policy):  # the same policy beside another critic
            for parameter in part.parameters():
                parameter.data.normal_(0.0, 0.5, generator=generator(6 + number))
        total: Any = 0.0
        with torch.no_grad():
            probability = agent.network(obs)[0].softmax(1)
        for first, second in pairs:
            fields = {"obs": obs, "raw": torch.tensor([first, second])}
            fields["reward"] = torch.tensor([[float(first)], [first * 1.5 - second**2]])
            to_go, whole = returns_of(fields, [2], agent._gamma)
            batch = batch_of(fields, [2], (to_go if returns == "to-go" else whole) - mean, to_go)
            agent.weights.grad.zero_()
            agent.loss(batch, None)[0].backward()
            of_policy = torch.cat([p.grad.flatten() for part in policy for p in part.parameters()])
            total = total + probability[0, first] * probability[1, second] * of_policy
        gradients[baseline] = total
    assert gradients["none"].abs().max() > 0.1
    for baseline in ("value", "mean"):
        torch.testing.assert_close(gradients[baseline], gradients["none"], rtol=1e-4, atol=1e-5)


def test_the_mean_is_that_of_earlier_updates() -> None:
    agent = Reinforce(BOX, spaces.Discrete(2), replace(SMALL, baseline="mean", episodes=1, baseline_rate=0.25))
    seen = []
    for reward in (4.0, 8.0, 0.0, 0.0, 0.0):
        played(agent, [reward])
        seen.append(float(agent.learn()["baseline"]))
    assert seen == pytest.approx([0.0, 4.0, 6.0, 4.0, 3.0])


@pytest.mark.parametrize("inactive", [False, True])
def test_every_step_is_handed_out_once_with_its_whole_episode(inactive: bool) -> None:
    rng, rows = np.random.default_rng(0), 3
    buffer = EpisodeBuffer(rows, device=torch.device("cpu"), chunk=2)
    number, own = 0, [list[int]() for _ in range(rows)]
    expected, found = list[list[int]](), list[list[int]]()
    for step in range(400):
        active = rng.random(rows) < 0.7 if inactive else np.ones(rows, bool)
        ended = (rng.random(rows) < (0.02 if step % 100 < 50 else 0.4)) & active
        values = torch.arange(number, number + rows)
        number += rows
        for row in range(rows):
            if active[row]:
                own[row].append(int(values[row]))
            if ended[row]:
                expected.append(own[row])
                own[row] = []
        given = torch.from_numpy(active) if inactive else None
        count = int(ended.sum()) if step % 2 else None
        buffer.add(
            obs={"a": values, "b": {"c": values.float().unsqueeze(1)}},
            mask=None,
            ended=torch.from_numpy(ended),
            num_ended=count,
            active=given,
        )
        if step == 200:  # goes on from its state
            state, buffer = buffer.state_dict(), EpisodeBuffer(rows, device=torch.device("cpu"), chunk=2)
            buffer.load_state_dict(state)
        if len(buffer.lengths) > 4 or step == 399:
            fields, lengths = buffer.take()
            assert torch.equal(fields["obs"]["b"]["c"][:, 0].long(), fields["obs"]["a"])
            found += [part.tolist() for part in fields["obs"]["a"].split(lengths)]
    assert found == expected
    assert max(map(len, found)) > 20
    with pytest.raises(ValueError, match="the checkpoint has episodes of 3 rows, not 2"):
        EpisodeBuffer(2, device=torch.device("cpu")).load_state_dict(buffer.state_dict())


@pytest.mark.parametrize("recurrent", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("trunk", ["shared", "separate"])
def test_sequences_find_the_probabilities_of_acting_again(recurrent: Any, trunk: Any) -> None:
    agent = Reinforce(BOX, spaces.Discrete(3), replace(SMALL, recurrent=recurrent, trunk=trunk, memory_size=8))
    log_prob = [a.log_prob for n in (4, 1, 7) for a in played(agent, [1.0] * n, seed=n)]
    fields, lengths = agent.buffer.take()
    target = returns_of(fields, lengths, agent._gamma)[0]
    batch = batch_of(fields, lengths, target, target, memory_size=agent.network.memory_size)
    output, _ = agent.network.sequence(batch.obs, batch.start, batch.memory)
    counts = batch.weight > 0
    assert counts.sum() == 12
    torch.testing.assert_close(agent.distribution.log_prob(output, batch.raw)[counts], torch.cat(log_prob))


def test_filling_up_changes_no_gradient() -> None:
    gradients = []
    for fill in (False, True):
        agent = Reinforce(BOX, spaces.Discrete(3), replace(SMALL, normalise_advantages=True))
        for length in (4, 7):
            played(agent, [1.0] * length, seed=length)
        fields, lengths = agent.buffer.take()
        target = returns_of(fields, lengths, agent._gamma)[0]
        batch = batch_of(fields, lengths, target, target, fill=fill)
        assert len(batch.weight) == (16 if fill else 11)
        agent.loss(batch, None)[0].backward()
        gradients.append(agent.weights.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_clipped_rewards_and_novelty_have_returns_apart() -> None:
    config = replace(SMALL, clip_rewards=True, intrinsic="counts", intrinsic_gamma=0.5, gamma=1.0, intrinsic_coef=2.0)
    agent = Reinforce(BOX, spaces.Discrete(2), config)
    played(agent, [5.0, -0.5, -9.0])
    fields, lengths = agent.buffer.take()
    to_go, _ = returns_of(fields, lengths, agent._gamma)
    novelty = fields["reward"][:, 1].tolist()
    assert to_go[:, 0].tolist() == [-0.5, -1.5, -1.0]
    assert to_go[0, 1].item() == pytest.approx(novelty[0] + 0.5 * novelty[1] + 0.25 * novelty[2], rel=1e-5)
    batch = batch_of(fields, lengths, to_go, to_go)
    with torch.no_grad():
        _, advantage, _ = agent.loss(batch, None)
        value = agent.network(batch.obs)[1]
    torch.testing.assert_close(advantage, to_go[:, 0] - value[:, 0] + 2.0 * (to_go[:, 1] - value[:, 1]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"baseline": "mean", "returns": "total"},
        {"recurrent": "lstm", "memory_size": 8},
        {"recurrent": "gru", "memory_size": 8, "baseline": "none"},
        {"recurrent": "transformer", "memory_size": 8, "recurrent_steps": 6},
        {"normalise_obs": True, "normalise_advantages": True, "max_grad_norm": 0.5},
        {"intrinsic": "rnd"},
        {"intrinsic": "counts"},
        {"intrinsic": "icm"},
        {"intrinsic": "episodic"},
    ],
    ids=["value", "mean", "lstm", "gru", "transformer", "normalised", "rnd", "counts", "icm", "episodic"],
)
def test_a_loaded_agent_goes_on_exactly(changes: dict[str, Any]) -> None:
    config = replace(SMALL, episodes=5, learning_rate="linear:0.01:0.001:1000", **changes)

    def run(seed: int) -> Loop:
        env = make("CartPole-v1", 3, seed=seed)
        agent = Reinforce(env.single_observation_space, env.single_action_space, config, num_envs=3, seed=seed)
        loop = Loop(agent, agent.actor(3, explore=True, seed=seed), env)
        env.reset()
        return loop

    one, other = run(0), run(1)
    one.advance(309, lambda: False)  # in the middle of episodes
    kept = {"agent": one.agent.state_dict(), "actor": one.actor.state_dict(), "env": one.env.snapshot()}
    assert kept["agent"]["replay"]["position"].min() > 0
    file = io.BytesIO()
    torch.save({**kept, "loop": one.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    for part in ("agent", "actor"):
        getattr(other, part).load_state_dict(state[part])
    other.env.restore(state["env"])
    other.load_state_dict(state["loop"])
    for loop in (one, other):
        loop.advance(1_500, lambda: False)
    assert one.agent.updates == other.agent.updates > 5
    assert torch.equal(one.agent.weights.data, other.agent.weights.data)
    assert torch.equal(one.env.obs, other.env.obs)


def test_a_state_without_its_replay_loads() -> None:
    agent = Reinforce(BOX, spaces.Discrete(2), SMALL)
    played(agent, [1.0, 1.0])
    state = agent.state_dict()
    del state["replay"]
    agent.load_state_dict(state)
    assert agent.buffer.lengths == []
    assert agent.env_step == 2


SPACES: list[tuple[Any, Any, dict[str, Any]]] = [
    (BOX, spaces.Discrete(3, start=5), {}),
    (BOX, spaces.MultiDiscrete([2, 3]), {}),
    (BOX, spaces.MultiBinary(4), {"baseline": "mean"}),
    (BOX, spaces.Box(-2, 1, (2,)), {}),
    (BOX, spaces.Box(-2, 1, (2,)), {"squash": True, "entropy_coef": 0.01}),
    (spaces.Discrete(4, start=2), spaces.Discrete(2), {"baseline": "none"}),
    (spaces.Dict({"a": BOX, "b": spaces.Discrete(2)}), spaces.Discrete(2), {"normalise_obs": True}),
    (spaces.Tuple([BOX, spaces.MultiBinary(2)]), spaces.Box(-1, 1, (1,), np.float64), {"recurrent": "gru"}),
]


class Anything(gym.Env[Any, Any]):
    """Random observations; the action must be of the space."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        ends = self.np_random.random(2) < 0.1
        return self.observation_space.sample(), 1.0, bool(ends[0]), bool(ends[1]), {}


@pytest.mark.parametrize(("observations", "actions", "changes"), SPACES)
def test_every_space_trains_with_valid_actions(observations: Any, actions: Any, changes: dict[str, Any]) -> None:
    env = make(lambda: Anything(observations, actions), 2, seed=0)
    agent = Reinforce(env.single_observation_space, env.single_action_space, replace(SMALL, **changes), num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    env.reset()
    loop.advance(200, lambda: False)
    assert agent.updates > 5
    assert all(np.isfinite(float(value)) for value in loop.metrics.values())
    greedy = agent.actor(2, explore=False, seed=0)
    env.step(greedy.act(env.obs, env.start, env.action_mask).action)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 0}, "episodes must be >= 1, got 0"),
        ({"gamma": 1.5}, "gamma must be between 0 and 1, got 1.5"),
        ({"baseline": "critic"}, "baseline must be one of value, mean, none, got 'critic'"),
        ({"returns": "all"}, "returns must be one of to-go, total, got 'all'"),
        ({"baseline_rate": 0.0}, "baseline_rate must be > 0 and <= 1, got 0.0"),
        ({"value_coef": -1.0}, "value_coef must be >= 0, got -1.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be > 0, got 0.0"),
        ({"hidden_sizes": (0,)}, r"hidden_sizes must be numbers >= 1, got \(0,\)"),
        ({"learning_rate": "linear:1"}, "learning_rate"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"trunk": "separate", "baseline": "mean"}, "trunk separate needs baseline value, got mean"),
        ({"compile": True, "recurrent": "lstm"}, "compile needs recurrent none, got lstm"),
        ({"recurrent": "lstm", "recurrent_layers": 2}, "recurrent_layers needs recurrent transformer, got lstm"),
    ],
)
def test_bad_options_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ReinforceConfig(**changes)
    assert "\n" not in str(caught.value)


SOLVED = 0.9


def trained(env_id: str, config: ReinforceConfig, steps: int, num_envs: int = 8) -> float:
    """Mean return of 100 greedy episodes after so many steps, or sooner: as soon as the task is solved."""
    env = make(env_id, num_envs, seed=0)
    agent = Reinforce(env.single_observation_space, env.single_action_space, config, num_envs=num_envs, seed=0)
    loop = Loop(agent, agent.actor(num_envs, explore=True, seed=0), env)
    env.reset()
    found = 0.0
    for until in range(steps // 5, steps + 1, steps // 5):
        loop.advance(until, lambda: False)
        found = evaluate(agent, make(env_id, num_envs, seed=1), episodes=100, seed=2, name="reinforce").mean_return
        if found > SOLVED:
            break
    return found


@pytest.mark.parametrize("baseline", ["value", "mean", "none"])
def test_it_learns_to_catch(baseline: Any) -> None:
    assert trained("gymnast/Catch-v0", ReinforceConfig(baseline=baseline, learning_rate=3e-3), 20_000) > SOLVED


def test_a_recurrent_policy_remembers_what_a_plain_one_cannot() -> None:
    config = ReinforceConfig(learning_rate=1e-2, recurrent="lstm", memory_size=32, entropy_coef=0.01, episodes=16)
    config = replace(config, normalise_advantages=True)
    assert trained("gymnast/Memory-v0", config, 40_000) > SOLVED


@pytest.mark.slow
def test_attention_remembers_too() -> None:
    config = ReinforceConfig(learning_rate=3e-3, recurrent="transformer", memory_size=32, episodes=16)
    assert trained("gymnast/Memory-v0", replace(config, entropy_coef=0.01, recurrent_steps=12), 30_000) > SOLVED


@pytest.mark.long
def test_compiled_updates_are_the_same() -> None:
    weights = []
    for compiled in (False, True):
        agent = Reinforce(BOX, spaces.Discrete(3), replace(SMALL, compile=compiled, learning_rate=0.01))
        for number, lengths in enumerate(((4, 7), (3, 8), (2, 2))):
            for length in lengths:
                played(agent, [1.0] * length, seed=10 * number + length)
            agent.learn()
        weights.append(agent.weights.data.clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)
