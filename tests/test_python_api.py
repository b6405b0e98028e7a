"""What a script uses: configs by preset, saving, backbones, callbacks, and a loop of its own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gymnast
from gymnast import TrainOptions, evaluate, load, train
from gymnast.agents import (
    A2C,
    DQN,
    PPO,
    PQN,
    ActorCritic,
    ActorCriticConfig,
    DQNConfig,
    EvolutionStrategies,
    EvolutionStrategiesConfig,
    PQNConfig,
    QLearning,
    QLearningConfig,
    Rainbow,
    Reinforce,
    ReinforceConfig,
)
from gymnast.cli.main import main
from gymnast.envs import EnvError, begin_of, make, step_of
from gymnast.errors import UsageError
from gymnast.networks.build import build, named
from gymnast.settings.request import resolve

BOX = gym.spaces.Box(-1.0, 1.0, (4,))
TWO = gym.spaces.Discrete(2)


needs_no_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="has the device")


class Small(nn.Module):
    out_features = 8

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, obs: Tensor) -> Tensor:
        features: Tensor = self.layer(obs)
        return features.relu()


class Wide(Small):
    """Takes more than the observation space."""

    def __init__(self, inputs: int, outputs: int) -> None:
        nn.Module.__init__(self)
        self.layer, self.out_features = nn.Linear(inputs, outputs), outputs


BUILDERS = {
    "dqn": (DQN, DQNConfig),
    "pqn": (PQN, PQNConfig),
    "ppo": (PPO, ActorCriticConfig),
    "reinforce": (Reinforce, ReinforceConfig),
    "es": (EvolutionStrategies, EvolutionStrategiesConfig),
}


def action(agent: Any) -> Any:
    return [agent.predict(row) for row in np.random.default_rng(0).uniform(-1, 1, (6, 4))]


# Configs.


@pytest.mark.parametrize(
    ("agent", "names"),
    [
        ("ppo", ("cartpole",)),
        ("rainbow", ("minatar",)),
        ("q-learning", ("taxi",)),
        ("a2c", ()),
        ("dqn", ("per",)),
    ],
)
def test_a_preset_gives_the_config_of_the_command_line(agent: str, names: tuple[str, ...]) -> None:
    words = ["--env", "CartPole-v1", *(["--preset", *names] if names else [])]
    assert gymnast.presets.config(agent, *names) == resolve(agent, words, of="train").config


def test_a_wrong_preset_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"unknown preset 'cartpol'.*did you mean cartpole"):
        gymnast.presets.config("ppo", "cartpol")
    with pytest.raises(UsageError, match="unknown agent 'pp'"):
        gymnast.presets.config("pp")


# Backbones.


@pytest.mark.parametrize("name", BUILDERS)
def test_a_backbone_is_a_module_a_class_or_a_name(name: str) -> None:
    cls, config_class = BUILDERS[name]
    ours = f"{__name__}:Small"
    for backbone in (Small, Small(BOX), ours):
        agent: Any = cls(BOX, TWO, network=backbone)
        network = getattr(agent, "online", None) or agent.network
        network = network if isinstance(network, nn.Module) else network.network
        assert any(isinstance(module, Small) for module in network.modules())
        assert agent.config.network == ours
        assert agent.predict(np.zeros(4)) in (0, 1)
    assert config_class(network=Small).network == ours
    assert config_class(network=Small) == config_class(network=ours)
    cls(BOX, TWO, config_class(network=Small), network="mlp")


def test_two_trunks_of_a_class_and_one_of_a_module() -> None:
    assert PPO(BOX, TWO, network=Small).network.critic is not None
    assert PPO(BOX, TWO, network=Small(BOX)).network.critic is None
    with pytest.raises(ValueError, match="a backbone given as a module is one trunk: use trunk shared, or give its"):
        PPO(BOX, TWO, ActorCriticConfig(trunk="separate"), network=Small(BOX))


def test_networks_build_takes_a_class() -> None:
    built = build(Small, BOX, generator=torch.Generator())
    assert isinstance(built, Small)
    with pytest.raises(ValueError, match=r"network Wide\(observation_space\) cannot be built: .*'outputs'"):
        build(Wide, BOX, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"network int must be an nn.Module"):
        build(int, BOX, generator=torch.Generator())  # type: ignore[arg-type]


def test_a_config_takes_what_json_can_name() -> None:
    class Local(Small):
        pass

    assert named("mlp") == "mlp"
    with pytest.raises(ValueError, match="network Local cannot be found by its name: define the class at the top"):
        DQNConfig(network=Local)
    with pytest.raises(ValueError, match="network must be a name or a class in a config; pass a module to the agent"):
        DQNConfig(network=Small(BOX))  # type: ignore[arg-type]
    assert DQN(BOX, TWO, network=Local).predict(np.zeros(4)) in (0, 1)


@needs_no_mps
def test_messages_are_for_scripts_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"import elsewhere first, or allow it by trust=True \(--trust\)"):
        DQN(BOX, TWO, DQNConfig(network="elsewhere:Net"))
    with pytest.raises(UsageError, match=r"^device mps is not available here"):
        train("dqn", TrainOptions(env="CartPole-v1", device="mps", out=str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^out .*file.*: cannot make the run folder"):
        train("dqn", TrainOptions(env="CartPole-v1", out=str(tmp_path / "file")))


@needs_no_mps
def test_the_command_line_says_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "dqn", "--env", "CartPole-v1", "--out", str(tmp_path), "--device", "mps"]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("gymnast: --device mps is not available here")


# Saving.


@pytest.mark.parametrize(
    "make_agent",
    [
        lambda: Rainbow(BOX, TWO, num_envs=3, seed=3),
        lambda: A2C(BOX, gym.spaces.Box(-2.0, 2.0, (1,)), seed=3),
        lambda: PPO(BOX, TWO, ActorCriticConfig(recurrent="lstm"), num_envs=8, seed=3),
        lambda: EvolutionStrategies(BOX, TWO, seed=3),
        lambda: Reinforce(BOX, TWO, network=Small, seed=3),
        lambda: DQN(BOX, TWO, network=Small(BOX), seed=3),
    ],
)
def test_save_and_load(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent()
    gymnast.save(agent, tmp_path / "agent.pt")
    other: Any = load(tmp_path / "agent.pt")
    assert type(other) is type(agent)
    assert other.config == agent.config
    assert np.array_equal(action(other), action(agent))


def test_a_table_is_saved(tmp_path: Path) -> None:
    agent = QLearning(gym.spaces.Discrete(3), TWO, QLearningConfig(gamma=0.5))
    agent.q[0, 2, 1] = 4.0
    gymnast.save(agent, str(tmp_path / "deep" / "q.pt"), env="gymnast/Chain-v0")
    other: Any = load(str(tmp_path / "deep" / "q.pt"))
    assert other.predict(2) == 1
    assert other.config.gamma == 0.5


def test_a_module_that_its_class_does_not_rebuild_is_given_again(tmp_path: Path) -> None:
    agent = DQN(BOX, TWO, network=Wide(4, 6), seed=4)
    gymnast.save(agent, tmp_path / "agent.pt")
    with pytest.raises(UsageError, match=r"network Wide\(observation_space\) cannot be built"):
        load(tmp_path / "agent.pt")
    other: Any = load(tmp_path / "agent.pt", network=Wide(4, 6))
    assert action(other) == action(agent)
    with pytest.raises(UsageError, match="does not match its own description"):
        load(tmp_path / "agent.pt", network=Wide(4, 5))


def test_a_saved_agent_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = make("CartPole-v1")
    agent = DQN(env.single_observation_space, env.single_action_space)
    gymnast.save(agent, tmp_path / "a.pt", env="CartPole-v1")
    assert main(["evaluate", str(tmp_path / "a.pt"), "--episodes", "2"]) == 0
    gymnast.save(agent, tmp_path / "b.pt")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "b.pt"), "--episodes", "2"]) == 2
    assert "names no environment; write it with gymnast.save(agent, path, env=ID)" in capsys.readouterr().err


def test_what_keeps_no_config_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="object has no attribute config"):
        gymnast.save(object(), tmp_path / "a.pt")  # type: ignore[arg-type]


# Training.

FAST: dict[str, Any] = {"steps": 2_000, "eval_episodes": 2, "log_every": 250, "video": False, "threads": 1}


@pytest.mark.slow
def test_callbacks_look_in(tmp_path: Path) -> None:
    seen: list[int] = []
    found: list[float] = []
    options = TrainOptions(env="gymnast/Chain-v0", out=str(tmp_path), eval_every=500, **FAST)
    result = train(
        "q-learning",
        options,
        on_step=lambda agent: seen.append(agent.env_step),
        on_evaluation=lambda evaluation: found.append(evaluation.mean_return),
    )
    assert result.exit_code == 0
    assert seen == list(range(250, 2_001, 250))
    assert len(found) == 4


@pytest.mark.parametrize("agent", ["q-learning", "dqn", "ppo", "hill-climbing"])
def test_a_callback_stops_the_run(agent: str, tmp_path: Path) -> None:
    options = TrainOptions(
        env="CartPole-v1" if agent != "q-learning" else "gymnast/Chain-v0", out=str(tmp_path), **FAST
    )
    result = train(agent, options, on_step=lambda learner: learner.env_step >= 500)
    assert result.exit_code == 0
    assert 500 <= result.env_step < 2_000
    assert result.final is not None  # as if its steps were done
    longer = gymnast.resume(result.path, on_step=lambda learner: learner.env_step >= 1_000)
    assert 1_000 <= longer.env_step < 2_000


def test_an_evaluation_stops_the_run(tmp_path: Path) -> None:
    options = TrainOptions(env="gymnast/Chain-v0", out=str(tmp_path), eval_every=500, **FAST)
    result = train("q-learning", options, on_evaluation=lambda evaluation: np.True_)
    assert result.env_step == 500


def test_callbacks_change_nothing(tmp_path: Path) -> None:
    options = TrainOptions(env="CartPole-v1", out=str(tmp_path), **FAST)
    plain, watched = train("dqn", options), train("dqn", options, on_step=lambda agent: agent.predict(np.zeros(4)))
    assert (plain.path / "metrics.jsonl").read_bytes() == (watched.path / "metrics.jsonl").read_bytes()


def test_a_constructor_is_trained(tmp_path: Path) -> None:
    options = TrainOptions(env="CartPole-v1", out=str(tmp_path), **{**FAST, "steps": 300})
    result = train(A2C, options)
    assert result.path.parent.name == "a2c"
    assert load(result.path).config == A2C.config  # type: ignore[attr-defined]


def test_a_backbone_class_in_a_config_is_trained_and_loaded(tmp_path: Path) -> None:
    options = TrainOptions(env="CartPole-v1", out=str(tmp_path), **{**FAST, "steps": 300})
    config = DQNConfig(network=Small, learning_starts=50)
    result = train("dqn", options, config)
    agent: Any = load(result.path)
    assert isinstance(agent.online.backbone, Small)


# A loop of one's own.


def test_a_foreign_loop_is_gymnasts_own() -> None:
    """The same agent learns the same thing, bit for bit, from `make` and from a plain Gymnasium environment."""
    config = DQNConfig(learning_starts=50, train_period=1)
    env = make("CartPole-v1", 1, seed=0, vectorization="serial")
    spaces = env.single_observation_space, env.single_action_space
    ours, theirs = DQN(*spaces, config, seed=1), DQN(*spaces, config, seed=1)
    plain = gym.make("CartPole-v1")
    actor, other = ours.actor(1, explore=True, seed=2), theirs.actor(1, explore=True, seed=2)
    env.reset()
    seed = env.rows[0].seed
    begun = env.obs, env.start, None
    foreign = begin_of(plain, plain.reset(seed=seed))
    for _ in range(300):
        acted = actor.act(*begun)
        step = env.step(acted.action)
        ours.store(begun[0], acted, step)
        begun = step.obs, step.start, step.action_mask
        again = other.act(*foreign)
        stepped = plain.step(again.action[0].numpy())
        taken = step_of(plain, stepped, begun=plain.reset() if stepped[2] or stepped[3] else None)
        theirs.store(foreign[0], again, taken)
        foreign = taken.obs, taken.start, taken.action_mask
        for field in ("obs", "start", "next_obs", "reward", "terminated", "truncated"):
            assert torch.equal(getattr(step, field), getattr(taken, field)), field
        for agent in (ours, theirs):
            for _ in range(agent.updates_due(agent.env_step)):
                agent.learn()
    assert torch.equal(ours.weights.data, theirs.weights.data)


def test_a_step_has_masks_lives_and_statistics() -> None:
    class Spaces:
        observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2, start=1)

    info = {"action_mask": np.array([1, 0], np.int8), "lives": 2}
    step = step_of(Spaces, (1, np.array([2.5]), np.bool_(False), np.array([False]), info))
    assert step.next_action_mask is not None
    assert step.next_action_mask.tolist() == [[True, False]]
    assert (step.reward.tolist(), step.num_ended, step.lives.tolist()) == ([2.5], 0, [2])  # type: ignore[union-attr]
    ending = {"action_mask": [0, 0], "episode": {"r": np.float32(3.5), "l": np.int32(7)}}
    step = step_of(Spaces, (2, 1, True, False, ending), begun=(0, {"action_mask": [0, 1]}))
    assert (step.obs.tolist(), step.next_obs.tolist(), step.start.tolist()) == ([0], [2], [True])  # type: ignore[union-attr]
    assert step.action_mask is not None
    assert step.action_mask.tolist() == [[False, True]]
    assert (step.episode_return.tolist(), step.episode_length.tolist()) == ([3.5], [7])  # type: ignore[union-attr]


def test_a_wrong_step_is_one_line() -> None:
    class Spaces:
        observation_space, action_space = gym.spaces.Discrete(3), TWO

    with pytest.raises(EnvError, match="the environment gave the reward None, which is not one number"):
        step_of(Spaces, (0, None, False, False, {}))
    with pytest.raises(EnvError, match="the environment gave the observation 3 but its space says 0 to 2"):
        step_of(Spaces, (3, 0.0, False, False, {}))
    with pytest.raises(ValueError, match=r"step_of needs begun=env.reset\(\), as the episode ended"):
        step_of(Spaces, (0, 0.0, True, False, {}))
    with pytest.raises(ValueError, match="step_of takes begun only if the episode ended"):
        step_of(Spaces, (0, 0.0, False, False, {}), begun=(0, {}))


def test_evaluation_takes_every_agent() -> None:
    env = make("CartPole-v1")
    agent = A2C(env.single_observation_space, env.single_action_space)
    assert isinstance(agent, ActorCritic)
    assert evaluate(agent, "CartPole-v1", episodes=2).returns
    assert dataclasses.is_dataclass(agent.config)
    assert "gymnast.agents" in sys.modules
