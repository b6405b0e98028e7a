"""Populations of off-policy actor-critics: every member is its own single run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import OffPolicyActorCritic, OffPolicyActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.agents.population.off_policy import OffPolicyPopulation
from gymnast.agents.table import ALGORITHMS
from gymnast.cli.main import main
from gymnast.evaluation.play import evaluate
from gymnast.populations.environment import CounterNoise
from gymnast.storage import checkpoint
from gymnast.storage.rebuild import load
from tests.population_pairs import SEEDS, Script, part_of, single, trained
from tests.test_population_run import CARTPOLE, records, table

PENDULUM = "gymnast/Pendulum-v1"
SMALL: dict[str, Any] = {
    "hidden_sizes": (8, 8),
    "learning_rate": 1e-3,
    "batch_size": 8,
    "replay_size": 200,
    "learning_starts": 40,
    "tau": 0.02,
}
VARY = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "gamma": (0.9, 0.99, 0.95),
    "tau": (1.0, 0.5, 0.1),
}
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))


def config(name: str = "sac", **changes: Any) -> OffPolicyActorCriticConfig:
    return OffPolicyActorCriticConfig(**{**ALGORITHMS[name].changes, **SMALL, **changes})


def assert_same(population: Any, member: int, agent: Any) -> None:
    """Both have done the same, up to rounding."""
    assert population.member_step == agent.env_step
    assert population.updates == agent.updates > 20
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, **close)
    torch.testing.assert_close(population.actors.rows[member].detach(), agent.policy_weights.data, **close)
    torch.testing.assert_close(population.temperature.value[member, 0], agent.temperature.value, **close)
    for target, rows in zip(agent.targets, (population.target, population.target_policy), strict=False):
        torch.testing.assert_close(rows[member], target.weights.data, **close)


@pytest.mark.parametrize(
    ("name", "rows", "changes"),
    [
        ("sac", 1, {}),
        ("sac", 3, {"n_step": 3, "prioritized": True, "critic_norm": "layer", "policy_norm": "layer"}),
        ("sac", 2, {"temperature": "linear:0.5:0.1:200", "activation": "tanh", "policy_hidden_sizes": (6,)}),
        ("sac", 2, {"updates_per_train": 2, "train_period": 3, "max_grad_norm": 0.5, "target_period": 3}),
        ("sac", 1, {"learning_rate": "linear:1e-2:0:200", "policy_learning_rate": 1e-3, "optimizer": "radam"}),
        ("td3", 2, {}),
        ("td3", 1, {"policy_value": "min", "exploration_noise": "linear:0.5:0.1:100", "replay_size": 60}),
        ("ddpg", 2, {"critics": 1, "prioritized": True, "priority": "rank"}),
        ("tqc", 1, {"quantiles": 5, "drop_quantiles": 1}),
    ],
)
def test_a_member_is_its_single_run(name: str, rows: int, changes: dict[str, Any]) -> None:
    chosen = config(name, **changes)
    population = trained(PENDULUM, chosen, steps=120, rows=rows)
    for member, seed in enumerate(SEEDS):
        assert_same(population, member, single(OffPolicyActorCritic, PENDULUM, chosen, seed, steps=120, rows=rows))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("sac", {"target_entropy": (-1.0, -0.5, -2.0)}),
        ("td3", {"exploration_noise": (0.1, 0.2, 0.0), "policy_learning_rate": (1e-3, 1e-4, 2e-3)}),
    ],
)
def test_a_member_with_settings_of_its_own_is_its_single_run(name: str, more: dict[str, Any]) -> None:
    chosen, vary = config(name), VARY | more
    population = trained(PENDULUM, chosen, steps=100, vary=vary)
    for member, seed in enumerate(SEEDS):
        own = replace(chosen, **{key: values[member] for key, values in vary.items()})
        assert population.config_of(member) == own
        assert_same(population, member, single(OffPolicyActorCritic, PENDULUM, own, seed, steps=100))


class BoxScript(Script):
    """`Script` with actions of a Box in [-1, 1]."""

    def step(self) -> Any:
        obs, _, step = super().step()
        action = torch.rand(self.rows, 2, generator=self.generator) * 2 - 1
        return obs, Acted(action, raw=action), step


def play(learner: Any, moments: list[Any]) -> None:
    for moment in moments:
        learner.store(*moment)
        for _ in range(learner.updates_due(learner.env_step)):
            learner.learn()


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_members_sample_and_learn_what_single_agents_do(name: str) -> None:
    rows, chosen = 2, config(name, replay_size=30, learning_starts=4, train_period=2, n_step=2)
    made: Any = (VECTOR, BOX, chosen)
    population = OffPolicyPopulation(*made, seeds=SEEDS, num_envs=rows)
    agents = [OffPolicyActorCritic(*made, num_envs=rows, seed=seed) for seed in SEEDS]
    script = BoxScript(len(SEEDS) * rows, masked=False)
    for _ in range(60):
        moment = script.step()
        population.store(*moment)
        for member, agent in enumerate(agents):
            own = slice(member * rows, (member + 1) * rows)
            agent.store(moment[0][own], *(part_of(part, own) for part in moment[1:]))
        for _ in range(population.updates_due(population.env_step)):
            metrics, batch = population.learn(), population.allocate()._buffers.batch  # type: ignore[union-attr]
            for member, agent in enumerate(agents):
                alone, of_agent = agent.learn(), agent.allocate()._buffers.batch  # type: ignore[union-attr]
                sampled = slice(member * chosen.batch_size, (member + 1) * chosen.batch_size)
                for part in ("obs", "action", "reward", "discount", "next_obs"):
                    assert torch.equal(getattr(batch, part)[sampled], getattr(of_agent, part))
                assert metrics.keys() == alone.keys()
                for key, value in alone.items():
                    torch.testing.assert_close(metrics[key][member], value, rtol=1e-3, atol=1e-5)
    for member, agent in enumerate(agents):
        assert_same(population, member, agent)


def test_with_counters_a_member_is_what_it_is_in_a_population_of_one() -> None:
    many, one = (trained(PENDULUM, config(), seeds, steps=80, noise=CounterNoise) for seeds in ((1, 2, 3), (2,)))
    torch.testing.assert_close(many.parameters[1], one.parameters[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(many.actors.rows[1], one.actors.rows[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_it_goes_on_from_its_state(name: str) -> None:
    made: Any = (VECTOR, BOX, config(name, optimizer="radam", prioritized=True))
    one, other = (OffPolicyPopulation(*made, seeds=SEEDS, num_envs=2, vary=VARY) for _ in range(2))
    script = BoxScript(len(SEEDS) * 2, masked=False)
    first, second = ([script.step() for _ in range(count)] for count in (51, 60))
    play(one, first)
    other.load_state_dict(one.state_dict())
    play(one, second)
    play(other, second)
    for mine, theirs in ((one.parameters, other.parameters), (one.actors.rows, other.actors.rows)):
        assert torch.equal(mine, theirs)
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.temperature.value, other.temperature.value)
    assert (one.env_step, one.updates) == (other.env_step, other.updates)


def test_without_its_replay_it_learns_again_after_learning_starts() -> None:
    made: Any = (VECTOR, BOX, config())
    one, other = (OffPolicyPopulation(*made, seeds=SEEDS, num_envs=2) for _ in range(2))
    script = BoxScript(len(SEEDS) * 2, masked=False)
    play(one, [script.step() for _ in range(30)])
    state = one.state_dict()
    del state["replay"]
    other.load_state_dict(state)
    assert other.updates == one.updates == 20
    assert other.updates_due((60 + 40) * 3) == 0
    assert other.updates_due((60 + 41) * 3) == 1


def test_actions_before_learning_are_uniform_and_evaluations_take_the_mode() -> None:
    population = OffPolicyPopulation(VECTOR, BOX, config("td3"), seeds=SEEDS)
    obs, start = torch.zeros(600, 3), torch.zeros(600, dtype=torch.bool)
    first = population.actor(600, explore=True, seed=0).act(obs, start).action
    assert first.min() < -1.8
    assert first[:, 1].max() > 4.8
    mode = population.actor(600, explore=False, seed=0).act(obs, start).action
    assert (mode.view(3, 200, 2) == mode.view(3, 200, 2)[:, :1]).all()
    assert len(mode.unique(dim=0)) == 3


@pytest.mark.parametrize(
    ("name", "changes", "vary", "message"),
    [
        ("sac", {"recurrent": "lstm"}, {}, "recurrent lstm cannot be used in a population"),
        ("crossq", {}, {}, "target_network False cannot be used in a population"),
        ("redq", {}, {}, "target_subset 2 cannot be used in a population"),
        ("droq", {}, {}, "dropout 0.01 cannot be used in a population"),
        ("sac", {"critic_norm": "batch-renorm"}, {}, "batch-renorm cannot be used in a population"),
        ("sac", {"hindsight": "final"}, {}, "hindsight final cannot be used in a population"),
        ("sac", {"cuda_graphs": True}, {}, "cuda_graphs True cannot be used in a population"),
        ("sac", {}, {"batch_size": (8, 16)}, "batch_size cannot vary between members; learning_rate, policy_learning"),
        ("sac", {}, {"exploration_noise": (0.1, 0.2)}, "exploration_noise cannot vary between members with policy sto"),
        ("td3", {}, {"target_entropy": (-1, -2)}, "target_entropy can vary between members only with a learned"),
        ("sac", {}, {"tau": (1.0, 0.0)}, "tau must be > 0 and <= 1, got 0"),
    ],
)
def test_what_a_population_does_not_have_is_refused(
    name: str, changes: dict[str, Any], vary: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OffPolicyPopulation(VECTOR, BOX, config(name, **changes), seeds=(0, 1), vary=vary)


def test_spaces_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="needs Box actions"):
        OffPolicyPopulation(VECTOR, spaces.Discrete(3), config(), seeds=(0,))
    with pytest.raises(ValueError, match="use network mlp"):
        OffPolicyPopulation(spaces.Box(0, 255, (3, 36, 36), np.uint8), BOX, config(), seeds=(0,))


@pytest.mark.parametrize("words", ["sac", "td3 --vary tau=0.1,0.01 exploration-noise=0.1,0.3"])
def test_a_run_leaves_what_others_leave(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every member can be played again; without settings of its own it scores what its single run scores."""
    line = f"train {words} --env {PENDULUM} --hidden-sizes 8 8 --learning-starts 40 --batch-size 8 --steps 120"
    line += f" --eval-every 60 --eval-episodes 2 --name run --device cpu --out {tmp_path}"
    assert main([*line.split(), "--seeds", "4:8"]) == 0
    path = tmp_path / "gymnast-Pendulum-v1" / words.split()[0] / "run"
    rows = table(path)
    assert [row["seed"] for row in rows] == ["4", "5", "6", "7"]
    about, _ = checkpoint.read(path / "checkpoints" / "best.pt")
    member = max(rows, key=lambda row: float(row["eval_return"]))
    assert (about.agent, about.run["seed"]) == (words.split()[0], int(member["seed"]))
    again = evaluate(load(path), PENDULUM, episodes=2, seed=about.score_seed or 0).mean_return
    assert again == pytest.approx(float(member["eval_return"]), rel=1e-5)
    capsys.readouterr()
    assert main(["evaluate", str(path), "--episodes", "2", "--json", "--member", member["seed"]]) == 0
    of_member = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(path), "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_return"] == pytest.approx(of_member["mean_return"], rel=1e-6)
    if "--vary" in words:
        assert [row["exploration_noise"] for row in rows[:2]] == ["0.1", "0.3"]
        return
    single_run = f"{line} --seed {member['seed']} --no-video --native".replace("--name run", "--name alone")
    assert main(single_run.split()) == 0
    (final,) = records(path.with_name("alone"), "final")
    assert final["mean_return"] == pytest.approx(float(member["mean_return"]), rel=1e-4)


def test_what_a_run_of_a_population_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for agent, said in (("crossq", "target_network False"), ("redq", "target_subset 2"), ("droq", "dropout 0.01")):
        assert main(["train", agent, "--env", PENDULUM, "--seeds", "0:2", "--out", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{said} cannot be used in a population" in line
    assert main(["train", "sac", "--env", CARTPOLE, "--seeds", "0:2", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs Box actions" in line
    assert list(tmp_path.iterdir()) == []
