"""Presets: each names options that exist, builds a valid config, and is refused where it does not fit."""

from __future__ import annotations

import dataclasses

import pytest

from gymnast import names, presets
from gymnast.errors import UsageError
from gymnast.options import TrainOptions

PAIRS = [(name, agent) for name, preset in presets.PRESETS.items() for agent in preset.agent]


@pytest.mark.parametrize(("name", "agent"), PAIRS)
def test_a_preset_builds_valid_options(name: str, agent: str) -> None:
    preset = presets.PRESETS[name]
    config_class = names.config_class(names.agent_class(agent))
    options = TrainOptions(env="CartPole-v1", **preset.run)
    config = config_class(**preset.agent[agent])
    resolved = dataclasses.asdict(options) | dataclasses.asdict(config)
    applied = presets.apply([name], agent)
    assert applied.items() <= resolved.items()
    assert applied == preset.run | preset.agent[agent]


@pytest.mark.parametrize(("name", "agent"), [pair for pair in PAIRS if pair[0] not in names.AGENTS])
def test_a_preset_changes_something(name: str, agent: str) -> None:
    config_class = names.config_class(names.agent_class(agent))
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
    with pytest.raises(UsageError, match=r"unknown preset 'taxy'; there are .*; did you mean taxi\?"):
        presets.apply(["taxy"], "q-learning")


def test_a_preset_for_other_agents_names_them() -> None:
    with pytest.raises(UsageError, match="the preset atari is for dqn, not for sarsa"):
        presets.apply(["atari"], "sarsa")


def test_atari_is_the_nature_paper() -> None:
    """Mnih et al. 2015, extended data table 1; periods in env steps (4 frames)."""
    changes = presets.apply(["atari"], "dqn")
    table = {"replay_size": 1_000_000, "train_period": 4, "learning_starts": 50_000, "target_period": 10_000}
    table |= {"batch_size": 32, "learning_rate": 2.5e-4, "epsilon": "linear:1:0.1:1000000"}
    assert table.items() <= changes.items()
    assert changes["steps"] * 4 == 200_000_000
