"""Each of Rainbow's parts alone, and all together: they solve small problems, resume exactly and stay finite."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.agents.table import RAINBOW
from gymnast.envs import make
from gymnast.envs.step import Step
from tests.test_dqn import same

PARTS: dict[str, dict[str, Any]] = {
    "double": {"double": True},
    "dueling-mean": {"dueling": True},
    "dueling-max": {"dueling": True, "dueling_aggregation": "max"},
    "proportional": {"prioritized": True},
    "rank": {"prioritized": True, "priority": "rank"},
    "noisy-factorised": {"noisy": True},
    "noisy-independent": {"noisy": True, "noise": "independent"},
    "n-step": {"n_step": 3},
    "categorical": {"values": "categorical"},
    "quantile": {"values": "quantile"},
    "implicit": {"values": "implicit"},
    "rescaled": {"values": "rescaled"},
    "rainbow": RAINBOW,
    "rainbow-quantile": {**RAINBOW, "values": "quantile"},
    "rainbow-implicit": {**RAINBOW, "values": "implicit", "priority": "rank", "noise": "independent"},
}
LATER: dict[str, dict[str, Any]] = {
    "shared-bias": {"shared_bias": True},
    "munchausen": {"munchausen": True},
    "munchausen-implicit": {"munchausen": True, "values": "implicit", "noisy": True, "dueling": True, "n_step": 3},
    "bootstrapped": {"bootstrap_heads": 3, "prior_scale": 1.0, "bootstrap_probability": 0.5, "double": True},
    "self-prediction": {"auxiliary": "self-prediction", "n_step": 3, "noisy": True},
    "annealed": {
        "anneal_steps": 50,
        "gamma": 0.9,
        "n_step": 5,
        "final_n_step": 2,
        "final_gamma": 0.999,
        "prioritized": True,
    },
    "target-acts": {"act_by_target": True, "target_period": 0, "tau": 0.1, "noisy": True, "weight_decay": 0.1},
    "resets": {"reset_period": 40, "reset_keep": 0.5, "prioritized": True, "noisy": True},
}
"""Parts that came after Rainbow; the learning of most of them is tested with them."""
EACH = pytest.mark.parametrize("part", [*PARTS, *LATER])
LEARNING = pytest.mark.parametrize("part", [*PARTS, "munchausen"])
SMALL = DQNConfig(
    hidden_sizes=(8, 8),
    batch_size=8,
    replay_size=120,
    learning_starts=20,
    train_period=2,
    target_period=10,
    learning_rate=3e-3,
    priority_beta="linear:0.4:1:150",
    atoms=7,
    quantiles=5,
    v_min=-2.0,
    v_max=2.0,
)


def config(part: str, base: DQNConfig = SMALL, **changes: Any) -> DQNConfig:
    return dataclasses.replace(base, **{**changes, **(PARTS | LATER)[part]})


class Run:
    """An agent in an environment, and the loop between them."""

    def __init__(self, env_id: str, made: DQNConfig, *, num_envs: int = 1, seed: int = 0, **options: Any) -> None:
        self.env = make(env_id, num_envs, seed=seed + 100, options=options)
        spaces_of = self.env.single_observation_space, self.env.single_action_space
        self.agent = DQN(*spaces_of, made, num_envs=num_envs, seed=seed)
        self.actor = self.agent.actor(num_envs, explore=True, seed=seed + 200)
        self.obs = self.env.reset()
        self.metrics: list[dict[str, Tensor]] = []

    def go(self, steps: int) -> Run:
        """On to so many env steps."""
        while self.agent.env_step < steps:
            acted = self.actor.act(self.obs, self.env.start)
            step = self.env.step(acted.action)
            self.agent.store(self.obs, acted, step)
            for _ in range(self.agent.updates_due(self.agent.env_step)):
                self.metrics.append(self.agent.learn())
            self.obs = step.obs
        return self

    def state(self) -> dict[str, Any]:
        """Agent and actor, as a file would hold them."""
        file = io.BytesIO()
        torch.save({"agent": self.agent.state_dict(), "actor": self.actor.state_dict()}, file)
        file.seek(0)
        loaded: dict[str, Any] = torch.load(file, weights_only=True)
        return loaded

    def greedy_returns(self, env_id: str, episodes: int, **options: Any) -> list[float]:
        env = make(env_id, 1, seed=9, options=options, max_episode_steps=100)
        actor, obs, found = self.agent.actor(1, explore=False, seed=0), env.reset(), list[float]()
        while len(found) < episodes:
            step = env.step(actor.act(obs, env.start).action)
            obs = step.obs
            if step.num_ended:
                assert step.episode_return is not None
                found.append(float(step.episode_return[0]))
        env.close()
        return found


# State and seeds.


@pytest.mark.slow
@EACH
def test_the_same_seed_is_the_same_run(part: str) -> None:
    one, other = (Run("CartPole-v1", config(part), num_envs=2).go(60) for _ in range(2))
    assert len(one.metrics) == 20
    assert same(one.metrics, other.metrics)
    assert same(one.state(), other.state())
    assert not same(one.state(), Run("CartPole-v1", config(part), num_envs=2, seed=1).go(60).state())


@EACH
def test_resume_is_exact(part: str) -> None:
    """2N steps are N, a state from a file, and N more: weights, replay, priorities, noise and generators."""
    whole = Run("CartPole-v1", config(part), num_envs=2).go(180)  # the ring is overwritten
    before = Run("CartPole-v1", config(part), num_envs=2).go(90)
    after = Run("CartPole-v1", config(part), num_envs=2)
    state = before.state()
    after.agent.load_state_dict(state["agent"])
    after.actor.load_state_dict(state["actor"])
    after.env, after.obs = before.env, before.obs
    after.go(180)
    assert same(whole.state(), after.state())
    assert same(whole.metrics, before.metrics + after.metrics)


@EACH
def test_evaluation_changes_nothing_in_training(part: str) -> None:
    run = Run("CartPole-v1", config(part)).go(60)
    before, generator = run.state(), torch.get_rng_state()
    evaluator = run.agent.actor(3, explore=False, seed=5)
    obs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    actions = [evaluator.act(obs, torch.zeros(3, dtype=torch.bool)).action.tolist() for _ in range(5)]
    assert all(action == actions[0] for action in actions)
    assert same(before, run.state())
    assert torch.equal(generator, torch.get_rng_state())


def test_spectral_normalisation_resumes_exactly() -> None:
    """IMPALA's network of BTR, small: the vectors of the power iteration move with every update, and are kept.

    They begin without a random number of torch's own generator.
    """
    options = {"channels": (3,), "spectral_norm": True, "max_pool": 2}
    made = dataclasses.replace(config("munchausen-implicit"), network="impala", network_options=options, batch_size=4)
    whole, before, after = (Run("gymnast/MinAtar-Breakout-v1", made, num_envs=2) for _ in range(3))
    first = whole.state()["agent"]["online"]
    whole.go(40)
    state = before.go(30).state()
    vectors = {name: part for name, part in state["agent"]["online"].items() if name.endswith("_u")}
    assert len(vectors) == 4  # of the two residual blocks, not of the first convolution
    assert not any(torch.equal(part, first[name]) for name, part in vectors.items())
    after.agent.load_state_dict(state["agent"])
    after.actor.load_state_dict(state["actor"])
    after.env, after.obs = before.env, before.obs
    assert same(whole.state(), after.go(40).state())


def schedules(num_envs: int, *, reload: bool = False) -> list[tuple[float, int]]:
    """Beta and target copies after every step that updates were due at, in 200 env steps."""
    run = Run("gymnast/Catch-v0", config("rainbow"), num_envs=num_envs)
    seen = []
    for steps in range(num_envs, 201, num_envs):
        updates = run.agent.updates
        run.go(steps)
        if run.agent.updates > updates:
            seen.append((run.agent.replay.sampler.beta, run.agent._target_updates))
        if reload and steps == 104:
            other = Run("gymnast/Catch-v0", config("rainbow"), num_envs=num_envs)
            other.agent.load_state_dict(run.state()["agent"])
            run.agent = other.agent
            run.actor = run.agent.actor(num_envs, explore=True, seed=0)
    return seen


def test_beta_and_target_copies_do_not_depend_on_num_envs_or_a_reload() -> None:
    one = schedules(1)
    assert len(one) == 90
    betas = [beta for beta, _ in one]
    assert betas == pytest.approx([min(0.4 + 0.6 * due / 150, 1.0) for due in range(22, 201, 2)])
    assert betas[-1] == 1.0
    assert [copies for _, copies in one] == [due // 10 for due in range(22, 201, 2)]
    four = schedules(4)
    assert four == one[1::2]  # two updates are due after each step of four rows
    assert schedules(4, reload=True) == four


# Finite.


@EACH
@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"gamma": 1.0}, {"optimizer": "nature-rmsprop"}])
def test_learning_stays_finite(part: str, changes: dict[str, Any]) -> None:
    """Batch size 1, and observations and rewards without any variance."""
    learner = DQN(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), config(part, **changes), seed=0)
    obs, no = torch.zeros(1, 2), torch.zeros(1, dtype=torch.bool)
    metrics: dict[str, Tensor] = {}
    for _ in range(50):
        learner.store(
            obs, Acted(torch.tensor([0])), Step(obs, no, obs, torch.zeros(1), no, no, num_active=1, num_ended=0)
        )
        for _ in range(learner.updates_due(learner.env_step)):
            metrics = learner.learn()
    assert learner.updates == 15
    assert all(math.isfinite(value) for value in metrics.values())
    assert learner.weights.data.isfinite().all()


def test_priorities_are_the_unweighted_errors_of_the_sampled() -> None:
    """What the sampler is told is the error before importance weights, for each sampled slot."""
    run = Run("CartPole-v1", config("proportional")).go(60)
    agent, told = run.agent, []
    batches, sample, update = [], agent.replay.sample, agent.replay.sampler.update

    def spy_sample() -> Any:
        batch = sample()
        weights = batch.weight.clone()
        batches.append((batch.index.clone(), weights, agent.loss(batch, None)[1].clone()))
        return batch

    def spy_update(index: Tensor, error: Tensor) -> None:
        told.append((index.clone(), error.clone()))
        update(index, error)

    agent.replay.sample, agent.replay.sampler.update = spy_sample, spy_update  # type: ignore[method-assign]
    agent.learn()
    (index, weight, error), (told_index, told_error) = batches[0], told[0]
    assert torch.equal(index, told_index)
    assert weight.max() == 1.0
    torch.testing.assert_close(told_error, error)
    assert (told_error > 0).any()


# Learning.

CATCH = DQNConfig(
    hidden_sizes=(32, 32),
    batch_size=32,
    replay_size=5_000,
    learning_starts=200,
    train_period=2,
    target_period=100,
    learning_rate=2e-3,
    epsilon="linear:1:0.1:2500",
    priority_beta="linear:0.4:1:4000",
    atoms=21,
    v_min=-1.2,
    v_max=1.2,
    quantiles=8,
)
CHAIN = dataclasses.replace(
    CATCH,
    learning_starts=1_000,
    train_period=3,
    target_period=50,
    learning_rate=4e-3,
    gamma=0.9,
    epsilon=1.0,
    noisy_epsilon="linear:1:0:2000",
)


@pytest.mark.slow
@LEARNING
def test_solves_catch(part: str) -> None:
    """Within 6,000 env steps."""
    run, mean = Run("gymnast/Catch-v0", config(part, CATCH), num_envs=2), -1.0
    for steps in range(2_000, 6_001, 1_000):
        mean = float(np.mean(run.go(steps).greedy_returns("gymnast/Catch-v0", 20)))
        if mean >= 0.9:
            break
    assert mean >= 0.9


@pytest.mark.slow
@LEARNING
def test_solves_a_long_chain(part: str) -> None:
    """Ten states, and a small reward at hand that whoever does not explore is content with; within 3,000 env steps."""
    chain = {"length": 10, "left_reward": 0.02}
    run, returns = Run("gymnast/Chain-v0", config(part, CHAIN), **chain), [0.0]
    for steps in range(1_000, 3_001, 500):
        returns = run.go(steps).greedy_returns("gymnast/Chain-v0", 1, **chain)
        if returns == [1.0]:
            break
    assert returns == [1.0]
