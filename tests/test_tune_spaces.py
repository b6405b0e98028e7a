"""Spaces: what comes with gymnast fits its agents, and mistakes in a file are one line."""

from __future__ import annotations

from importlib import resources

import optuna
import pytest

from gymnast.agents.base import Planner
from gymnast.errors import UsageError
from gymnast.settings import agents, idle
from gymnast.settings.request import resolve, train_flags
from gymnast.tuning import space
from gymnast.tuning.search import FIXED, PREDICTS

TUNED = [name for name in agents.AGENTS if name != PREDICTS and not issubclass(agents.agent_class(name), Planner)]
"""Every agent that trains and acts."""


@pytest.mark.parametrize("agent", TUNED)
def test_every_agent_has_a_space_of_values_that_it_takes(agent: str) -> None:
    found = space.of_agent(agent)
    names = [setting.name for setting in found.settings]
    assert set(names) <= train_flags(agent).keys() - FIXED
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    low = {setting.name: setting.extremes[0] for setting in found.settings}
    high = {setting.name: setting.extremes[-1] for setting in found.settings}
    for values in (low, high, study.ask(fixed_distributions=found.distributions()).params):
        asked = resolve(agent, ["--env", "CartPole-v1", *found.words(values)], of="train")
        idle.check(asked.config, asked.given)
        assert {name: getattr(asked.config, name) for name in names} == values


def test_every_file_is_used() -> None:
    files = {file.name for file in resources.files("gymnast.tuning").joinpath("spaces").iterdir()}
    assert files == {f"{space.name_of(agent)}.toml" for agent in TUNED}


def test_forms() -> None:
    text = """
    learning-rate = { low = 1e-5, high = 1e-2, log = true }
    clip = { low = 0.1, high = 0.3, step = 0.1 }
    hidden_sizes = [[64, 64], [256]]
    normalise_advantages = [true, false]
    "network.width" = [1, 2]
    [epochs]
    low = 2
    high = 10
    """
    found = space.parse(text, "it")
    rate, clip, sizes, _, width, epochs = found.settings
    assert (rate.name, width.name) == ("learning_rate", "network.width")
    assert rate.distribution() == optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
    assert epochs.distribution() == optuna.distributions.IntDistribution(2, 10)
    assert clip.points() == pytest.approx((0.1, 0.2, 0.3))
    assert epochs.points() == tuple(range(2, 11))
    assert sizes.points() == ("64 64", "256")
    values = {"hidden_sizes": "64 64", "normalise_advantages": False, "network.width": 2, "learning_rate": 1e-5}
    words = [
        "--hidden-sizes",
        "64",
        "64",
        "--no-normalise-advantages",
        "--network.width",
        "2",
        "--learning-rate",
        "1e-05",
    ]
    assert found.words(values) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no setting to search"),
        ("alpha = ", "it is not TOML: "),
        ("alpha = 0.1", "it: alpha must be a list of two or more choices, or have low and high, got 0.1"),
        ("alpha = [0.1]", "it: alpha must be a list of two or more choices"),
        ("alpha = [0.1, 0.1]", "it: alpha has the same choice twice"),
        ("alpha = [0.1, [0.1]]", "it: alpha must have numbers, strings, true and false, or only lists for choices"),
        ("alpha = { low = 0.1 }", "it: alpha needs high"),
        ("alpha = { low = 0.1, hihg = 1 }", "it: alpha has no key 'hihg'; choose from low, high, log, step; did you"),
        ("alpha = { low = 'a', high = 1 }", "it: alpha needs a number for low, got 'a'"),
        ("alpha = { low = true, high = 1 }", "it: alpha needs a number for low, got True"),
        ("alpha = { low = 1, high = inf }", "it: alpha needs a number for high, got inf"),
        ("alpha = { low = 1, high = 1 }", "it: alpha must have low below high, got 1 and 1"),
        ("alpha = { low = 0, high = 1, log = true }", "it: alpha must have low above 0 with log, got 0"),
        ("alpha = { low = 1, high = 2, log = 1 }", "it: alpha must have true or false for log, got 1"),
        ("alpha = { low = 1, high = 2, log = true, step = 1 }", "it: alpha cannot have both log and step"),
        ("alpha = { low = 1, high = 2, step = 0 }", "it: alpha must have a step above 0, got 0"),
        ("alpha = { low = 1, high = 2, step = 0.3 }", "it: alpha must reach high from low in whole steps, got 1, 2"),
        ("n-step = [1, 2]\nn_step = [1, 2]", "it has n_step twice"),
    ],
)  # fmt: skip
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        space.parse(text, "it")
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
