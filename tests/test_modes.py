"""Training and evaluation mode of a user's own network: learning in one, everything else in the other."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn

from gymnast import TrainOptions, evaluate, load, train
from gymnast.agents import (
    DQN,
    PQN,
    ActorCritic,
    ActorCriticConfig,
    DQNConfig,
    EvolutionStrategies,
    GeneticAlgorithm,
    HillClimbing,
    PQNConfig,
    QLearning,
    QLearningConfig,
    Reinforce,
    ReinforceConfig,
)
from gymnast.agents.base import Agent, LearningError
from gymnast.envs import make
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.modes import acting, depends_on_mode


class Moody(nn.Module):
    """Depends on its mode in every way: BatchNorm, Dropout, and a module that counts what it sees in training."""

    out_features = 16

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 32), nn.BatchNorm1d(32), nn.Dropout(0.3)
        self.last = nn.Linear(32, 16)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, obs: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        features: Tensor = self.last(self.drop(self.norm(self.first(obs)).relu()))
        return features


DEEP = {
    "dqn": (DQN, DQNConfig(learning_starts=40)),
    "double dqn": (DQN, DQNConfig(learning_starts=40, double=True, dueling=True, values="categorical")),
    "r2d2": (DQN, DQNConfig(learning_starts=60, recurrent="gru", sequence_length=4, burn_in=2, sequence_period=2)),
    "pqn": (PQN, PQNConfig(rollout_steps=16)),
    "ppo": (ActorCritic, ActorCriticConfig(rollout_steps=32, trunk="shared")),
    "recurrent ppo": (
        ActorCritic,
        ActorCriticConfig(rollout_steps=32, trunk="shared", recurrent="lstm", minibatches=2),
    ),
    "reinforce": (Reinforce, ReinforceConfig(trunk="shared")),
}
SEARCHES: dict[str, tuple[Any, Any]] = {
    "es": (EvolutionStrategies, None),
    "ga": (GeneticAlgorithm, None),
    "hill-climbing": (HillClimbing, None),
}


def learned(cls: Any, config: Any, *, num_envs: int = 4, steps: int = 320, network: nn.Module | None = None) -> Any:
    """An agent with the network after some env steps in CartPole."""
    torch.manual_seed(0)
    env = make("CartPole-v1", num_envs, seed=0)
    spaces = env.single_observation_space, env.single_action_space
    agent = cls(*spaces, config, num_envs=num_envs, network=network or Moody(spaces[0]))
    actor, obs, start = agent.actor(num_envs, explore=True, seed=0), env.reset(), env.start
    while agent.env_step < steps:
        acted = actor.act(obs, start)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        for _ in range(agent.updates_due(agent.env_step)):
            agent.learn()
        obs, start = step.obs, step.start
    return agent


def modules(agent: Any) -> list[nn.Module]:
    """All modules of an agent's networks."""
    networks = [getattr(agent, name) for name in ("online", "target", "network") if hasattr(agent, name)]
    networks = [network if isinstance(network, nn.Module) else network.network for network in networks]
    return [module for network in networks for module in network.modules()]


def moody(agent: Any) -> Moody:
    return next(module for module in modules(agent) if isinstance(module, Moody))


def same(left: Any, right: Any) -> bool:
    """Whether two states are the same bit for bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return torch.equal(left, right) if isinstance(left, Tensor) else bool(left == right)


def changed_by_evaluation(agent: Agent, env: str) -> bool:
    """Whether evaluating it in 1, 3 and 8 rows changes the agent, or the score."""
    before, generator = copy.deepcopy(agent.state_dict()), torch.get_rng_state()
    found = [evaluate(agent, env, episodes=6, num_envs=rows, seed=3) for rows in (1, 3, 8)]
    equal = found[0].returns == found[1].returns == found[2].returns
    return not (equal and same(before, agent.state_dict()) and torch.equal(generator, torch.get_rng_state()))


@pytest.mark.parametrize("name", [*DEEP, *SEARCHES])
def test_evaluation_changes_no_byte_and_its_score_depends_on_no_row(name: str) -> None:
    agent = learned(*(DEEP | SEARCHES)[name])
    assert not changed_by_evaluation(agent, "CartPole-v1")


def test_a_table_is_not_changed_either() -> None:
    env = make("gymnast/Chain-v0", 2, seed=0)
    agent = QLearning(env.single_observation_space, env.single_action_space, QLearningConfig(), num_envs=2)
    assert not changed_by_evaluation(agent, "gymnast/Chain-v0")


@pytest.mark.parametrize("name", DEEP)
def test_learning_is_in_training_mode_and_nothing_else_is(name: str) -> None:
    agent = learned(*DEEP[name])
    assert agent.updates > 0
    assert int(moody(agent).seen) >= agent.updates
    assert int(moody(agent).norm.num_batches_tracked) == int(moody(agent).seen)
    assert not any(module.training for module in modules(agent))


def test_only_losses_run_in_training_mode() -> None:
    """Acting, storing and the targets of a rollout see no batch: each update sees one."""
    agent = learned(*DEEP["ppo"])
    assert int(moody(agent).seen) == agent.updates
    agent = learned(*DEEP["dqn"])
    assert int(moody(agent).seen) == agent.updates


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_has_no_training_mode(name: str) -> None:
    agent = learned(*SEARCHES[name])
    assert int(moody(agent).seen) == 0


def test_a_target_network_has_the_running_statistics_of_its_copy() -> None:
    agent = learned(DQN, DQNConfig(learning_starts=40, target_period=90))
    online, target = (next(m for m in net.modules() if isinstance(m, Moody)) for net in (agent.online, agent.target))
    assert not torch.equal(target.norm.running_mean, online.norm.running_mean)
    agent._update_target(agent.env_step + 80)
    assert torch.equal(target.norm.running_mean, online.norm.running_mean)
    assert not target.training


def test_one_row_may_explore() -> None:
    assert learned(DQN, DQNConfig(learning_starts=20), num_envs=1, steps=60).updates > 0


def test_a_batch_of_one_row_that_batch_norm_cannot_learn_from_is_one_line() -> None:
    with pytest.raises(LearningError, match="BatchNorm cannot learn from a batch of one row"):
        learned(DQN, DQNConfig(learning_starts=20, batch_size=1), steps=60)


def test_batch_norm_without_statistics_is_refused() -> None:
    network = Moody(gym.spaces.Box(-1, 1, (4,)))
    network.norm = nn.BatchNorm1d(32, track_running_stats=False)
    with pytest.raises(ValueError, match=r"BatchNorm1d .* has no running statistics.*use track_running_stats=True"):
        learned(DQN, DQNConfig(), network=network)


def test_a_search_keeps_the_buffers_of_its_network() -> None:
    agent = learned(EvolutionStrategies, None)
    moody(agent).norm.running_mean.fill_(0.5)
    state = agent.state_dict()
    other = learned(EvolutionStrategies, None, steps=0)
    other.load_state_dict(state)
    assert float(moody(other).norm.running_mean[0]) == 0.5


def test_networks_of_gymnast_do_not_depend_on_the_mode() -> None:
    box = gym.spaces.Box(-1, 1, (4,))
    agent = DQN(box, gym.spaces.Discrete(2), DQNConfig(dueling=True, noisy=True))
    assert not depends_on_mode(agent.online)
    assert not depends_on_mode(MLP(box, (8,), activation="relu"))
    assert depends_on_mode(Moody(box))
    assert depends_on_mode(nn.Sequential(nn.Linear(4, 8), nn.Dropout()))
    assert depends_on_mode(torch.nn.utils.spectral_norm(nn.Linear(4, 8)))
    assert depends_on_mode(nn.LSTM(4, 8))  # cuDNN's gradient needs training mode
    assert not depends_on_mode(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8)))


def test_parts_that_a_user_keeps_in_evaluation_mode_stay_there() -> None:
    class Frozen(Moody):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self.norm.eval()
            return self

    agent = learned(DQN, DQNConfig(learning_starts=40), network=Frozen(gym.spaces.Box(-1, 1, (4,))))
    assert int(moody(agent).seen) == agent.updates
    assert int(moody(agent).norm.num_batches_tracked) == 0


def test_acting_gives_the_same_module() -> None:
    network = nn.Linear(2, 2)
    assert acting(network) is network
    assert not network.training


@pytest.mark.slow
def test_workers_share_running_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A3C: what the workers' networks count is what is evaluated and kept."""
    (tmp_path / "moody15.py").write_text(
        "import sys\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    out_features = 8\n\n"
        "    def __init__(self, space):\n        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())\n\n"
        "    def forward(self, obs):\n        return self.layers(obs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parent.parent}")
    config = ActorCriticConfig(
        workers=2, optimizer_eps=None, rollout_steps=8, epochs=1, minibatches=1, trunk="shared", network="moody15:Net"
    )
    options = TrainOptions(env="CartPole-v1", steps=400, out=str(tmp_path / "runs"), video=False, eval_episodes=2)
    result = train("ppo", options, config)
    assert result.exit_code == 0
    agent: Any = load(result.path, trust=True)
    counted = agent.network.state_dict()["actor.backbone.layers.1.num_batches_tracked"]
    assert int(counted) > 0
    sys.modules.pop("moody15")


@pytest.mark.parametrize("config", [ActorCriticConfig(), ActorCriticConfig(recurrent="lstm", minibatches=1)])
def test_continuous_actions_depend_on_the_number_of_rows_by_rounding_only(config: ActorCriticConfig) -> None:
    """Batched products of other sizes round differently; Pendulum carries that on for 200 steps (docs/python.md)."""
    env = make("Pendulum-v1")
    agent = ActorCritic(env.single_observation_space, env.single_action_space, config, seed=0)
    found = [evaluate(agent, "Pendulum-v1", episodes=6, num_envs=rows, seed=3).returns for rows in (1, 3, 6)]
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert found[2] == pytest.approx(found[0], rel=1e-6)
