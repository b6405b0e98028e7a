"""PPO and A2C: gradients against autograd, bootstraps at the edges, resuming, spaces, and learning."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.samples import Behaviour, Drawn, Samples, as_steps, cut, minibatches, uncut
from gymnast.agents.table import A2C
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.training.loop import Loop

BOX = spaces.Box(-np.inf, np.inf, (3,))
SMALL = ActorCriticConfig(rollout_steps=8, minibatches=2, hidden_sizes=(16,), epochs=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(agent: ActorCritic, rows: int = 12, *, masked: bool = False) -> Samples:
    """Random samples, two of which do not count."""
    obs = torch.randn(rows, 3, generator=generator(1))
    with torch.no_grad():
        output, value = agent.network(obs)
    mask = None
    if masked:
        mask = torch.rand(output.shape, generator=generator(2)) < 0.6
        mask[:, 0] = True
        output = agent.distribution.masked(output, mask)
    raw, log_prob = agent.distribution.act(output, generator(3))
    log_prob = log_prob + 0.4 * torch.randn(rows, generator=generator(4))
    advantage, (old_value, target) = (
        torch.randn(rows, generator=generator(5)),
        torch.randn(2, *value.shape, generator=generator(6)),
    )
    weight = torch.ones(rows)
    weight[:2] = 0.0
    return Samples(obs, raw, Behaviour(log_prob, advantage, old_value, target), weight, mask)


CASES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "value clip": {"value_clip": 0.3},
    "not normalised": {"normalise_advantages": False},
    "a2c": A2C | {"optimizer": "adam"},
    "shared": {"trunk": "shared"},
    "relu": {"activation": "relu"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("actions", [spaces.Discrete(4), spaces.Box(-1, 1, (2,))], ids=["discrete", "box"])
@pytest.mark.parametrize("masked", [False, True])
def test_closed_form_equals_autograd(case: str, actions: spaces.Space[Any], masked: bool) -> None:
    config = ActorCriticConfig(**({"hidden_sizes": (16, 8), "entropy_coef": 0.05, "init": "torch"} | CASES[case]))
    agent = ActorCritic(BOX, actions, config, num_envs=4)
    samples = batch(agent, masked=masked and isinstance(actions, spaces.Discrete))
    assert agent._update._gradient is not None
    first = agent._update._gradient(Drawn(samples, torch.arange(3)), None)  # of another size
    assert len(first[0]) == 3
    agent.weights.grad.fill_(7.0)
    rows = torch.randperm(len(samples.weight), generator=generator())
    log_ratio, metrics = agent._update._gradient(Drawn(samples, rows), None)
    log_ratio = log_ratio[rows.argsort()]
    mine = agent.weights.grad.clone()
    agent.plain = None  # torch's own way
    agent.weights.grad.zero_()
    loss, other, expected = agent.loss(samples, None)
    loss.backward()
    assert mine.abs().max() > 1e-3
    torch.testing.assert_close(mine, agent.weights.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(log_ratio, other, rtol=1e-4, atol=1e-5)
    for name, number in expected.items():
        torch.testing.assert_close(metrics[name], number, rtol=1e-4, atol=1e-5)


def test_at_ratio_one_ppo_has_the_gradient_of_a2c() -> None:
    same = {"hidden_sizes": (16,), "entropy_coef": 0.01, "optimizer": "adam", "normalise_advantages": False}
    gradients = []
    for changes in ({}, {"policy_loss": "plain", "epochs": 1}):
        agent = ActorCritic(BOX, spaces.Discrete(4), ActorCriticConfig(**(same | changes)), num_envs=4)
        samples = batch(agent)
        with torch.no_grad():
            samples.old.log_prob[:] = agent.distribution.log_prob(agent.network(samples.obs)[0], samples.raw)
        agent.plain = None
        agent.loss(samples, None)[0].backward()
        gradients.append(agent.weights.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


def stored(agent: ActorCritic, *, seed: int = 0, inactive: bool = False) -> None:
    """A rollout of random steps in which episodes end in both ways."""
    rng, rows = np.random.default_rng(seed), agent.num_envs
    actor = agent.actor(rows, explore=True, seed=1)
    obs = torch.randn(rows, 3, generator=generator(1))
    start = torch.ones(rows, dtype=torch.bool)
    for number in range(agent.config.rollout_steps):
        acted = actor.act(obs, start)
        terminated, truncated = (torch.from_numpy(rng.random(rows) < 0.2) for _ in range(2))
        truncated &= ~terminated
        ended = terminated | truncated
        next_obs = torch.randn(rows, 3, generator=generator(10 + number))
        following = torch.where(ended.unsqueeze(1), torch.randn(rows, 3, generator=generator(99 + number)), next_obs)
        active = torch.from_numpy(rng.random(rows) < 0.8) if inactive else None
        count = rows if active is None else int(active.sum())
        reward = torch.from_numpy(rng.normal(size=rows).astype(np.float32))
        step = Step(following, ended, next_obs, reward, terminated, truncated, count, int(ended.sum()), active)
        agent.store(obs, acted, step)
        obs, start = following, ended


@pytest.mark.parametrize("inactive", [False, True])
@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru", "transformer"])
def test_estimates_equal_torch_s(recurrent: Any, inactive: bool) -> None:
    config = replace(SMALL, recurrent=recurrent, memory_size=8)
    agent = ActorCritic(BOX, spaces.Discrete(3), config, num_envs=4)
    stored(agent, inactive=inactive)
    agent.estimates.see()
    fast = agent.estimates.samples(agent.rollout.fields["value"])
    explained = agent.estimates.seen["explained_variance"]
    agent.estimates.compiled = False
    plain = agent.estimates.samples(agent.rollout.fields["value"])
    torch.testing.assert_close(fast.old, plain.old, rtol=1e-4, atol=1e-5)
    assert torch.equal(fast.weight, plain.weight)
    torch.testing.assert_close(explained, agent.estimates.seen["explained_variance"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru", "transformer"])
def test_the_policy_that_acted_is_the_one_that_is_learned_from(recurrent: Any) -> None:
    """All log-probabilities and values are found again, over episodes' ends within sequences too."""
    for trunk in ("shared", "separate"):
        config = replace(SMALL, recurrent=recurrent, memory_size=8, sequence_length=4, trunk=trunk)
        agent = ActorCritic(BOX, spaces.Discrete(3), config, num_envs=4)
        stored(agent)
        agent.estimates.see()
        samples = as_steps(agent.estimates.samples(agent.rollout.fields["value"]))
        output, value = agent._outputs(samples)
        log_prob = agent.distribution.log_prob(output, samples.raw)
        torch.testing.assert_close(log_prob, samples.old.log_prob, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value, samples.old.value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("truncated", [False, True])
def test_truncation_bootstraps_and_termination_does_not(truncated: bool) -> None:
    agent = ActorCritic(BOX, spaces.Discrete(2), replace(SMALL, rollout_steps=1, minibatches=1), num_envs=1)
    obs, final, first = torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 3)
    acted = agent.actor(1, explore=True, seed=0).act(obs, torch.tensor([True]))
    yes, no = torch.tensor([True]), torch.tensor([False])
    ends = (no, yes) if truncated else (yes, no)
    agent.store(obs, acted, Step(first, yes, final, torch.tensor([2.0]), *ends, 1, 1))
    agent.estimates.see()
    target = agent.estimates.samples(agent.rollout.fields["value"]).old.target.item()
    with torch.no_grad():
        value = agent.network(final)[1].item()
    assert target == pytest.approx(2.0 + 0.99 * value if truncated else 2.0, abs=1e-5)


def test_minibatches_hold_every_sample_once() -> None:
    fields = Samples(
        obs={"a": torch.arange(24.0).view(6, 4, 1)},
        raw=torch.arange(24).view(6, 4),
        old=Behaviour(*(torch.arange(24.0).view(shape) for shape in ((6, 4), (6, 4), (6, 4, 1), (6, 4, 1)))),
        weight=torch.arange(24.0).view(6, 4),
        start=torch.zeros(6, 4, dtype=torch.bool),
        memory=torch.arange(24.0).view(6, 4, 1),
    )
    for length in (None, 3):
        given = fields if length else fields._replace(start=None, memory=None)
        parts = [as_steps(part.gathered()) for part in minibatches(cut(given, length), 3, generator())]
        assert sorted(int(x) for part in parts for x in part.raw) == list(range(24))
        for part in parts:
            assert part.obs["a"][:, 0].tolist() == part.raw.tolist() == part.weight.tolist()
            assert all(field.flatten().tolist() == part.raw.tolist() for field in part.old)
            if length:
                sequences = part.raw.view(-1, 3)
                assert ((sequences[:, 1:] - sequences[:, :-1]) == 4).all()
                assert part.memory[:, 0].tolist() == sequences[:, 0].tolist()
        assert torch.equal(uncut(as_steps(cut(given, length)).raw, length, 6, 4), fields.raw)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        A2C,
        {"recurrent": "lstm", "memory_size": 8, "sequence_length": 4},
        pytest.param(
            {"recurrent": "transformer", "memory_size": 8, "recurrent_steps": 5, "recurrent_layers": 2},
            marks=pytest.mark.long,
        ),
        {"normalise_obs": True, "normalise_rewards": True, "target_kl": 0.01},
        {"intrinsic": "rnd"},
        {"intrinsic": "counts"},
        {"intrinsic": "icm"},
        {"intrinsic": "episodic"},
        {"advantage": "vtrace", "value_clip": 0.2},
    ],
    ids=["ppo", "a2c", "lstm", "transformer", "normalised", "rnd", "counts", "icm", "episodic", "vtrace"],
)
def test_a_loaded_agent_goes_on_exactly(changes: dict[str, Any]) -> None:
    config = ActorCriticConfig(**({"rollout_steps": 8, "minibatches": 2, "hidden_sizes": (16,)} | changes))

    def run(seed: int) -> Loop:
        env = make("CartPole-v1", 3, seed=seed)
        agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=3, seed=seed)
        loop = Loop(agent, agent.actor(3, explore=True, seed=seed), env)
        env.reset()
        return loop

    one, other = run(0), run(1)
    one.advance(3 * 100 + 9, lambda: False)  # in the middle of a rollout
    kept = {"agent": one.agent.state_dict(), "actor": one.actor.state_dict(), "env": one.env.snapshot()}
    file = io.BytesIO()
    torch.save({**kept, "loop": one.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    for part in ("agent", "actor"):
        getattr(other, part).load_state_dict(state[part])
    other.env.restore(state["env"])
    other.load_state_dict(state["loop"])
    for loop in (one, other):
        loop.advance(900, lambda: False)
    assert one.agent.updates == other.agent.updates > 5
    assert torch.equal(one.agent.weights.data, other.agent.weights.data)
    assert torch.equal(one.env.obs, other.env.obs)


SPACES: list[tuple[Any, Any, dict[str, Any]]] = [
    (BOX, spaces.Discrete(3, start=5), {}),
    (BOX, spaces.MultiDiscrete([2, 3]), {}),
    (BOX, spaces.MultiBinary(4), {}),
    (BOX, spaces.Box(-2, 1, (2,)), {}),
    (BOX, spaces.Box(-2, 1, (2,)), {"squash": True}),
    (spaces.Discrete(4, start=2), spaces.Discrete(2), {}),
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
    config = replace(SMALL, **changes)
    agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    env.reset()
    loop.advance(100, lambda: False)
    assert agent.updates > 10
    assert all(np.isfinite(float(value)) for value in loop.metrics.values())
    greedy = agent.actor(2, explore=False, seed=0)
    env.step(greedy.act(env.obs, env.start, env.action_mask).action)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minibatches": 9}, "minibatches must be <= 8, the samples of a rollout, got 9"),
        ({"cuda_graphs": True}, "cuda_graphs needs device cuda, got cpu"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCritic(BOX, spaces.Discrete(2), replace(SMALL, **changes), num_envs=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollout_steps": 0}, "rollout_steps must be >= 1, got 0"),
        ({"gae_lambda": 1.5}, "gae_lambda must be between 0 and 1, got 1.5"),
        ({"policy_loss": "clip"}, "policy_loss must be one of clipped, plain, natural, trust-region, got 'clip'"),
        ({"policy_loss": "plain"}, "policy_loss plain needs epochs 1 or advantage vtrace, got epochs 4"),
        ({"recurrent": "lstm", "sequence_length": 7}, "sequence_length must divide rollout_steps 128, got 7"),
        ({"target_kl": 0.0}, "target_kl must be > 0, got 0.0"),
        ({"recurrent_steps": 8}, "recurrent_steps needs recurrent transformer, got none"),
        ({"recurrent": "gru", "recurrent_heads": 2}, "recurrent_heads needs recurrent transformer, got gru"),
        ({"recurrent": "transformer", "recurrent_steps": 1}, "recurrent_steps must be >= 2, got 1"),
        ({"recurrent": "transformer", "recurrent_layers": 0}, "recurrent_layers must be >= 1, got 0"),
        (
            {"recurrent": "transformer", "memory_size": 10},
            "memory_size must be a multiple of recurrent_heads 4, got 10",
        ),
        ({"recurrent": "transformer", "compile": True}, "compile needs recurrent none, got transformer"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticConfig(**changes)


def test_schedules_are_those_of_the_rollout_s_beginning() -> None:
    config = replace(SMALL, rollout_steps=4, learning_rate="linear:1:0:100", epochs=1)
    agent = ActorCritic(BOX, spaces.Discrete(2), config, num_envs=2)
    rates = []
    for _ in range(3):
        stored(agent)
        agent.learn()
        rates.append(agent.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 0.92, 0.84])


def test_a_small_kl_ends_the_epochs_early() -> None:
    updates = []
    for target in (None, 1e-6):
        config = replace(SMALL, epochs=10, learning_rate=0.01, target_kl=target)
        agent = ActorCritic(BOX, spaces.Discrete(2), config, num_envs=2)
        stored(agent)
        agent.learn()
        updates.append(agent.updates)
    assert updates[0] == 20
    assert updates[1] <= 3


@pytest.mark.parametrize("changes", [{}, {"recurrent": "gru"}, {"normalise_obs": True, "normalise_rewards": True}])
def test_a_single_sample_is_finite(changes: dict[str, Any]) -> None:
    """Zero variance of advantages, of observations and of rewards."""
    config = replace(SMALL, rollout_steps=1, minibatches=1, **changes)
    agent = ActorCritic(BOX, spaces.Discrete(2), config, num_envs=1)
    for seed in range(3):
        stored(agent, seed=seed)
        metrics = agent.learn()
    assert agent.weights.data.isfinite().all()
    assert all(np.isfinite(float(value)) for value in metrics.values())


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_an_evaluation_changes_nothing(recurrent: Any) -> None:
    config = replace(SMALL, recurrent=recurrent, normalise_obs=True, intrinsic="counts")
    env = make("CartPole-v1", 2, seed=0)
    agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    env.reset()
    loop.advance(50, lambda: False)
    before, drawn = repr(agent.state_dict()), torch.get_rng_state()
    first = evaluate(agent, make("CartPole-v1", 2, seed=1), episodes=3, seed=2, name="ppo")
    assert repr(agent.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert evaluate(agent, make("CartPole-v1", 3, seed=5), episodes=3, seed=2, name="ppo").returns == first.returns


SOLVED = 0.9


def trained(env_id: str, config: ActorCriticConfig, steps: int, num_envs: int = 8) -> float:
    """Mean return of 100 greedy episodes after so many steps, or sooner: as soon as the task is solved."""
    env = make(env_id, num_envs, seed=0)
    agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=num_envs)
    loop = Loop(agent, agent.actor(num_envs, explore=True, seed=0), env)
    env.reset()
    found = 0.0
    for until in range(steps // 5, steps + 1, steps // 5):
        loop.advance(until, lambda: False)
        found = evaluate(agent, make(env_id, num_envs, seed=1), episodes=100, seed=2, name="ppo").mean_return
        if found > SOLVED:
            break
    return found


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (ActorCriticConfig(learning_rate=1e-3, rollout_steps=32), 20_000),
        (ActorCriticConfig(**(A2C | {"optimizer": "adam", "learning_rate": 1e-3})), 40_000),
        (ActorCriticConfig(learning_rate=1e-3, rollout_steps=32, advantage="vtrace"), 20_000),
    ],
    ids=["ppo", "a2c", "vtrace"],
)
def test_it_learns_to_catch(config: ActorCriticConfig, steps: int) -> None:
    assert trained("gymnast/Catch-v0", config, steps) > SOLVED


@pytest.mark.slow
def test_a_recurrent_policy_remembers_what_a_plain_one_cannot() -> None:
    config = ActorCriticConfig(rollout_steps=32, learning_rate=3e-3, entropy_coef=0.01, memory_size=32)
    assert trained("gymnast/Memory-v0", config, 15_000) < 0.4
    assert trained("gymnast/Memory-v0", replace(config, recurrent="lstm"), 40_000) > SOLVED


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, A2C | {"optimizer": "adam"}], ids=["ppo", "a2c"])
def test_attention_to_the_window_finds_the_cue_and_a_window_without_it_does_not(changes: dict[str, Any]) -> None:
    """The question comes 10 steps after the cue; rollouts of A2C are shorter than that."""
    config = ActorCriticConfig(**{"rollout_steps": 32, "entropy_coef": 0.01} | changes)
    config = replace(config, learning_rate=1e-3, recurrent="transformer", memory_size=32)
    steps = 40_000 if changes else 15_000
    assert trained("gymnast/Memory-v0", replace(config, recurrent_steps=11), steps) > SOLVED
    assert trained("gymnast/Memory-v0", replace(config, recurrent_steps=10), 10_000) < 0.4
