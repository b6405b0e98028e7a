"""Agents that learn from the predictions of a fitted reward."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import PPO
from gymnast.agents.base import Acted
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.rewards.base import AT_ONCE
from gymnast.agents.rewards.model import RewardModel
from gymnast.agents.supervised.reward_network import build_reward_network
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.errors import UsageError
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.reward_model import read_reward_model
from tests import fit_worlds as worlds
from tests.imitation_worlds import played

BOX, THREE = spaces.Box(-10, 10, (3,), np.float32), spaces.Discrete(3, start=5)
IDENTITY = {"network": "mlp", "network_options": {}, "hidden_sizes": (), "activation": "relu", "layer_norm": False}
"""A backbone that gives back the observation."""


def known(model: RewardModel) -> None:
    """Weights with which the reward is 10 + 2 (x0 + 3 of action 6), as long as that sum is positive."""
    head, scale = model.network.heads["reward"], model.network.heads["scale"]
    for layer in (head[0], head[2]):
        layer.weight.zero_()
        layer.bias.zero_()
    head[0].weight[0, 0], head[0].weight[0, 4] = 1.0, 3.0  # x0, and the second of three actions
    head[2].weight[0, 0] = 1.0
    scale.mean.fill_(10.0)
    scale.std.fill_(2.0)


def learner(**changes: Any) -> tuple[PPO, RewardModel]:
    given = {"reward_model": "run", "reward_network": IDENTITY, "rollout_steps": 3, "minibatches": 1, **changes}
    made = PPO(BOX, THREE, ActorCriticConfig(**given), num_envs=2)
    model = made.learned_reward
    assert isinstance(model, RewardModel)
    with torch.no_grad():
        known(model)
    return made, model


def store(made: PPO, obs: list[Tensor]) -> None:
    """A rollout of these observations, whose environment's rewards are 77."""
    actor, start, none = made.actor(2, explore=True, seed=1), torch.ones(2, dtype=torch.bool), torch.zeros(2).bool()
    for now, following in pairwise(obs):
        acted: Acted = actor.act(now, start)
        made.store(now, acted, Step(following, none, following, torch.full((2,), 77.0), none, none, 2, 0))
        start = none


def test_known_weights_replace_the_rewards_exactly() -> None:
    made, _ = learner()
    obs = [torch.tensor([[1.0, 9.0, 9.0], [0.5, 9.0, 9.0]]) * (time + 1) for time in range(4)]
    store(made, obs)
    metrics = made.learn()
    fields = made.rollout.fields
    bonus = 3.0 * (made.distribution.to_env(fields["raw"]) == 6)
    wanted = 10.0 + 2.0 * (torch.stack(obs[:3])[..., 0] + bonus)
    assert torch.equal(fields["reward"], wanted)
    assert float(metrics["learned_reward"]) == pytest.approx(float(wanted.mean()))


def test_they_are_clipped_and_scaled_as_the_environments_would_be() -> None:
    made, _ = learner(clip_rewards=True)
    store(made, [torch.zeros(2, 3)] * 4)
    made.estimates.see()
    before = made.estimates._reward
    assert (before == 1.0).all()  # 77, clipped
    made.learn()
    assert (made.estimates._reward == 1.0).all()  # 10 or 16
    scaled, _ = learner(normalise_rewards=True)
    store(scaled, [torch.zeros(2, 3)] * 4)
    scaled.learn()
    assert scaled.estimates.scale is not None
    ratio = scaled.estimates._reward[..., 0] / scaled.rollout.fields["reward"]
    torch.testing.assert_close(ratio, (1 / scaled.estimates.scale.statistics.std()).expand(3, 2))


def test_rewards_computed_in_parts_are_those_of_the_whole() -> None:
    _, model = learner()
    obs, action = torch.randn(2 * AT_ONCE + 7, 3), 5 + torch.arange(2 * AT_ONCE + 7) % 3
    reward, _ = model(played(obs, action))
    torch.testing.assert_close(reward, model.network.reward(obs, action))


def test_the_model_does_not_learn_and_its_state_returns() -> None:
    made, model = learner()
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    store(made, list(torch.randn(4, 2, 3).unbind()))
    made.learn()
    other, _ = learner()
    other.load_state_dict(made.state_dict())
    assert isinstance(other.learned_reward, RewardModel)
    for name, value in other.learned_reward.network.state_dict().items():
        assert torch.equal(value, weights[name])


def test_an_agent_of_your_own_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"reward_model run is read by gymnast\.train"):
        PPO(BOX, THREE, ActorCriticConfig(reward_model="run"))


# Runs.


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward fitted to random steps of `Walk`."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return fitted(tmp_path, "reward", "--hidden-sizes", "16")


def fitted(tmp_path: Path, task: str, *more: str) -> Path:
    worlds.record(f"{task}/set-v0", worlds.here(worlds.Walk), steps=300)
    given = ["--dataset", f"{task}/set-v0", "--epochs", "2", "--out", str(tmp_path / "fits"), "--name", "one", *more]
    assert main(["fit", task, *given]) == 0
    (found,) = (tmp_path / "fits").glob(f"*/{task}/one")
    return found


def words(agent: str, model: Path, out: Path, name: str, steps: int) -> list[str]:
    fixed = ["--env", worlds.here(worlds.Walk), "--num-envs", "2", "--rollout-steps", "16", "--no-video"]
    run = ["--steps", str(steps), "--out", str(out), "--name", name, "--eval-episodes", "2", "--log-every", "32"]
    return ["train", agent, *fixed, *run, "--reward-model", str(model)]


def run_of(out: Path, name: str, agent: str = "ppo") -> Path:
    (found,) = out.glob(f"*/{agent}/{name}")
    return found


def lines(run: Path) -> list[str]:
    return [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"kind":"train"' in line]


def test_the_network_that_is_read_is_the_fitted_one(model: Path) -> None:
    read = read_reward_model(model)
    network = build_reward_network(read.observation_space, read.action_space, read.settings)
    network.load_state_dict(read.weights)
    mean, std = network.heads["scale"].mean, network.heads["scale"].std
    obs, action = torch.randn(4, 3), torch.tensor([5, 6, 7, 5])
    features = torch.relu(obs @ read.weights["backbone.layers.0.weight"].T + read.weights["backbone.layers.0.bias"])
    inputs = torch.cat([features, torch.eye(3)[action - 5]], 1)
    hidden = torch.relu(inputs @ read.weights["heads.reward.0.weight"].T + read.weights["heads.reward.0.bias"])
    output = hidden @ read.weights["heads.reward.2.weight"].T + read.weights["heads.reward.2.bias"]
    torch.testing.assert_close(network.reward(obs, action), (output * std + mean)[:, 0])


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
def test_a_run_resumes_exactly_without_the_models_run(
    agent: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(agent, model, tmp_path, "whole", 256)) == 0, capsys.readouterr().err
    assert main(words(agent, model, tmp_path, "halves", 112)) == 0
    shutil.rmtree(model)
    whole, halves = (run_of(tmp_path, name, agent) for name in ("whole", "halves"))
    assert main(["resume", str(halves), "--steps", "256", "--trust"]) == 0, capsys.readouterr().err
    other = '"env_step":112'  # the run of two halves logged where it stopped
    assert [line for line in lines(whole) if other not in line] == [line for line in lines(halves) if other not in line]
    assert "learned_reward" in json.loads(lines(whole)[-1])
    assert main(["evaluate", str(whole), "--episodes", "2", "--trust"]) == 0
    assert rebuild.load(whole).predict(np.zeros(3, np.float32)) in (5, 6, 7)  # type: ignore[attr-defined]


def test_logged_returns_stay_the_environments(model: Path, tmp_path: Path) -> None:
    """With and without the model the first rollout is the same, and so are its logged returns."""
    assert main(words("ppo", model, tmp_path, "with", 32)) == 0
    assert main(words("ppo", model, tmp_path, "without", 32)[:-2]) == 0
    one, other = (json.loads(lines(run_of(tmp_path, name))[-1]) for name in ("with", "without"))
    assert one["return_mean"] == other["return_mean"]
    assert one["value_loss"] != other["value_loss"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--reward-model nowhere", "no run or checkpoint nowhere"),
        ("--reward-model OTHER", "is of value; use a run of gymnast fit reward"),
        (
            "--reward-model MODEL --env CartPole-v1",
            "has observations float32 [3], but those of CartPole-v1 are float32",
        ),
        ("--reward-model MODEL --env PUSH", "has actions Discrete(3, start=5), but those of"),
        ("--reward-model MODEL --cuda-graphs", "cannot be combined with --cuda-graphs"),
        ("--reward-model MODEL --seeds 0:2", "cannot be used in a population"),
    ],
)
def test_mistakes_cost_one_line(
    given: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "OTHER" in given:
        given = given.replace("OTHER", str(fitted(tmp_path, "value")))
    given = given.replace("MODEL", str(model)).replace("PUSH", worlds.here(worlds.Push))
    env = [] if "--env" in given else ["--env", worlds.here(worlds.Walk)]
    capsys.readouterr()
    assert main(["train", "ppo", *given.split(), *env, "--steps", "50", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message in said
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_refused(model: Path, tmp_path: Path) -> None:
    best = model / "checkpoints" / "best.pt"
    about, state = checkpoint.read_agent(best)
    state["heads"]["reward.2.bias"] = torch.tensor([float("nan")])
    checkpoint.save_agent(best, about, state)
    with pytest.raises(UsageError, match=r"its weights heads\.reward\.2\.bias are infinite or not a number"):
        read_reward_model(model)
