"""Runs of populations with action values, as `gymnast train --seeds` makes them, and what they leave behind."""

import json
from pathlib import Path

import pytest

from gymnast.agents import DQNConfig
from gymnast.cli.main import main
from gymnast.evaluation.play import evaluate
from gymnast.populations.train import train
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint
from gymnast.storage.rebuild import load
from tests.test_population_run import CARTPOLE, records, table


@pytest.mark.parametrize(
    "words",
    [
        "dqn --num-envs 2 --learning-starts 20 --batch-size 8 --vary tau=1,0.5 target-period=30,10",
        "dueling-dqn --num-envs 2 --learning-starts 20 --batch-size 8",
        "rainbow --num-envs 2 --learning-starts 20 --batch-size 8 --atoms 5",
        "pqn --num-envs 4 --rollout-steps 16 --minibatches 4",
    ],
)
def test_agents_of_action_values_leave_what_others_leave(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train {words} --env {CARTPOLE} --hidden-sizes 8 8 --steps 192 --eval-every 64 --eval-episodes 2"
    line += f" --name run --device cpu --out {tmp_path}"
    assert main([*line.split(), "--seeds", "4:8"]) == 0
    agent = words.split()[0]
    path = tmp_path / "gymnast-CartPole-v1" / agent / "run"
    rows = table(path)
    assert [row["seed"] for row in rows] == ["4", "5", "6", "7"]
    if "--vary" in words:
        assert [(row["tau"], row["target_period"]) for row in rows[:2]] == [("1.0", "30"), ("1.0", "10")]
    about, _ = checkpoint.read(path / "checkpoints" / "best.pt")
    best, member = load(path), max(rows, key=lambda row: float(row["eval_return"]))
    assert (about.agent, about.run["seed"], about.score) == (agent, int(member["seed"]), float(member["eval_return"]))
    assert evaluate(best, CARTPOLE, episodes=2, seed=about.score_seed or 0).mean_return == about.score
    capsys.readouterr()
    assert main(["evaluate", str(path), "--episodes", "2", "--json", "--member", member["seed"]]) == 0
    of_member = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(path), "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_return"] == of_member["mean_return"]
    if "--vary" in words:
        return
    single = f"{line} --seed {member['seed']} --no-video --native".replace("--name run", "--name alone")
    assert main(single.split()) == 0
    assert records(path.with_name("alone"), "final")[0]["mean_return"] == float(member["mean_return"])


def test_a_population_of_dqn_from_python(tmp_path: Path) -> None:
    options = TrainOptions(env=CARTPOLE, steps=64, num_envs=2, eval_episodes=1, out=str(tmp_path), device="cpu")
    config = DQNConfig(hidden_sizes=(8, 8), learning_starts=20, batch_size=4)
    result = train("dqn", options, config, seeds=range(2), vary={"gamma": (0.9, 0.99)})
    assert (result.exit_code, result.env_step, len(result.returns)) == (0, 64, 2)


@pytest.mark.parametrize(
    ("agent", "there"),
    [("dqn", True), ("rainbow", True), ("pqn", True), ("r2d2", False), ("sac", True), ("td3", True), ("redq", False)],
)
def test_help_has_populations_where_they_work(agent: str, there: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", agent, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--seeds A:B" in said
    assert ("--vary NAME=VALUES" in said) is there


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "dqn --steps 9000 --learning-rate 1e-3 --target-period 500 --epsilon linear:1:0.05:8000",
        "pqn --steps 24000 --num-envs 8 --rollout-steps 16 --minibatches 4 --learning-rate 1e-3 "
        "--epsilon linear:1:0.05:20000",
    ],
    ids=["dqn", "pqn"],
)
def test_every_member_with_action_values_learns(words: str, tmp_path: Path) -> None:
    command = f"train {words} --env gymnast/Catch-v0 --seeds 0:8 --hidden-sizes 64 --device cpu --name run --out"
    assert main([*command.split(), str(tmp_path)]) == 0
    (final,) = records(tmp_path / "gymnast-Catch-v0" / words.split()[0] / "run", "final")
    assert final["worst_return"] == 1.0  # each member catches every ball
