"""The interfaces that only some agents have: which of gymnast's agents have which, and that others do without."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gymnast import TrainOptions, train
from gymnast.agents import CLASSES
from gymnast.agents.base import (
    ActionValueTable,
    AsynchronousConfig,
    CompiledConfig,
    ConfiguredAgent,
    CudaGraphsConfig,
    EpsilonGreedyAgent,
    HostAgent,
    Planner,
    ReplayAgent,
    StateValueTable,
    VisitCounts,
    WorldModel,
)
from gymnast.agents.policy.hogwild import SharingAgent
from gymnast.envs import make
from gymnast.settings.agents import agent_class, default_config
from gymnast.storage.metrics_log import read
from gymnast.training.rollout_loop import RolloutActor, RolloutAgent

MODEL_BASED = {"dyna-q", "prioritized-sweeping"}
TABLES = {"q-learning", "sarsa", "expected-sarsa", "double-q-learning", "n-step-sarsa", "td", *MODEL_BASED}
PLANNERS, BANDITS = {"value-iteration", "policy-iteration"}, {"ucb", "thompson"}
ACTOR_CRITICS = {"ppo"}
WHO: dict[Any, set[str]] = {
    Planner: PLANNERS,
    ActionValueTable: TABLES | PLANNERS | BANDITS,
    StateValueTable: {"td"},
    VisitCounts: TABLES | BANDITS,
    HostAgent: TABLES | PLANNERS | BANDITS,
    EpsilonGreedyAgent: {"dqn", "pqn"},
    ReplayAgent: {"dqn", "dreamer", "iris", "sac", "world-models"},
    WorldModel: {"dreamer", "iris", "world-models"},
    RolloutAgent: {"ppo", "pqn"},
    SharingAgent: ACTOR_CRITICS,
    ConfiguredAgent: set(CLASSES),
}
CONFIGS: dict[Any, set[str]] = {
    CompiledConfig: {"dqn", "pqn", "ppo", "reinforce", "sac"},
    CudaGraphsConfig: {"dreamer", "dqn", "pqn", "ppo", "sac"},
    AsynchronousConfig: ACTOR_CRITICS | {"es", "ga", "hill-climbing"},
}


def built(name: str) -> Any:
    env = make("gymnast/Bandit-v0" if name in BANDITS else "gymnast/Chain-v0")
    return agent_class(name)(env.single_observation_space, env.single_action_space, default_config(name))


@pytest.mark.parametrize("name", CLASSES)
def test_which_agents_have_which_interfaces(name: str) -> None:
    agent = built(name)
    for interface, names in WHO.items():
        assert isinstance(agent, interface) == (name in names), interface
    for interface, names in CONFIGS.items():
        assert isinstance(agent.config, interface) == (name in names), interface
    assert isinstance(agent.actor(1, explore=False, seed=0), RolloutActor) == (name in {"ppo", "pqn", "reinforce"})


class Bare:
    """No more than what every agent has."""

    env_step = updates = 0

    def store(self, obs: Any, acted: Any, step: Any) -> None: ...


def test_a_bare_agent_has_none_of_them() -> None:
    assert not [interface for interface in WHO if isinstance(Bare(), interface)]
    assert not issubclass(Bare, Planner)


@pytest.mark.parametrize(("name", "changes"), [("dqn", {}), ("r2d2", {"memory_size": 8}), ("pqn", {})])
def test_an_actor_with_an_epsilon_of_its_own(name: str, changes: dict[str, Any]) -> None:
    env = make("gymnast/Catch-v0", 8)
    obs, start = env.reset(), torch.ones(8, dtype=torch.bool)
    config = default_config(name)
    agent: Any = agent_class(name)(env.single_observation_space, env.single_action_space, config, num_envs=8)

    def actions(actor: Any) -> torch.Tensor:
        return torch.stack([actor.act(obs, start).action for _ in range(200)])  # [200, 8]

    greedy = actions(agent.actor(8, explore=False, seed=1))
    assert (greedy == greedy[0]).all()
    assert torch.equal(actions(agent.epsilon_greedy(8, epsilon=0.0, seed=1)), greedy)
    other = (actions(agent.epsilon_greedy(8, epsilon=0.6, seed=1)) != greedy).float().mean().item()
    assert other == pytest.approx(0.6 * 2 / 3, abs=0.05)  # one of three actions is the greedy one
    assert agent.config == config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "env", "logged"), [("ucb", "gymnast/Bandit-v0", True), ("q-learning", "gymnast/Chain-v0", False)]
)
def test_the_regret_of_a_bandit_is_logged(agent: str, env: str, logged: bool, tmp_path: Any) -> None:
    options = TrainOptions(env=env, steps=60, log_every=20, eval_episodes=1, out=str(tmp_path), video=False)
    records = [record for record in read(train(agent, options).path / "metrics.jsonl") if record["kind"] == "train"]
    assert [("regret" in record) for record in records] == [logged] * 3
    assert list(records[0])[:4] == ["kind", "env_step", "updates", "episodes"]
