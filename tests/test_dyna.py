"""Dyna-Q, Dyna-Q+ and prioritized sweeping: the model, the queue, and what planning finds."""

import heapq
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import (
    DynaQ,
    DynaQConfig,
    PrioritizedSweeping,
    PrioritizedSweepingConfig,
    QLearning,
    QLearningConfig,
)
from gymnast.agents.tabular.dynamic_programming import optimal_q
from gymnast.agents.tabular.model import list_row, make_model, plan_step, remember
from gymnast.agents.tabular.sweeping import link, make_queue, pop, push, sweep_step, take_in, unlink
from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.envs.small.dyna_maze import DynaMaze
from gymnast.tabular import loop

FREE = np.ones((3, 2), np.bool_)


def test_the_model_keeps_the_latest_outcomes_and_when_they_came() -> None:
    model = make_model(3, 2, 2)
    for number, reward in enumerate((1.0, 2.0, 3.0)):
        remember(model, 2, reward, 0.9, number % 3)
    remember(model, 5, 0.0, 0.0, 1)
    assert model.reward[2].tolist() == [3.0, 2.0]
    assert model.successor[2].tolist() == [2, 1]
    assert (model.tried[2], model.last[2], model.last[5]) == (3, 3, 4)
    assert model.now.tolist() == [2, 4]
    assert model.rows[:2].tolist() == [1, 2]
    assert model.actions[1, 0] == 0
    assert model.actions[2, 0] == 1
    list_row(model, 2, np.array([[True, True], [True, True], [True, False]]), True)
    assert model.sizes.tolist() == [0, 1, 2]  # the taken action stays; only allowed ones are added


def test_a_planning_step_is_an_update_by_hand() -> None:
    model, q = make_model(3, 2, 1), np.array([[0.0, 0.0], [0.5, 0.2], [0.0, 0.0]])
    remember(model, 0, 1.0, 0.9, 1)  # state 0, action 0, to state 1
    error = plan_step(q, model, FREE, True, 0.5, 0.9, 0.0, 0.0, 0.0, 0.0)
    assert error == pytest.approx(1.0 + 0.9 * 0.5)
    assert q[0, 0] == pytest.approx(0.5 * 1.45)
    only_second = np.array([[True, True], [False, True], [True, True]])
    assert plan_step(q, model, only_second, True, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0) == pytest.approx(1.18 - q[0, 0])


def test_the_bonus_grows_with_the_time_since_a_pair_was_tried() -> None:
    model, q = make_model(3, 2, 1), np.zeros((3, 2))
    remember(model, 0, 0.0, 0.9, 1)
    for _ in range(9):
        remember(model, 2, 0.0, 0.9, 2)
    assert plan_step(q, model, FREE, True, 0.0, 0.9, 0.1, 0.0, 0.0, 0.0) == pytest.approx(0.1 * math.sqrt(9))
    list_row(model, 0, FREE, True)  # action 1 of state 0 was never tried: back to state 0, without a reward
    q[0, 0] = 2.0
    error = plan_step(q, model, FREE, True, 1.0, 0.9, 0.1, 0.0, 0.99, 0.0)
    assert error == pytest.approx(0.9 * 2.0 + 0.1 * math.sqrt(10))


def test_the_queue_gives_the_largest_first_as_a_heap_does() -> None:
    rng = np.random.default_rng(0)
    queue, truth = make_queue(1, 50, 1), {}
    for _ in range(2_000):
        if truth and rng.random() < 0.4:
            pair = pop(queue)
            assert truth.pop(pair) == max([*truth.values(), queue.priority[pair]])
        else:
            pair, priority = int(rng.integers(50)), float(rng.random())
            push(queue, pair, priority)
            truth[pair] = max(priority, truth.get(pair, 0.0))
        assert queue.size[0] == len(truth)
    heap = [(-priority, pair) for pair, priority in truth.items()]
    heapq.heapify(heap)
    assert [pop(queue) for _ in range(len(truth))] == [heapq.heappop(heap)[1] for _ in range(len(heap))]


def test_predecessors_are_what_was_linked_and_not_unlinked() -> None:
    rng = np.random.default_rng(1)
    queue = make_queue(4, 10, 2)
    truth: dict[int, int] = {}
    for _ in range(500):
        outcome = int(rng.integers(20))
        if outcome in truth:
            unlink(queue, outcome, truth.pop(outcome))
        else:
            unlink(queue, outcome, 0)  # in no list: nothing happens
            truth[outcome] = int(rng.integers(4))
            link(queue, outcome, truth[outcome])
    for row in range(4):
        found, outcome = [], queue.first[row]
        while outcome >= 0:
            found.append(int(outcome))
            outcome = queue.after[outcome]
        assert sorted(found) == sorted(key for key, value in truth.items() if value == row)


def test_a_reward_travels_back_along_the_path_in_one_step() -> None:
    """Row 0 leads to 1, 1 to 2, 2 ends with 1: after the end is seen, two more backups reach row 0."""
    q, model, queue = np.zeros((3, 2)), make_model(3, 2, 1), make_queue(3, 6, 1)
    for pair, reward, discount, successor in ((0, 0.0, 0.5, 1), (2, 0.0, 0.5, 2), (4, 1.0, 0.0, 0)):
        take_in(q, model, queue, pair, reward, discount, successor, FREE, True, 1e-6)
    assert queue.size[0] == 1
    backups = 0
    while queue.size[0] > 0:
        sweep_step(q, model, queue, FREE, True, 1.0, 1e-6)
        backups += 1
    assert backups == 3
    assert q[:, 0].tolist() == [0.25, 0.5, 1.0]


def learned(cls: Any, config: Any, steps: int, *, env_id: str = "gymnast/DynaMaze-v0", seed: int = 0) -> Any:
    env = make(env_id, 1, seed=seed, vectorization="serial")
    env.reset()
    agent = cls(env.single_observation_space, env.single_action_space, config, num_envs=1, seed=seed)
    return agent, loop.run(agent, agent.actor(1, explore=True, seed=seed), env, steps=steps), env


def test_sweeping_finds_the_exact_values() -> None:
    config = PrioritizedSweepingConfig(gamma=0.95, planning_steps=50, epsilon=1.0, threshold=1e-12, model_outcomes=1)
    agent, _, env = learned(PrioritizedSweeping, config, 20_000)
    exact = optimal_q(env.transition_table(), gamma=0.95)
    tried = agent.counts > 0
    assert tried.sum() == (54 - 7 - 1) * 4  # all but the walls and the goal
    np.testing.assert_allclose(agent.q_table()[tried], exact[tried], atol=1e-9)


def test_planning_needs_fewer_episodes() -> None:
    """Figure 8.2 of Sutton & Barto (2018): near the shortest path, 14 steps, after a few episodes."""
    common = {"alpha": 0.1, "gamma": 0.95}
    lengths = {}
    for name, cls, config in (
        ("q", QLearning, QLearningConfig(**common)),
        ("dyna", DynaQ, DynaQConfig(**common, planning_steps=50)),
    ):
        runs = [learned(cls, config, 12_000, seed=seed)[1].lengths[:30] for seed in range(5)]
        lengths[name] = np.mean(runs, axis=0)
    assert lengths["dyna"][4:].mean() < 25
    assert lengths["q"][4:15].mean() > 3 * lengths["dyna"][4:15].mean()


def test_dyna_q_plus_goes_round_a_new_wall() -> None:
    """Figure 8.4: the passage closes; without the bonus planning keeps believing in it for long."""
    rewards = {}
    for bonus in (0.0, 1e-3):
        env = make("gymnast/DynaMaze-v0", 1, seed=0, vectorization="serial", options={"maze": "blocking"})
        env.reset()
        config = DynaQConfig(alpha=1.0, gamma=0.95, planning_steps=10, time_bonus=bonus)
        agent = DynaQ(env.single_observation_space, env.single_action_space, config, num_envs=1, seed=0)
        actor, total = agent.actor(1, explore=True, seed=0), 0.0
        obs, start, mask = env.obs, env.start, env.action_mask
        for number in range(3_000):
            acted = actor.act(obs, start, mask)
            step = env.step(acted.action)
            agent.store(obs, acted, step)
            agent.learn()
            total += float(step.reward[0]) if number >= 1_000 else 0.0
            obs, start, mask = step.obs, step.start, step.action_mask
        rewards[bonus] = total
    assert rewards[1e-3] > rewards[0.0] + 20


@pytest.mark.parametrize("name", ["fixed", "blocking", "shortcut"])
def test_the_mazes_have_the_paths_of_the_book(name: Any) -> None:
    env = DynaMaze(name)
    assert shortest(env) == {"fixed": 14, "blocking": 10, "shortcut": 16}[name]
    if name == "fixed":
        return
    assert not hasattr(env, "P")
    changed = DynaMaze(name, change_after=0)
    assert shortest(changed) == {"blocking": 16, "shortcut": 10}[name]


def shortest(env: DynaMaze) -> int:
    env.reset()
    found, frontier = {env.state}, [env.state]
    for steps in range(1, 60):
        outcomes = [env._outcome(state, action) for state in frontier for action in range(4)]
        if any(terminated for *_, terminated in outcomes):
            return steps
        frontier = [state for _, state, _, _ in outcomes if not (state in found or found.add(state))]  # type: ignore[func-returns-value]
    raise AssertionError("no way to the goal")


def test_a_maze_counts_steps_over_episodes_and_goes_on_from_a_snapshot() -> None:
    env: Any = gym.make("gymnast/DynaMaze-v0", maze="shortcut", change_after=3, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    for _ in range(2):
        env.step(0)
        env.reset()
    other: Any = DynaMaze("shortcut", change_after=3)
    other.reset(seed=1)
    other.restore(env.snapshot())
    before = env.walls
    assert (env.step(1), env.walls) == (other.step(1), other.walls)
    assert len(before) - len(env.walls) == 1
    picture = env.render()
    assert picture.shape == (192, 288, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dyna-q --planning-steps -1", "--planning-steps must be >= 0, got -1"),
        ("dyna-q --model-outcomes 0", "--model-outcomes must be >= 1, got 0"),
        ("dyna-q --time-bonus -1", "--time-bonus must be >= 0, got -1"),
        (
            "dyna-q --objective average-reward",
            "must be one of discounted, finite-horizon, got average-reward",
        ),
        ("prioritized-sweeping --threshold -1", "--threshold must be >= 0, got -1"),
        ('dyna-q --env-options {"maze":"round"}', "maze must be one of fixed, blocking, shortcut"),
        ('dyna-q --env-options {"change_after":5}', "needs a maze that changes"),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split(), "--env", "gymnast/DynaMaze-v0", "--steps", "10"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error, error


def test_the_state_holds_the_model_and_the_queue() -> None:
    space, actions = spaces.Discrete(4), spaces.Discrete(2)
    agent = PrioritizedSweeping(space, actions, PrioritizedSweepingConfig())
    names = set(agent.state_dict()["tables"])
    assert {"model_successor", "model_now", "queue_heap", "queue_first", "q"} <= names
    take_in(agent.q[0], agent.model, agent.queue, 3, 1.0, 0.9, 2, np.ones((4, 2), np.bool_), True, 0.0)
    other = PrioritizedSweeping(space, actions, PrioritizedSweepingConfig(), seed=9)
    other.load_state_dict(agent.state_dict())
    for name, value in agent.state_dict()["tables"].items():
        assert torch.equal(value, other.state_dict()["tables"][name]), name
