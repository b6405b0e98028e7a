"""Tabular agents: one-step updates by hand, ends of episodes, windows and traces against naive versions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymnast.agents.base import Acted
from gymnast.agents.tabular import learners
from gymnast.agents.tabular.learners import (
    TD,
    DoubleQLearningConfig,
    ExpectedSarsaConfig,
    NStepSarsaConfig,
    QLearning,
    QLearningConfig,
    Sarsa,
    SarsaConfig,
    TDConfig,
)
from gymnast.envs.step import Step

STATES, ACTIONS = 4, 3
GREEDY = {"exploration": "greedy", "ties": "first"}
Move = tuple[int, int, float, int, bool, bool]  # state, action, reward, next state, terminated, truncated
CONTROL = ["QLearning", "Sarsa", "ExpectedSarsa", "DoubleQLearning", "NStepSarsa"]


def step_of(moves: list[Move], first: list[int] | None = None, **fields: Any) -> tuple[torch.Tensor, Acted, Step]:
    """What the loop would hand over for one move in each row; `first` is what rows see after an end."""
    state, action, reward, after, terminated, truncated = (list(column) for column in zip(*moves, strict=True))
    ended = torch.tensor(terminated) | torch.tensor(truncated)
    now = torch.where(ended, torch.tensor(first or [0] * len(moves)), torch.tensor(after))
    step = Step(
        obs=now,
        start=ended,
        next_obs=torch.tensor(after),
        reward=torch.tensor(reward, dtype=torch.float32),
        terminated=torch.tensor(terminated),
        truncated=torch.tensor(truncated),
        num_active=fields.pop("num_active", len(moves)),
        num_ended=int(ended.sum()),
        **fields,
    )
    return torch.tensor(state), Acted(torch.tensor(action)), step


def feed(agent: Any, moves: list[Move], first: list[int] | None = None, **fields: Any) -> float:
    obs, acted, step = step_of(moves, first, **fields)
    agent.store(obs, acted, step)
    assert agent.updates_due(agent.env_step) == 1
    return float(agent.learn()["td_error"])


def build(name: str, *, num_envs: int = 1, states: int = STATES, start: int = 0, **config: Any) -> Any:
    return getattr(learners, name)(
        gym.spaces.Discrete(states),
        gym.spaces.Discrete(ACTIONS, start=start),
        getattr(learners, f"{name}Config")(**{"alpha": 0.5, "gamma": 0.9, **config}),
        num_envs=num_envs,
        seed=0,
    )


def filled(name: str, **config: Any) -> Any:
    agent = build(name, **config)
    agent.q[:] = np.arange(agent.q.size).reshape(agent.q.shape)  # Q(s, a) = 3 s + a
    return agent


# One-step updates by hand: from Q(1, 0) = 3, reward 2, to state 2 with Q = 6, 7, 8


def test_q_learning_by_hand() -> None:
    agent = filled("QLearning")
    error = feed(agent, [(1, 0, 2.0, 2, False, False)])
    assert error == pytest.approx(2 + 0.9 * 8 - 3)
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * 6.2)
    assert agent.counts[1, 0] == agent.env_step == agent.updates == 1


def test_sarsa_by_hand() -> None:
    agent = filled("Sarsa", **GREEDY)
    assert feed(agent, [(1, 0, 2.0, 2, False, False)]) == 0.0  # the next action is not known yet
    assert agent.q[0, 1, 0] == 3
    feed(agent, [(2, 1, 0.0, 3, False, False)])
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * 7 - 3))
    assert agent.q[0, 2, 1] == 7


def test_sarsa_draws_the_bootstrap_of_a_cut_before_the_update_that_waits() -> None:
    """The update of (1, 0) lowers it below (1, 1): drawn after that, the final state 1 would be worth Q(1, 1) = 4."""
    agent = filled("Sarsa", **GREEDY)
    agent.q[0, 1] = [5.0, 4.0, -9.0]
    agent.q[0, 2, 1] = 0.0
    feed(agent, [(1, 0, -9.0, 2, False, False)])
    feed(agent, [(2, 1, 1.0, 1, False, True)])
    lowered = 5.0 + 0.5 * (-9.0 + 0.9 * 0.0 - 5.0)  # -2, now the worst action
    assert agent.q[0, 1].tolist() == pytest.approx([lowered, 4.0, -9.0])
    assert agent.q[0, 2, 1] == pytest.approx(0.5 * (1.0 + 0.9 * lowered))  # of the action 0, drawn when it was the best


def test_expected_sarsa_by_hand() -> None:
    agent = filled("ExpectedSarsa", epsilon=0.3)
    feed(agent, [(1, 0, 2.0, 2, False, False)])
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * (0.7 * 8 + 0.3 * 7) - 3))
    agent = filled("ExpectedSarsa", exploration="boltzmann", temperature=2.0)
    feed(agent, [(1, 0, 2.0, 2, False, False)])
    weight = np.exp(np.array([6, 7, 8]) / 2)
    mean = (weight * [6, 7, 8]).sum() / weight.sum()
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * mean - 3))


def test_double_q_learning_by_hand() -> None:
    agent = build("DoubleQLearning", **GREEDY)
    agent.q[0, 2], agent.q[1, 2] = [5, 1, 0], [2, 7, 9]
    coin = np.random.default_rng()
    coin.bit_generator.state = agent.rng.bit_generator.state
    table = 0 if coin.random() < 0.5 else 1
    feed(agent, [(1, 0, 2.0, 2, False, False)])
    other = 2 if table == 0 else 0  # the other table's value of this one's best action
    assert agent.q[table, 1, 0] == pytest.approx(0.5 * (2 + 0.9 * other))
    assert agent.q[1 - table, 1, 0] == 0
    np.testing.assert_allclose(agent.q_table(), agent.q.mean(0))


def test_td_by_hand() -> None:
    agent = build("TD")
    agent.q[0, :, 0] = [0, 1, 4, 0]
    feed(agent, [(1, 2, 2.0, 2, False, False)])
    np.testing.assert_allclose(agent.value_table(), [0, 1 + 0.5 * (2 + 0.9 * 4 - 1), 4, 0])


def test_count_bonus_in_the_bootstrap() -> None:
    agent = filled("QLearning", exploration="count", kappa=6.0, bootstrap_bonus=True)
    agent.counts[2] = [0, 1, 5]  # 6 + 6, 7 + 3, 8 + 1
    feed(agent, [(1, 0, 2.0, 2, False, False)])
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * 12 - 3))


def test_rows_see_each_other_in_order() -> None:
    agent = filled("QLearning", num_envs=2)
    feed(agent, [(2, 2, 0.0, 3, False, False), (1, 0, 2.0, 2, False, False)])
    best = 8 + 0.5 * (0.9 * 11 - 8)
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * best - 3))


# Ends of episodes


@pytest.mark.parametrize("name", [*CONTROL, "TD"])
@pytest.mark.parametrize("end", range(5))
def test_terminated_and_truncated_at_every_index(name: str, end: int) -> None:
    """A one-state environment, value 10: the last target is r when terminated, r + gamma * 10 when truncated."""
    for terminated, truncated, target in ((True, False, 1.0), (False, True, 10.0), (True, True, 1.0)):
        agent = build(name, states=1, alpha=1.0, **({} if name == "TD" else {"epsilon": 0.0}))
        agent.q[:] = 10.0
        for index in range(end + 1):
            last = index == end
            feed(agent, [(0, 0, 1.0, 0, terminated and last, truncated and last)])
        value = agent.q[:, 0, 0].min()  # either table of double Q-learning, 10 everywhere until the end
        assert value == pytest.approx(target)
        assert agent.env_step == end + 1


@pytest.mark.parametrize("name", CONTROL)
def test_no_transition_is_lost_at_ends(name: str) -> None:
    agent = build(name, epsilon=0.0)
    rng = np.random.default_rng(0)
    updates, learn_row = [0], agent._learn_row

    def counted(*arguments: Any) -> Any:
        errors, done = learn_row(*arguments)
        updates[0] += done
        return errors, done

    agent._learn_row = counted
    for episode in range(30):
        length = int(rng.integers(1, 7))
        for index in range(length):
            last = index == length - 1
            cut = last and episode % 2 == 0
            feed(agent, [(int(rng.integers(4)), int(rng.integers(3)), 1.0, 0, last and not cut, cut)])
    assert updates[0] == agent.env_step


def test_inactive_rows_are_skipped() -> None:
    agent = filled("QLearning", num_envs=2)
    before = agent.q.copy()
    moves = [(1, 0, 2.0, 2, False, False), (2, 0, 5.0, 3, False, False)]
    feed(agent, moves, active=torch.tensor([False, True]), num_active=1)
    assert agent.q[0, 1, 0] == before[0, 1, 0]
    assert agent.q[0, 2, 0] != before[0, 2, 0]
    assert agent.env_step == agent.counts.sum() == 1


# n-step windows and traces against naive versions


def episodes(seed: int, count: int = 12) -> list[list[Move]]:
    """Random episodes of 1 to 8 steps that terminate or are cut off."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(count):
        length = int(rng.integers(1, 9))
        states = rng.integers(STATES, size=length + 1)
        actions, rewards = rng.integers(ACTIONS, size=length), rng.normal(size=length).astype(np.float32)
        last = [index == length - 1 for index in range(length)]
        result.append(
            [
                (
                    int(states[i]),
                    int(actions[i]),
                    float(rewards[i]),
                    int(states[i + 1]),
                    last[i] and number % 2 == 0,
                    last[i] and number % 2 == 1,
                )
                for i in range(length)
            ]
        )
    return result


def n_step_oracle(runs: list[list[Move]], n: int, alpha: float, gamma: float) -> np.ndarray:
    """n-step SARSA over whole episodes (Sutton & Barto 2018, eq. 7.4).

    The greedy action that a cut bootstraps from is chosen as the last step arrives, before that step's update.
    """
    q = np.zeros((STATES, ACTIONS))
    for moves in runs:
        length, last_action = len(moves), 0
        _, _, _, final, terminated, _ = moves[-1]
        for start in range(length):
            if start == max(length - 1 - n, 0):
                last_action = int(q[final].argmax())
            end = min(start + n, length)
            target = sum(gamma ** (i - start) * moves[i][2] for i in range(start, end))
            if end < length:
                target += gamma ** (end - start) * q[moves[end][0], moves[end][1]]
            elif not terminated:
                target += gamma ** (end - start) * q[final, last_action]
            state, action = moves[start][:2]
            q[state, action] += alpha * (target - q[state, action])
    return q


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20])
def test_n_step_sarsa_equals_oracle(n: int) -> None:
    runs = episodes(n)
    agent = build("NStepSarsa", n_step=n, **GREEDY)
    for moves in runs:
        for move in moves:
            feed(agent, [move])
    np.testing.assert_allclose(agent.q[0], n_step_oracle(runs, n, 0.5, 0.9), atol=1e-12)
    assert agent.window.length.tolist() == [0]
    if n == 1:
        sarsa = build("Sarsa", **GREEDY)
        for moves in runs:
            for move in moves:
                feed(sarsa, [move])
        np.testing.assert_array_equal(sarsa.q, agent.q)


def trace_oracle(name: str, runs: list[list[Move]], decay: float, *, replacing: bool) -> np.ndarray:
    """Backward view with a dense eligibility array (Sutton & Barto 2018, chapter 12); alpha 0.5, gamma 0.9."""
    q = np.zeros((STATES, 1 if name == "TD" else ACTIONS))
    for moves in runs:
        eligibility = np.zeros_like(q)
        last_action = 0
        for index, (state, action, reward, after, terminated, _) in enumerate(moves):
            action = 0 if name == "TD" else action
            if name == "Sarsa":
                if index == max(len(moves) - 2, 0):
                    last_action = int(q[moves[-1][3]].argmax())
                known = index + 1 < len(moves)
                value = q[moves[index + 1][0], moves[index + 1][1]] if known else q[after, last_action]
            else:
                value = q[after].max()
            error = reward + 0.9 * (1 - terminated) * value - q[state, action]
            if name == "QLearning" and q[state, action] < q[state].max():
                eligibility[:] = 0.0
            eligibility[state, action] = 1.0 if replacing else eligibility[state, action] + 1.0
            q += 0.5 * error * eligibility
            eligibility *= 0.9 * decay
    return q


@pytest.mark.parametrize("replacing", [True, False])
@pytest.mark.parametrize("name", ["QLearning", "Sarsa", "ExpectedSarsa", "TD"])
def test_traces_equal_oracle(name: str, replacing: bool) -> None:
    runs = episodes(7)
    kind = "replacing" if replacing else "accumulating"
    agent = build(name, trace_decay=0.8, trace=kind, **({} if name == "TD" else GREEDY))
    for moves in runs:
        for move in moves:
            feed(agent, [move])
    np.testing.assert_allclose(agent.q[0], trace_oracle(name, runs, 0.8, replacing=replacing), atol=1e-9)
    assert not agent.traces.eligibility.any()  # the last episode has ended


def test_traces_of_rows_are_apart() -> None:
    runs = episodes(3, 2)
    length = min(map(len, runs))
    agent = build("QLearning", num_envs=2, trace_decay=0.9)
    agent.q[:] = 1.0
    for index in range(length):
        feed(agent, [runs[0][index], runs[1][index]])
    for row, moves in enumerate(runs):
        visited = {move[0] * ACTIONS + move[1] for move in moves[:length]}
        assert set(np.flatnonzero(agent.traces.eligibility[row])) <= visited


# Objectives


def test_finite_horizon_counts_its_steps() -> None:
    agent = build("QLearning", objective="finite-horizon", horizon=2, gamma=1.0, alpha=1.0)
    assert agent.q_table().shape == (2, STATES, ACTIONS)
    for _ in range(2):  # the second episode sees what the first learned of the second step
        feed(agent, [(0, 0, 1.0, 1, False, False)])
        feed(agent, [(1, 0, 2.0, 2, False, False)])
        feed(agent, [(2, 0, 5.0, 3, False, True)], first=[0])
    q = agent.q_table()
    assert q[0, 0, 0] == 3.0  # two steps to go: 1 + 2
    assert q[1, 1, 0] == 2.0  # one step to go, nothing beyond
    assert q[1, 2, 0] == 5.0  # past the horizon counts as the last step
    assert agent.clock.tolist() == [0]


def test_average_reward_of_a_cycle() -> None:
    # 0 -> 1 -> end pays 1 and 3: 2 a step; differential values differ by 1
    agent = build("QLearning", objective="average-reward", alpha=0.1, average_step=0.1)
    for _ in range(4000):
        feed(agent, [(0, 0, 1.0, 1, False, False)])
        feed(agent, [(1, 0, 3.0, 2, True, False)], first=[0])
    assert agent.average[0] == pytest.approx(2.0, abs=1e-3)
    assert agent.scheduled()["average_reward"] == agent.average[0]
    assert agent.q[0, 1, 0] - agent.q[0, 0, 0] == pytest.approx(1.0, abs=1e-3)


# Acting


def test_actions_honour_the_start_of_the_space() -> None:
    agent = build("Sarsa", start=7, epsilon=1.0)
    actor = agent.actor(50, explore=True, seed=0)
    action = actor.act(torch.zeros(50, dtype=torch.int64), torch.ones(50).bool()).action
    assert action.dtype == torch.int64
    assert set(action.tolist()) == {7, 8, 9}
    feed(agent, [(0, 9, 1.0, 1, True, False)])
    assert agent.q[0, 0].tolist() == [0, 0, 0.5]


def test_evaluation_is_greedy_and_changes_nothing() -> None:
    agent = filled("QLearning", epsilon=1.0)
    before = agent.state_dict()
    actor = agent.actor(4, explore=False, seed=0)
    assert actor.act(torch.arange(4), torch.ones(4).bool()).action.tolist() == [2, 2, 2, 2]
    assert torch.equal(before["tables"]["q"], agent.state_dict()["tables"]["q"])
    assert before["rng"] == agent.state_dict()["rng"]


def test_masks_bind_acting_and_bootstrap() -> None:
    agent = filled("QLearning", epsilon=1.0)
    mask = torch.tensor([[True, True, False]])
    actor = agent.actor(1, explore=True, seed=0)
    chosen = {actor.act(torch.tensor([2]), torch.tensor([False]), mask).action.item() for _ in range(60)}
    assert chosen == {0, 1}
    feed(agent, [(1, 0, 2.0, 2, False, False)], action_mask=mask, next_action_mask=mask)
    assert agent.q[0, 1, 0] == pytest.approx(3 + 0.5 * (2 + 0.9 * 7 - 3))
    assert agent.q_table()[2].tolist() == [6.0, 7.0, -np.inf]
    free = filled("QLearning", epsilon=1.0, action_masks=False)
    actor = free.actor(1, explore=True, seed=0)
    chosen = {actor.act(torch.tensor([2]), torch.tensor([False]), mask).action.item() for _ in range(60)}
    assert chosen == {0, 1, 2}


def test_td_follows_the_stated_policy(tmp_path: Any) -> None:
    policy = np.array([[0.0, 0.25, 0.75]] * STATES)
    np.save(tmp_path / "policy.npy", policy)
    agent = build("TD", policy=str(tmp_path / "policy.npy"))
    actions = agent.actor(4000, explore=True, seed=0).act(torch.zeros(4000).long(), torch.ones(4000).bool()).action
    np.testing.assert_allclose(torch.bincount(actions, minlength=3).numpy() / 4000, policy[0], atol=0.03)
    np.save(tmp_path / "policy.npy", policy[:2])
    with pytest.raises(ValueError, match="must have shape"):
        build("TD", policy=str(tmp_path / "policy.npy"))
    with pytest.raises(ValueError, match="policy must be uniform"):
        build("TD", policy="best")


# States and errors


@pytest.mark.parametrize("name", [*CONTROL, "TD"])
def test_state_round_trip(name: str) -> None:
    agents = [build(name, num_envs=2) for _ in range(2)]
    for moves in zip(episodes(1)[0], episodes(2)[1], strict=False):
        feed(agents[0], list(moves))
    agents[1].load_state_dict(agents[0].state_dict())
    for moves in zip(episodes(3)[2], episodes(4)[3], strict=False):
        assert feed(agents[0], list(moves)) == feed(agents[1], list(moves))
    left, right = agents[0].state_dict(), agents[1].state_dict()
    assert all(torch.equal(left["tables"][key], right["tables"][key]) for key in left["tables"])
    assert left["rng"] == right["rng"]
    with pytest.raises(ValueError, match="shape"):
        build(name, states=7).load_state_dict(left)
    other = build(name, num_envs=5)  # other rows: what waits in episodes is left out, the table is not
    other.load_state_dict(left)
    assert torch.equal(other.state_dict()["tables"]["q"], left["tables"]["q"])


def test_a_stored_step_must_be_learned_before_it_is_saved() -> None:
    agent = build("QLearning")
    agent.store(*step_of([(0, 0, 1.0, 1, False, False)]))
    with pytest.raises(ValueError, match="call learn"):
        agent.state_dict()


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (QLearningConfig, {"alpha": float("nan")}, "alpha must be between 0 and 1"),
        (QLearningConfig, {"alpha": 1.5}, "alpha must be between 0 and 1"),
        (QLearningConfig, {"gamma": -0.1}, "gamma must be between 0 and 1"),
        (SarsaConfig, {"epsilon": "liner:1:0:5"}, "did you mean linear"),
        (SarsaConfig, {"temperature": 0.0}, "temperature must be"),
        (QLearningConfig, {"horizon": 5}, "horizon needs objective"),
        (QLearningConfig, {"objective": "finite-horizon"}, "horizon needs objective"),
        (QLearningConfig, {"objective": "finite-horizon", "horizon": 0}, "horizon must be >= 1"),
        (QLearningConfig, {"exploration": "softmax"}, "exploration must be one of"),
        (QLearningConfig, {"bootstrap_bonus": True}, "bootstrap_bonus needs"),
        (QLearningConfig, {"trace_decay": 1.1}, "trace_decay must be"),
        (QLearningConfig, {"initial_q": float("inf")}, "initial_q must be finite"),
        (ExpectedSarsaConfig, {"exploration": "thompson"}, "exploration thompson does not have"),
        (NStepSarsaConfig, {"n_step": 0}, "n_step must be >= 1, got 0"),
        (DoubleQLearningConfig, {"kappa": -1.0}, "kappa must be >= 0"),
        (TDConfig, {"trace": "dutch"}, "trace must be"),
    ],
)
def test_bad_options(config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_spaces_that_do_not_fit() -> None:
    for agent_class, config in ((QLearning, QLearningConfig()), (Sarsa, SarsaConfig()), (TD, TDConfig())):
        with pytest.raises(ValueError, match="needs Discrete actions"):
            agent_class(gym.spaces.Discrete(2), gym.spaces.Box(-1, 1), config)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="finite bounds"):
            agent_class(gym.spaces.Box(-np.inf, np.inf, (2,)), gym.spaces.Discrete(2), config)  # type: ignore[arg-type]
