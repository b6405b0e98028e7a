"""Presets: each names options that exist, builds a valid config, and is refused where it does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gymnast.agents import DQN, PQN
from gymnast.agents.schedules import schedule
from gymnast.agents.table import ALGORITHMS, RAINBOW
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.settings import agents, presets
from gymnast.settings.options import TrainOptions
from gymnast.settings.request import resolve

PAIRS = [(name, agent) for name, preset in presets.PRESETS.items() for agent in preset.agent]
ENVIRONMENTS = [pair for pair in PAIRS if pair[0] not in ALGORITHMS]


@pytest.mark.parametrize(("name", "agent"), PAIRS)
def test_a_preset_builds_valid_options(name: str, agent: str) -> None:
    config_class = agents.config_class(agents.agent_class(agent))
    applied = presets.apply([name], agent)
    run_fields = {field.name for field in dataclasses.fields(TrainOptions)}
    options = TrainOptions(**{"env": "CartPole-v1"} | {field: applied[field] for field in run_fields & applied.keys()})
    preset = presets.PRESETS[name]
    base = preset.agent.get(ALGORITHMS[agent].base, {}) if agent in ALGORITHMS else {}
    of_run = preset.run | base | preset.agent[agent]
    assert {field: of_run[field] for field in run_fields & of_run.keys()}.items() <= dataclasses.asdict(options).items()
    fields = {field.name for field in dataclasses.fields(config_class)}
    config = config_class(**{field: value for field, value in applied.items() if field in fields})
    assert applied.items() <= (dataclasses.asdict(options) | dataclasses.asdict(config)).items()
    assert presets.PRESETS[name].agent[agent].items() <= applied.items()


@pytest.mark.parametrize(("name", "agent"), ENVIRONMENTS)
def test_a_preset_changes_something(name: str, agent: str) -> None:
    config_class = agents.config_class(agents.agent_class(agent))
    plain = dataclasses.asdict(TrainOptions(env="CartPole-v1")) | dataclasses.asdict(config_class())
    assert any(plain[field] != value for field, value in presets.apply([name], agent).items())


def test_later_presets_override_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    left = presets.Preset("left", {"dqn": {"gamma": 0.5, "n_step": 2}}, run={"seed": 1})
    right = presets.Preset("right", {"dqn": {"gamma": 0.6}}, run={"seed": 2})
    monkeypatch.setattr(presets, "PRESETS", {"left": left, "right": right})
    assert presets.apply(["left", "right"], "dqn") == {"gamma": 0.6, "n_step": 2, "seed": 2}
    assert presets.apply(["right", "left"], "dqn") == {"gamma": 0.5, "n_step": 2, "seed": 1}
    assert presets.apply([], "dqn") == {}


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown preset 'taxy'; choose from .*; did you mean taxi\?"):
        presets.apply(["taxy"], "q-learning")


FILE = """
steps = 300
learning-rate = "linear:1e-3:0:300"
hidden_sizes = [24, 12]
gamma = 0.9
prioritized = true
double = false
"""


def test_a_file_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8", newline="\n")
    words = ["--env", "CartPole-v1", "--preset", "double-dqn", "classic", str(path), "--gamma", "0.8"]
    asked = resolve("dqn", words, of="train dqn")
    config = asked.config
    assert (config.hidden_sizes, config.learning_rate, config.gamma) == ((24, 12), "linear:1e-3:0:300", 0.8)
    assert (config.prioritized, config.double, config.batch_size) == (True, False, 64)
    assert asked.options.steps == 300
    assert asked.presets == ("double-dqn", "classic", str(path))
    network = tmp_path / "network.toml"
    network.write_text('network = "impala"\n[network_options]\nwidth = 2\n', encoding="utf-8", newline="\n")
    made = presets.config("dqn", str(network))
    assert (made.network, made.network_options) == ("impala", {"width": 2})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gama = 1", "preset mine.toml has no option --gama; did you mean --gamma?"),
        ('gamma = "much"', "--gamma must be a number"),
        ("gamma = 3", "--gamma must be between 0 and 1, got 3.0"),
        ("preset = 'cartpole'", "preset mine.toml has no option --preset"),
        ("gamma =", "preset mine.toml is not TOML: "),
        ("gamma = 1979-05-27", "preset mine.toml: gamma must be a number, a string, true, false or a list of these"),
        ("network_options = 3", "preset mine.toml: network_options must be a table, got 3"),
        ("[network_options]\nbreadth = 2", "breadth"),
    ],
)
def test_mistakes_in_a_file_cost_one_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text, encoding="utf-8", newline="\n")
    assert main(["train", "dqn", "--env", "CartPole-v1", "--preset", "mine.toml"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()
    assert main(["train", "dqn", "--env", "CartPole-v1", "--preset", "other.toml"]) == 2
    assert capsys.readouterr().err == "gymnast: preset other.toml cannot be read: No such file or directory\n"


def test_a_preset_for_other_agents_names_them() -> None:
    with pytest.raises(UsageError, match=r"the preset atari is for dqn, .*, rainbow, .*, not for sarsa"):
        presets.apply(["atari"], "sarsa")


def test_atari_is_the_nature_paper() -> None:
    """Mnih et al. 2015, extended data table 1; periods in env steps (4 frames)."""
    changes = presets.apply(["atari"], "dqn")
    table = {"replay_size": 1_000_000, "train_period": 4, "learning_starts": 50_000, "target_period": 10_000}
    table |= {"batch_size": 32, "learning_rate": 2.5e-4, "epsilon": "linear:1:0.1:1000000"}
    assert table.items() <= changes.items()
    assert changes["steps"] * 4 == 200_000_000


def test_an_algorithm_is_an_agent_and_a_preset() -> None:
    assert presets.apply([], "rainbow") == presets.apply(["rainbow"], "dqn") == RAINBOW
    assert presets.apply(["atari"], "rainbow") == presets.apply(["rainbow", "atari"], "dqn")
    assert presets.apply(["atari", "rainbow"], "dqn") == presets.apply(["rainbow", "atari"], "dqn")


FAMILIES = [
    (family, algorithm)
    for family in ("classic", "minatar", "atari", "atari100k")
    for algorithm, kind in ALGORITHMS.items()
    if kind.base in presets.PRESETS[family].agent
]


@pytest.mark.parametrize(("family", "algorithm"), FAMILIES)
def test_a_family_keeps_what_an_algorithm_switches_on(family: str, algorithm: str) -> None:
    values = presets.apply([family], algorithm)
    further = presets.PRESETS[family].agent.get(algorithm, {})
    switched = {name: value for name, value in ALGORITHMS[algorithm].changes.items() if name not in further}
    assert switched.items() <= values.items()
    config_class = agents.config_class(agents.agent_class(algorithm))
    fields = {field.name for field in dataclasses.fields(config_class)}
    config_class(**{name: value for name, value in values.items() if name in fields})


def test_rainbow_on_atari_is_its_paper() -> None:
    """Hessel et al. 2018, table 1; frames are four to an env step."""
    config = agents.config_class(agents.agent_class("rainbow"))
    fields = {field.name for field in dataclasses.fields(config)}
    changes = {key: value for key, value in presets.apply(["atari"], "rainbow").items() if key in fields}
    made = config(**changes)
    assert made.learning_starts * 4 == 80_000
    assert made.target_period * 4 == 32_000
    assert (made.optimizer, made.learning_rate, made.optimizer_eps) == ("adam", 6.25e-5, 1.5e-4)
    assert (made.priority, made.priority_alpha, made.noisy_sigma, made.n_step) == ("proportional", 0.5, 0.5, 3)
    assert (made.atoms, made.v_min, made.v_max, made.gamma) == (51, -10.0, 10.0, 0.99)
    assert (made.batch_size, made.train_period, made.replay_size) == (32, 4, 1_000_000)


def test_r2d2_on_atari_is_its_paper() -> None:
    """Kapturowski et al. 2019, section 2.3 and table 2; the target network is copied every 2,500 updates."""
    changes = presets.apply(["atari"], "r2d2")
    table = {"sequence_length": 80, "burn_in": 40, "sequence_period": 40, "batch_size": 64, "memory_size": 512}
    table |= {"n_step": 5, "gamma": 0.997, "learning_rate": 1e-4, "optimizer_eps": 1e-3, "values": "rescaled"}
    table |= {"priority_alpha": 0.9, "priority_beta": 0.6, "clip_rewards": False, "life_loss": False}
    assert table.items() <= changes.items()
    assert changes["target_period"] == 2_500 * changes["train_period"]
    assert agents.config_class(agents.agent_class("r2d2"))().priority_eta == 0.9


def test_btr_on_atari_is_its_paper() -> None:
    """Clark et al. 2025, table D6; frames are four to an env step, and 64 env steps are one of all environments."""
    values = presets.apply(["atari"], "btr")
    config = presets.config("btr", "atari")
    assert values["num_envs"] == config.train_period == 64
    assert config.target_period == 500 * 64
    assert (config.learning_rate, config.gamma, config.n_step, config.batch_size) == (1e-4, 0.997, 3, 256)
    assert config.optimizer_eps == pytest.approx(1.95e-5, abs=5e-8)
    assert (config.replay_size, config.learning_starts, config.priority_alpha) == (2**20, 200_000, 0.2)
    assert (config.values, config.quantiles, config.kappa, config.noisy_sigma) == ("implicit", 8, 1.0, 0.5)
    assert (config.munchausen_alpha, config.munchausen_temperature, config.munchausen_clip) == (0.9, 0.03, -1.0)
    assert (config.clip_rewards, config.life_loss, config.double) == (True, False, False)
    epsilon = schedule(config.noisy_epsilon, name="noisy_epsilon")
    assert [epsilon(frames // 4) for frames in (0, 8_000_000, 100_000_000)] == [1.0, 0.01, 0.01]
    assert epsilon(25_000_001) == 0.0


def test_btr_has_the_papers_number_of_parameters() -> None:
    """2.91 million, of which 2.52 million are in linear layers (figure E7), without the scales of the noise."""
    config = dataclasses.replace(presets.config("btr", "atari"), replay_size=100)
    frames = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    network = DQN(frames, spaces.Discrete(18), config).online
    sizes = {name: one.numel() for name, one in network.named_parameters() if "sigma" not in name}
    assert round(sum(sizes.values()) / 1e6, 2) == 2.91
    assert round(sum(size for name, size in sizes.items() if name.startswith("head")) / 1e6, 2) == 2.52


def test_rank_based_and_tuned_presets_are_their_papers() -> None:
    """Schaul et al. 2016, section 4, and van Hasselt et al. 2016, appendix."""
    ranked, tuned, plain = (presets.config(name, "atari") for name in ("rank-per", "tuned-double-dqn", "double-dqn"))
    assert (ranked.priority, ranked.priority_alpha, ranked.learning_rate) == ("rank", 0.7, 2.5e-4 / 4)
    assert schedule(ranked.priority_beta, name="beta")(0) == 0.5
    assert (tuned.target_period, tuned.eval_epsilon, tuned.shared_bias, tuned.double) == (30_000, 0.001, True, True)
    assert plain == dataclasses.replace(presets.config("dqn", "atari"), double=True)


@pytest.mark.parametrize(
    ("words", "network", "options"),
    [
        ("", "impala", {"width": 2, "spectral_norm": True, "max_pool": 6}),
        ("--network.width 3", "impala", {"width": 3, "spectral_norm": True, "max_pool": 6}),
        ("--network impala --no-network.spectral-norm", "impala", {"width": 2, "spectral_norm": False, "max_pool": 6}),
        ("--network nature-cnn", "nature-cnn", {}),
        ("--network resnet --network.width 8", "resnet", {"width": 8}),
    ],
)
def test_options_of_a_presets_network_go_with_it(words: str, network: str, options: dict[str, Any]) -> None:
    asked = resolve("btr", ["--env", "Pong-v5", "--preset", "atari", *words.split()], of="train btr").config
    assert (asked.network, asked.network_options) == (network, options)


def test_another_family_drops_the_options_of_a_network() -> None:
    assert "network_options" not in presets.apply(["atari", "minatar"], "btr")


def test_hadamax_changes_the_encoder_of_pqn_only() -> None:
    """Kooi et al. 2025: three blocks, 512 normalised units with a GELU, and PQN's settings."""
    plain, made = presets.config("pqn", "atari"), presets.config("pqn", "hadamax-pqn")
    assert made == dataclasses.replace(plain, network="hadamax", activation="gelu")
    assert presets.apply(["hadamax-pqn"], "pqn")["steps"] * 4 == 200_000_000
    network = PQN(spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6), made, num_envs=128).network
    blocks = sum(2 * (a * b * k * k + 3 * b) for a, b, k in ((4, 32, 8), (32, 64, 4), (64, 64, 3)))
    assert sum(one.numel() for one in network.parameters()) == blocks + 64 * 11 * 11 * 512 + 3 * 512 + 6 * 513
