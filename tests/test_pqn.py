"""PQN: Q(lambda) targets against a loop, gradients against autograd, exploration, masks, resuming, and learning."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gymnast.agents import PQN, PQNConfig
from gymnast.agents.base import Acted, LearningError
from gymnast.agents.maths.returns import lambda_returns
from gymnast.envs import Step, make
from gymnast.envs.native.adapter import NativeEnv
from gymnast.evaluation.play import evaluate
from gymnast.training.episodes import EndedEpisodes
from gymnast.training.loop import Loop
from gymnast.training.rollout_loop import DeviceRollout, RolloutAgent

BOX, ACTIONS = spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Discrete(4)
SMALL = PQNConfig(rollout_steps=6, epochs=2, minibatches=3, hidden_sizes=(8,), gamma=0.9, td_lambda=0.7)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(
    config: PQNConfig = SMALL,
    *,
    rows: int = 3,
    ends: tuple[tuple[int, str], ...] = (),
    masks: bool = False,
    space: spaces.Discrete = ACTIONS,
    lives: Tensor | None = None,
) -> tuple[PQN, list[Step]]:
    """An agent with a full rollout of random steps; row 0 ends at the steps and in the ways of `ends`."""
    agent, draws = PQN(BOX, space, config, num_envs=rows, seed=1), generator(2)
    actor, steps = agent.actor(rows, explore=True, seed=3), []
    obs, start = torch.randn(rows, 3, generator=draws), torch.ones(rows, dtype=torch.bool)
    mask = torch.rand(rows, 4, generator=draws) < 0.6 if masks else None
    for t in range(config.rollout_steps):
        acted = actor.act(obs, start, mask)
        flags = {how: torch.zeros(rows, dtype=torch.bool) for how in ("terminated", "truncated")}
        for index, how in ends:
            flags[how][0] = index == t
        ended = flags["terminated"] | flags["truncated"]
        final, fresh = torch.randn(rows, 3, generator=draws), torch.randn(rows, 3, generator=draws)
        final_mask, fresh_mask = (torch.rand(rows, 4, generator=draws) < 0.6 for _ in range(2))
        final_mask[flags["terminated"]] = False  # no action is allowed in a terminal state
        following = torch.where(ended.unsqueeze(1), fresh, final)
        mask = torch.where(ended.unsqueeze(1), fresh_mask, final_mask) if masks else None
        reward = torch.randn(rows, generator=draws)
        step = Step(following, ended, final, reward, **flags, num_active=rows, num_ended=int(ended.sum()))
        step.action_mask, step.next_action_mask = mask, final_mask if masks else None
        step.lives = None if lives is None else lives[t]
        agent.store(obs, acted, step)
        steps.append(step)
        obs, start = following, ended
    return agent, steps


def looped(agent: PQN, steps: list[Step]) -> Tensor:
    """The targets step by step, [T, N], with all values from the network as it is."""
    config, target = agent.config, torch.zeros(len(steps), agent.num_envs)
    for n in range(agent.num_envs):
        for t in reversed(range(len(steps))):
            step = steps[t]
            q = agent.network(step.next_obs)[n, :, 0].detach()  # type: ignore[index]
            if step.next_action_mask is not None:  # a row that allows nothing takes the first action
                q = q[step.next_action_mask[n]] if step.next_action_mask[n].any() else q[:1]
            bootstrap, lam = float(q.max()), config.td_lambda
            if t == len(steps) - 1 or step.truncated[n]:
                following = bootstrap
            else:
                following = (1 - lam) * bootstrap + lam * float(target[t + 1, n])
            target[t, n] = step.reward[n] + config.gamma * (not step.terminated[n]) * following
    return target


ENDS = [((t, how),) for t in range(6) for how in ("terminated", "truncated")]
SEVERAL = [
    ((0, "truncated"), (1, "terminated"), (2, "truncated"), (5, "truncated")),
    ((3, "terminated"), (3, "truncated")),
]


@pytest.mark.parametrize("ends", [(), *ENDS, *SEVERAL])
@pytest.mark.parametrize("masks", [False, True])
def test_targets_are_those_of_a_loop(ends: Any, masks: bool) -> None:
    agent, steps = filled(ends=ends, masks=masks)
    targets = agent.targets()
    torch.testing.assert_close(targets, looped(agent, steps), rtol=1e-5, atol=1e-5)
    agent.device = torch.device("cuda")  # what is computed where the host knows nothing of ends
    torch.testing.assert_close(agent.targets(), targets, rtol=1e-5, atol=1e-5)


def test_targets_by_hand() -> None:
    """Rewards 1, 2, 4, 8 and values 10, 20, 30, 40 of the successors; the second step is truncated."""
    column = [torch.tensor(values).unsqueeze(1) for values in ([1.0, 2, 4, 8], [0.5] * 4, [10.0, 20, 30, 40])]
    boundary = torch.tensor([False, True, False, False]).unsqueeze(1)
    last = 8 + 0.5 * 40
    third = 4 + 0.5 * (0.75 * 30 + 0.25 * last)
    second = 2 + 0.5 * 20
    first = 1 + 0.5 * (0.75 * 10 + 0.25 * second)
    assert lambda_returns(*column, boundary, 0.25).flatten().tolist() == [first, second, third, last]


def test_lambda_0_is_one_step_q_learning_and_1_is_monte_carlo() -> None:
    agent, steps = filled(replace(SMALL, td_lambda=0.0), ends=((2, "terminated"),))
    q = torch.stack([agent.network(step.next_obs)[..., 0].amax(1) for step in steps])  # [T, N]
    reward = torch.stack([step.reward for step in steps])
    kept = 0.9 * (1.0 - torch.stack([step.terminated for step in steps]).float())
    torch.testing.assert_close(agent.targets(), reward + kept * q, rtol=1e-5, atol=1e-6)
    agent, _ = filled(replace(SMALL, td_lambda=1.0), ends=((5, "terminated"),))
    returns = [float((0.9 ** torch.arange(6 - t) * reward[t:, 0]).sum()) for t in range(6)]
    torch.testing.assert_close(agent.targets()[:, 0], torch.tensor(returns), rtol=1e-5, atol=1e-6)


def test_rewards_are_clipped_before_they_are_scaled() -> None:
    agent, steps = filled(replace(SMALL, gamma=0.0, clip_rewards=True, reward_scale=0.5))
    reward = torch.stack([step.reward for step in steps])
    assert reward.abs().max() > 1.0
    torch.testing.assert_close(agent.targets(), 0.5 * reward.clamp(-1.0, 1.0))


def test_a_lost_life_is_a_terminal_state_to_the_learner() -> None:
    lives = torch.tensor([[3, 3, 3], [2, 3, 3], [2, 3, 3], [2, 3, 3], [2, 3, 2], [2, 3, 2]])
    agent, steps = filled(replace(SMALL, life_loss=True), lives=lives)
    reward, targets = torch.stack([step.reward for step in steps]), agent.targets()
    assert (targets == reward).nonzero().tolist() == [[1, 0], [4, 2]]
    with pytest.raises(LearningError, match="reports lives"):
        filled(replace(SMALL, life_loss=True))


def test_ignored_rows_have_no_weight() -> None:
    """What lies in them changes no weight of the network."""
    ended = []
    for reward in (0.0, 1e3):
        agent, _ = filled(replace(SMALL, minibatches=1, epochs=1))
        agent.rollout.weight[2, 1] = 0.0
        agent.rollout.fields["ended"][1, 1] = agent.rollout.fields["terminated"][1, 1] = True
        agent.rollout.fields["reward"][2, 1] = reward
        agent.learn()
        ended.append(agent.weights.data.clone())
    assert torch.equal(*ended)


def test_every_step_is_learned_from_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, _ = filled()
    seen: list[Tensor] = []
    monkeypatch.setattr(agent, "_update", lambda batch, noise: (seen.append(batch.gathered().target), {}))
    targets = agent.targets().flatten().sort().values
    agent.learn()
    assert len(seen) == 6
    assert agent.updates == 6
    assert all(torch.equal(torch.cat(part).sort().values, targets) for part in (seen[:3], seen[3:]))
    assert not torch.equal(seen[0], seen[3])


def test_epsilon_and_step_size_are_those_of_the_step_a_rollout_began_at() -> None:
    config = replace(SMALL, epsilon="linear:1:0:36", learning_rate="linear:0.1:0:36")
    agent, _ = filled(config)
    assert float(agent.exploration) == 1.0
    assert agent.scheduled() == {"epsilon": 0.5, "learning_rate": 0.05}
    place = agent.exploration.data_ptr()
    agent.learn()
    assert agent.optimizer.param_groups[0]["lr"] == 0.1
    assert (float(agent.exploration), agent.exploration.data_ptr()) == (0.5, place)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("start", [0, 7])
def test_random_actions_are_uniform_among_the_allowed(epsilon: float, start: int) -> None:
    rows, space = 20_000, spaces.Discrete(4, start=start)
    agent = PQN(BOX, space, replace(SMALL, epsilon=epsilon), num_envs=rows)
    obs, mask = torch.ones(rows, 3), torch.tensor([[True, False, True, True]]).expand(rows, 4)
    q = agent.network(obs[:1])[0, :, 0].detach()
    for allowed in (None, mask):
        acted = agent.actor(rows, explore=True, seed=0).act(obs, torch.ones(rows, dtype=torch.bool), allowed)
        choices = range(4) if allowed is None else (0, 2, 3)
        best = max(choices, key=lambda a: float(q[a]))
        share = (acted.action - start).bincount(minlength=4) / rows
        for action in range(4):
            expected = epsilon / len(choices) * (action in choices) + (1 - epsilon) * (action == best)
            assert abs(float(share[action]) - expected) < 0.015
        assert acted.raw is not None
        assert torch.equal(acted.raw + start, acted.action)
        assert acted.value is not None
        torch.testing.assert_close(acted.value, q[best].expand(rows, 1))


def test_a_row_that_allows_nothing_has_a_finite_value() -> None:
    agent = PQN(BOX, ACTIONS, SMALL)
    value, action = agent.best(torch.ones(2, 3), torch.zeros(2, 4, dtype=torch.bool))
    assert value.isfinite().all()
    assert action.tolist() == [0, 0]


def test_masks_may_be_ignored() -> None:
    agent, _ = filled(replace(SMALL, action_masks=False, epsilon=1.0), masks=True)
    assert "next_mask" not in agent.rollout.fields
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    acted = agent.actor(3, explore=False, seed=0).act(torch.ones(3, 3), nothing[:, 0], nothing)
    assert torch.equal(acted.action, agent.network(torch.ones(3, 3))[..., 0].argmax(1))


class NothingRead(TorchDispatchMode):
    """Fails where a value is read on the host, or a shape depends on one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        assert not any(part in name for part in ("_local_scalar_dense", "nonzero", "masked_select", "equal.")), name
        return function(*args, **(kwargs or {}))


def test_acting_storing_and_targets_read_nothing_on_the_host() -> None:
    env = make("gymnast/CartPole-v1", 4)
    agent = PQN(env.single_observation_space, env.single_action_space, SMALL, num_envs=4)
    actor = agent.actor(4, explore=True, seed=0)
    agent.device = torch.device("cuda")  # the code that runs there
    obs, start = env.obs, env.start
    steps = []
    for _ in range(6):
        action = torch.randint(2, (4,))
        step = env.step(action)
        steps.append((obs, start, replace_ended(step)))
        obs, start = step.obs, step.start
    with NothingRead():
        for obs, start, step in steps:
            agent.store(obs, actor.act(obs, start), step)
        assert agent.targets().shape == (6, 4)
    with pytest.raises(AssertionError, match="nonzero"), NothingRead():
        torch.ones(2).nonzero()


def replace_ended(step: Step) -> Step:
    """As a GPU tells it."""
    step.num_ended = None
    return step


def test_a_rollout_as_one_function_learns_the_same() -> None:
    loops = []
    for _ in range(2):
        env = make("gymnast/CartPole-v1", 5, seed=3)
        agent = PQN(env.single_observation_space, env.single_action_space, SMALL, num_envs=5, seed=5)
        env.reset()
        loops.append(Loop(agent, agent.actor(5, explore=True, seed=7), env))
    plain, other = loops
    assert isinstance(other.agent, RolloutAgent)
    assert isinstance(other.env, NativeEnv)
    other.episodes.on_device = ended = EndedEpisodes(100, device=other.env.device)
    rollout = DeviceRollout(other.agent, other.actor, other.env, ended, record=True)
    rollout._play = lambda generators: rollout._steps()  # type: ignore[assignment]
    plain.advance(600, lambda: False)
    other._advance_by_rollouts(rollout, 600, lambda: False)
    assert plain.env_step == other.env_step == other.agent.env_step == 600
    assert torch.equal(plain.agent.weights.data, other.agent.weights.data)  # type: ignore[attr-defined]


def test_a_state_goes_round_and_the_next_updates_are_the_same() -> None:
    agent, _ = filled(ends=((2, "truncated"),))
    agent.learn()
    kept = io.BytesIO()
    torch.save(agent.state_dict(), kept)
    other = PQN(BOX, ACTIONS, SMALL, num_envs=3, seed=99)
    kept.seek(0)
    other.load_state_dict(torch.load(kept, weights_only=True))
    assert (other.env_step, other.updates, float(other.exploration)) == (18, 6, float(agent.exploration))
    begun, steps = filled()
    for agents in (agent, other):
        for t, step in enumerate(steps):
            fields = begun.rollout.fields
            agents.store(
                fields["obs"][t], Acted(fields["action"][t], None, fields["value"][t], raw=fields["action"][t]), step
            )
        agents.learn()
    assert torch.equal(agent.weights.data, other.weights.data)
    without = {name: part for name, part in agent.state_dict().items() if name != "replay"}
    other.load_state_dict(without)
    assert other.rollout.length == 0


def test_evaluation_leaves_the_agent_as_it_was() -> None:
    env = make("gymnast/Catch-v0", 2)
    agent = PQN(env.single_observation_space, env.single_action_space, SMALL, num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    env.reset()
    loop.advance(10, lambda: False)
    before = io.BytesIO()
    torch.save(agent.state_dict(), before)
    first = evaluate(agent, make("gymnast/Catch-v0", 2), episodes=5, seed=1, name="pqn")
    after = io.BytesIO()
    torch.save(agent.state_dict(), after)
    assert before.getvalue() == after.getvalue()
    assert evaluate(agent, make("gymnast/Catch-v0", 3), episodes=5, seed=1, name="pqn").returns == first.returns


REFUSED: dict[str, Callable[[], Any]] = {
    "pqn needs Discrete actions, got Box": lambda: PQN(BOX, spaces.Box(-1, 1, (2,))),
    "minibatches must be <= 6": lambda: PQN(BOX, ACTIONS, replace(SMALL, minibatches=7)),
    "cuda_graphs needs device cuda": lambda: PQN(BOX, ACTIONS, replace(SMALL, cuda_graphs=True)),
    "td_lambda must be between 0 and 1, got 2": lambda: replace(SMALL, td_lambda=2),
    "epochs must be >= 1, got 0": lambda: replace(SMALL, epochs=0),
    "reward_scale must be > 0, got 0": lambda: replace(SMALL, reward_scale=0),
    "init must be one of": lambda: replace(SMALL, init="zero"),  # type: ignore[arg-type]
    "epsilon must be between 0 and 1": lambda: replace(SMALL, epsilon=1.5),
    "optimizer must be one of": lambda: replace(SMALL, optimizer="radem"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        REFUSED[message]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("env_id", "best"), [("gymnast/Catch-v0", 0.95), ("gymnast/Chain-v0", 0.99)])
def test_it_solves_small_environments(env_id: str, best: float) -> None:
    config = PQNConfig(rollout_steps=16, epochs=2, minibatches=4, hidden_sizes=(32,), epsilon="linear:1:0.1:4000")
    config = replace(config, learning_rate="linear:3e-3:0:12000")
    env = make(env_id, 8, seed=0)
    agent = PQN(env.single_observation_space, env.single_action_space, config, num_envs=8, seed=0)
    loop = Loop(agent, agent.actor(8, explore=True, seed=0), env)
    env.reset()
    loop.advance(12_000, lambda: False)
    assert evaluate(agent, make(env_id, 8, seed=1), episodes=50, seed=2, name="pqn").mean_return >= best
