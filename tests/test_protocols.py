"""Atari protocols: what each is, that it reaches emulators, learner and evaluation, and that results are stamped."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents.base import Acted
from gymnast.agents.value.dqn import DQN, DQNConfig
from gymnast.atari import protocols
from gymnast.atari.protocols import PROTOCOLS
from gymnast.cli import evaluate as report
from gymnast.cli.main import main
from gymnast.envs.atari.games import Atari, make_atari
from gymnast.errors import UsageError
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import evaluate, greedy_actor
from gymnast.settings import under_protocol
from gymnast.settings.options import EvaluateOptions, TrainOptions
from gymnast.storage import checkpoint
from gymnast.storage.metrics_log import read
from gymnast.training import train as training

PAPERS = {
    # skip, sticky, no-ops, FIRE, all 18 actions, cap, lives to the learner, clipping, evaluation epsilon
    "nature": (4, 0.0, 30, False, False, 5 * 60 * 60, True, True, 0.05),
    "rainbow": (4, 0.0, 30, False, False, 30 * 60 * 60, True, True, 0.0),
    "dopamine": (4, 0.25, 0, False, False, 27_000 * 4, False, True, 0.001),
    "machado": (5, 0.25, 0, False, True, 5 * 60 * 60, False, True, 0.01),
}
SETTINGS = (
    "frame_skip",
    "sticky",
    "noop_max",
    "fire_reset",
    "full_action_space",
    "max_frames",
    "life_loss",
    "clip_rewards",
    "eval_epsilon",
)
SMALL = DQNConfig(replay_size=500, learning_starts=10, batch_size=4)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every protocol with episodes of 40 frames."""
    for name, protocol in PROTOCOLS.items():
        monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, max_frames=40))


def options(protocol: str | None, env: str = "ALE/Pong-v5", **others: Any) -> TrainOptions:
    return TrainOptions(env=env, protocol=protocol, **others)


# What they are.


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_table_is_that_of_the_papers(name: str) -> None:
    """Row 21; frames at 60 a second."""
    protocol = PROTOCOLS[name]
    assert tuple(getattr(protocol, setting) for setting in SETTINGS) == PAPERS[name]
    assert (protocol.name, protocol.label, protocol.by_mode) == (name, name, True)
    assert (protocol.screen, protocol.stack, protocol.grayscale) == (84, 4, True)
    assert protocol.paper.split(" et al.")[0] in ("Mnih", "Hessel", "Castro", "Machado")


def test_no_two_are_played_alike() -> None:
    played = [json.dumps(protocol.env_options) for protocol in PROTOCOLS.values()]
    assert len(set(played)) == len(PROTOCOLS) == 4


def test_list_protocols_says_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "protocols"]) == 0
    text = capsys.readouterr().out
    for word in (
        "nature",
        "machado",
        "skip 5",
        "sticky 0.25",
        "0 to 30 no-ops",
        "no FIRE",
        "all 18 actions",
        "108,000",
    ):
        assert word in text
    assert "epsilon 0.05" in text
    assert main(["list", "protocols", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {name: tuple(item[setting] for setting in SETTINGS) for name, item in listed.items()} == PAPERS


# How they are resolved.


@pytest.mark.parametrize("env", ["ALE/Pong-v5", "Pong", "PongNoFrameskip-v4"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_overrides_what_the_id_implies(name: str, env: str) -> None:
    resolved, config = under_protocol.resolve(options(name, env), SMALL)
    given = json.loads(resolved.env_options)
    assert given == PROTOCOLS[name].env_options
    assert (config.clip_rewards, config.life_loss, config.eval_epsilon) == PAPERS[name][7:5:-1] + PAPERS[name][8:]
    assert dataclasses.replace(config, clip_rewards=False, life_loss=False, eval_epsilon=0.0) == SMALL
    assert under_protocol.resolve(resolved, config) == (resolved, config)
    made = make_atari(env, 1, options=given)
    assert isinstance(made, Atari)
    assert made.options.sticky == PROTOCOLS[name].sticky
    assert made.single_action_space.n == (18 if name == "machado" else 6)
    assert made.max_episode_steps * made.frame_skip == PROTOCOLS[name].max_frames
    found = protocols.of(made, config)
    assert found is not None
    assert (found.name, found.as_json()) == (name, PROTOCOLS[name].as_json())
    implied = 0.0 if env.endswith("v4") else 0.25
    note = under_protocol.note(name, env)
    if implied == PROTOCOLS[name].sticky:
        assert note is None
    else:
        assert note is not None
        assert note.endswith(f"with sticky {PROTOCOLS[name].sticky} (the id implies {implied})")
    made.close()


def test_without_a_protocol_nothing_changes() -> None:
    plain = options(None)
    assert under_protocol.resolve(plain, SMALL) == (plain, SMALL)
    assert under_protocol.note(None, "CartPole-v1") is None


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"env": "CartPole-v1"}, SMALL, "protocol nature is for Atari games, and CartPole-v1 is not one"),
        (
            {"env_options": '{"sticky": 0.25}'},
            SMALL,
            "sticky of env_options 0.25 contradicts the protocol nature, which uses 0.0",
        ),
        ({"env_options": '{"screen": 42}'}, SMALL, "screen of env_options 42 contradicts the protocol nature"),
        ({"env_options": '{"frameskip": 4}'}, SMALL, "Atari has no option frameskip; did you mean frame_skip?"),
        ({"max_episode_steps": 4499}, SMALL, "max_episode_steps 4499 contradicts the protocol nature, which uses 4500"),
        ({}, dataclasses.replace(SMALL, eval_epsilon=0.1), "eval_epsilon 0.1 contradicts the protocol nature"),
    ],
)
def test_what_contradicts_a_protocol_is_refused(changes: dict[str, Any], config: DQNConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        training.train("dqn", dataclasses.replace(options("nature"), **changes), config)
    assert "\n" not in str(error.value)


def test_what_agrees_with_a_protocol_is_taken() -> None:
    agreeing = options("nature", env_options='{"sticky": 0, "threads": 2}', max_episode_steps=4500)
    resolved, _ = under_protocol.resolve(agreeing, dataclasses.replace(SMALL, eval_epsilon=0.05))
    assert json.loads(resolved.env_options)["threads"] == 2


def test_a_protocol_is_not_for_environments_of_ones_own() -> None:
    with pytest.raises(UsageError, match="protocol nature is for Atari games given by id"):
        training.train("dqn", options("nature"), SMALL, env=lambda: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("cls", [TrainOptions, EvaluateOptions])
def test_an_unknown_protocol_names_the_nearest(cls: type[Any]) -> None:
    first = "env" if cls is TrainOptions else "path"
    with pytest.raises(ValueError, match=r"protocol must be one of nature, .*, got 'natur'; did you mean nature\?"):
        cls(**{first: "Pong", "protocol": "natur"})


# On the command line: presets, then the protocol, and flags that contradict it are refused.


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    calls: list[SimpleNamespace] = []

    def train(agent: str, options: TrainOptions, config: Any, **rest: Any) -> SimpleNamespace:
        calls.append(SimpleNamespace(options=options, config=config))
        return SimpleNamespace(as_text=lambda: "", exit_code=0)

    monkeypatch.setattr(training, "train", train)
    return calls


def test_a_protocol_stands_over_presets(trained: list[SimpleNamespace]) -> None:
    command = ["train", "dqn", "--env", "Pong", "--preset", "atari"]
    assert main(command) == 0
    assert main([*command, "--protocol", "dopamine"]) == 0
    assert main([*command, "--protocol", "dopamine", "--no-life-loss", "--eval-epsilon", "0.001"]) == 0
    plain, under, agreeing = (call.config for call in trained)
    assert (plain.life_loss, plain.eval_epsilon) == (True, 0.05)
    assert (under.life_loss, under.eval_epsilon, under.clip_rewards) == (False, 0.001, True)
    assert under == agreeing == dataclasses.replace(plain, life_loss=False, eval_epsilon=0.001)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "nature", "--no-clip-rewards"], "--clip-rewards False contradicts the protocol nature"),
        (["--protocol", "nature", "--eval-epsilon", "0.001"], "--eval-epsilon 0.001 contradicts the protocol nature"),
        (["--protocol", "natur"], r"--protocol must be one of nature, .*; did you mean nature\?"),
        (["--protocol", "nature", "--env-options", '{"noop_max": 0}'], "noop_max of env_options 0 contradicts"),
    ],
)
def test_contradictions_on_the_command_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", "dqn", "--env", "Pong", "--steps", "20", "--out", str(tmp_path), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not list(tmp_path.iterdir())


# What is really done.


def test_settings_that_equal_a_protocol_bear_its_name() -> None:
    config = dataclasses.replace(SMALL, clip_rewards=True, life_loss=True)
    named = protocols.of(make_atari("PongNoFrameskip-v4"), config)
    assert named is not None
    assert named.label == "rainbow"
    for env, changed in (
        (make_atari("Pong"), config),
        (make_atari("PongNoFrameskip-v4", options={"noop_max": 29}), config),
        (make_atari("PongNoFrameskip-v4", max_episode_steps=26_999), config),
        (make_atari("PongNoFrameskip-v4"), SMALL),
        (make_atari("PongNoFrameskip-v4"), dataclasses.replace(config, eval_epsilon=0.01)),
    ):
        found = protocols.of(env, changed)
        assert found is not None
        assert (found.label, found.as_json()["name"]) == ("custom", None)
    assert protocols.of(make_env("CartPole-v1", 1), SMALL) is None


def test_the_cap_that_is_said_is_the_one_that_holds() -> None:
    found = protocols.of(make_atari("Pong", options={"max_frames": 1000}, max_episode_steps=100), SMALL)
    assert found is not None
    assert found.max_frames == 400


# The whole way: train, stamp, evaluate.


def run(tmp_path: Path, protocol: str | None, **others: Any) -> Path:
    chosen = options(protocol, out=str(tmp_path), steps=24, eval_every=12, eval_episodes=2, video=False, **others)
    result = training.train("dqn", chosen, SMALL)
    assert result.exit_code == 0
    return result.path


def test_a_run_is_stamped_throughout(tmp_path: Path, short: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows 21 and 25."""
    path = run(tmp_path, "nature")
    said = [line for line in capsys.readouterr().err.splitlines() if "the id implies" in line]
    assert said == ["protocol nature plays ALE/Pong-v5 with sticky 0.0 (the id implies 0.25)"]
    config = json.loads((path / "config.json").read_text())
    assert config["protocol"] == PROTOCOLS["nature"].as_json()
    assert config["run"]["protocol"] == "nature"
    for name in ("best", "last"):
        assert checkpoint.read(path / "checkpoints" / f"{name}.pt")[0].protocol == config["protocol"]
    records = [record for record in read(path / "metrics.jsonl") if record["kind"] in ("eval", "final")]
    assert [record["protocol"] for record in records] == ["nature"] * 3
    assert [record["trained_frames"] for record in records[:2]] == [48, 96]
    final = records[-1]
    assert final["protocol_settings"] == config["protocol"]
    assert final["frames"] == final["env_steps"] * 4 == 2 * 40
    # The best checkpoint gives its score again, random actions of the evaluation's epsilon included.
    about = checkpoint.read(path / "checkpoints" / "best.pt")[0]
    assert about.score_seed is not None
    again = report.evaluate_path(EvaluateOptions(path=str(path), episodes=2, seed=about.score_seed)).as_json()
    assert (again["mean_return"], again["protocol"]) == (about.score, "nature")


def test_a_run_without_a_name_says_what_it_does(tmp_path: Path) -> None:
    path = run(tmp_path, None, max_episode_steps=10, env_options='{"frame_skip": 2}')
    stamp = json.loads((path / "config.json").read_text())["protocol"]
    assert (stamp["name"], stamp["frame_skip"], stamp["sticky"], stamp["max_frames"]) == (None, 2, 0.25, 20)
    assert (stamp["clip_rewards"], stamp["life_loss"], stamp["eval_epsilon"]) == (False, False, 0.0)
    records = [record for record in read(path / "metrics.jsonl") if record["kind"] in ("eval", "final")]
    assert {record["protocol"] for record in records} == {"custom"}
    found = report.evaluate_path(EvaluateOptions(path=str(path), episodes=2))
    assert found.as_json()["protocol_settings"] == stamp
    assert "protocol custom: skip 2, sticky 0.25" in found.as_text()
    assert "published scores use other protocols" in found.as_text()


def test_other_runs_have_no_protocol(tmp_path: Path) -> None:
    chosen = TrainOptions(env="CartPole-v1", steps=24, eval_episodes=1, video=False, out=str(tmp_path))
    path = training.train("dqn", chosen, SMALL).path
    assert json.loads((path / "config.json").read_text())["protocol"] is None
    assert not any("protocol" in record for record in read(path / "metrics.jsonl"))


@pytest.mark.slow
def test_a_resumed_run_keeps_its_protocol(tmp_path: Path, short: None) -> None:
    path = run(tmp_path, "dopamine")
    before = json.loads((path / "config.json").read_text())
    assert training.resume(path, steps=48).exit_code == 0
    after = json.loads((path / "config.json").read_text())
    assert after["protocol"] == before["protocol"]
    assert after["run"]["env_options"] == before["run"]["env_options"]
    evals = [record for record in read(path / "metrics.jsonl") if record["kind"] == "eval"]
    assert [record["trained_frames"] for record in evals] == [48, 96, 144, 192]
    assert {record["protocol"] for record in evals} == {"dopamine"}


def test_evaluation_under_another_protocol(tmp_path: Path, short: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(tmp_path, "nature", env_options='{"threads": 1}')
    asked = ["evaluate", str(path), "--episodes", "3", "--protocol"]
    assert main([*asked, "rainbow", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["protocol"], found["trained_protocol"]) == ("rainbow", "nature")
    assert found["protocol_settings"] == PROTOCOLS["rainbow"].as_json()
    assert found["reference"] == {"random": -20.7, "human": 14.6, "source": found["reference"]["source"]}
    score = (found["mean_return"] + 20.7) / 35.3
    assert found["human_normalized"] == pytest.approx(score)
    assert found["human_gap"] == pytest.approx(1 - min(score, 1))
    assert found["published"]["rainbow"]["protocol"] == "rainbow"
    assert found["published"]["ppo_40m_frames"]["protocol"] is None
    assert main([*asked, "machado"]) == 2
    error = capsys.readouterr().err.strip()
    assert (
        error == "gymnast: protocol machado plays ALE/Pong-v5 with actions Discrete(18), but the agent has Discrete(6)"
    )


def test_frames_of_training_count_its_own_skip(tmp_path: Path, short: None) -> None:
    path = run(tmp_path, None, env_options='{"full_action_space": true}', max_episode_steps=10)
    found = report.evaluate_path(EvaluateOptions(path=str(path), episodes=2, protocol="machado")).as_json()
    assert found["frames"] == found["env_steps"] * 5
    assert found["trained_frames"] == found["trained_env_steps"] * 4
    assert (found["protocol"], found["trained_protocol"]) == ("machado", "custom")
    assert found["protocol_settings"]["clip_rewards"] is False  # as the agent was trained


def dqn_of(env: Any, config: DQNConfig = SMALL) -> DQN:
    return DQN(env.single_observation_space, env.single_action_space, config)


def test_a_protocols_epsilon_is_that_of_the_evaluation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 24 as well: the agent's own evaluations stay greedy."""
    monkeypatch.setitem(PROTOCOLS, "nature", dataclasses.replace(PROTOCOLS["nature"], max_frames=40, eval_epsilon=0.4))
    env = make_env("Pong", 8, protocol="nature")
    env.reset()
    agent = dqn_of(env)
    actor = greedy_actor(agent, env, seed=0, protocol="nature")
    obs = torch.randint(0, 256, (8, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    greedy = agent.online(obs).mean(2).argmax(1)
    other = np.mean([(actor.act(obs, env.start).action != greedy).float().mean().item() for _ in range(100)])
    assert other == pytest.approx(0.4 * 5 / 6, abs=0.06)
    before = {name: value.clone() for name, value in agent.online.state_dict().items()}
    found = evaluate(agent, "Pong", episodes=2, protocol="nature")
    assert found.protocol is not None
    assert (found.protocol.label, found.protocol.eval_epsilon) == ("nature", 0.4)
    assert agent.config == SMALL
    assert all(torch.equal(value, before[name]) for name, value in agent.online.state_dict().items())
    own = greedy_actor(agent, env, seed=0)
    assert all(torch.equal(own.act(obs, env.start).action, greedy) for _ in range(5))
    env.close()


def test_an_environment_of_another_protocol_is_refused() -> None:
    agent = dqn_of(make_atari("Pong"))
    for given, reason in (({}, "sticky is 0.25"), ({"frame_skip": 5}, "frame_skip is 5")):
        env = make_atari("Pong", options=given)
        with pytest.raises(ValueError, match=f"ALE/Pong-v5 was not made with the protocol nature: {reason}"):
            evaluate(agent, env, episodes=1, protocol="nature")
    with pytest.raises(ValueError, match="CartPole-v1 was not made with the protocol nature: it is not an Atari game"):
        evaluate(agent, make_env("CartPole-v1", 1), episodes=1, protocol="nature")


def test_an_agent_without_an_evaluation_epsilon_is_refused(short: None) -> None:
    class Still:
        env_step = 0
        observation_space = make_atari("Pong").single_observation_space
        action_space = make_atari("Pong").single_action_space

        def actor(self, num_envs: int, *, explore: bool, seed: Any) -> Any:
            return self

        def act(self, obs: Any, start: torch.Tensor, action_mask: Any = None) -> Acted:
            return Acted(torch.zeros(len(start), dtype=torch.int64))

    with pytest.raises(ValueError, match="protocol nature needs an agent with an evaluation epsilon; Still has none"):
        evaluate(Still(), "Pong", episodes=1, protocol="nature")  # type: ignore[arg-type]
    found = evaluate(Still(), "Pong", episodes=1, protocol="rainbow").protocol  # type: ignore[arg-type]
    assert found is not None
    assert (found.label, found.eval_epsilon, found.life_loss) == ("rainbow", None, None)
