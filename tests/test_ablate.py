"""The 14 variants: each changes one thing, whatever the environment's presets say."""

import dataclasses
from pathlib import Path

import pytest

from gymnast.cli.main import main
from gymnast.reports import comparison
from gymnast.settings.request import resolve
from gymnast.suites import suites
from gymnast.suites.ablate import ABLATIONS, RAINBOW, colours, figure
from gymnast.suites.benchmark import Variant, plan
from gymnast.suites.options import ABLATED, AblateOptions
from tests.runs import write_run

VARIANTS = ABLATIONS["rainbow"].variants("rainbow")
FIELD = {
    "double": "double",
    "dueling": "dueling",
    "prioritized": "prioritized",
    "noisy": "noisy",
    "n-step": "n_step",
    "distributional": "values",
}


def config(variant: Variant, preset: str) -> dict:
    asked = resolve(variant.agent, ["--env", "Pong", "--preset", preset, *variant.words], of="train")
    return dataclasses.asdict(asked.config)


def test_there_are_14() -> None:
    labels = [variant.label for variant in VARIANTS]
    assert labels[0] == "DQN"
    assert labels[-1] == "Rainbow"
    assert labels[1:7] == [f"DQN + {part}" for part in RAINBOW]
    assert labels[7:13] == [f"Rainbow - {part}" for part in RAINBOW]
    assert len({variant.folder for variant in VARIANTS}) == len(VARIANTS) == 14


@pytest.mark.parametrize("preset", ["classic", "minatar", "atari", "atari100k"])
def test_each_variant_changes_one_thing(preset: str) -> None:
    dqn, rainbow = config(VARIANTS[0], preset), config(VARIANTS[-1], preset)
    for variant, part in zip(VARIANTS[1:7], RAINBOW, strict=True):
        changed = {name for name, value in config(variant, preset).items() if value != dqn[name]}
        assert changed == {FIELD[part]}, variant.label
        assert config(variant, preset)[FIELD[part]] == rainbow[FIELD[part]]
    for variant, part in zip(VARIANTS[7:13], RAINBOW, strict=True):
        changed = {name for name, value in config(variant, preset).items() if value != rainbow[name]}
        assert changed == {FIELD[part]}, variant.label
        assert config(variant, preset)[FIELD[part]] == dqn[FIELD[part]]


@pytest.mark.parametrize("preset", ["classic", "minatar", "atari", "atari100k"])
def test_rainbow_without_noise_explores(preset: str) -> None:
    variant = next(variant for variant in VARIANTS if variant.label == "Rainbow - noisy")
    assert config(variant, preset)["epsilon"].startswith("linear:1:0.")


@pytest.mark.parametrize("agent", ABLATED[1:])
@pytest.mark.parametrize("preset", ["classic", "atari100k"])
def test_each_variant_of_an_agent_lacks_one_part(agent: str, preset: str) -> None:
    """Which options differ from the whole agent's; without a preset for images there is nothing to augment."""
    if (agent, preset) == ("btr", "atari100k"):
        preset = "atari"
    *variants, whole = ABLATIONS[agent].variants(agent)
    assert whole.label.lower() == agent
    plain = config(whole, preset)
    for variant in variants:
        changed = {name for name, value in config(variant, preset).items() if value != plain[name]}
        if variant.label.endswith("annealing"):
            assert changed == {"anneal_steps", "n_step", "gamma"}
        else:
            assert len(changed) == 1 or (variant.label.endswith("augmentation") and preset == "classic"), variant.label
    assert set(ABLATIONS) == set(ABLATED)


def test_the_folders_tell_variants_apart() -> None:
    options = AblateOptions(agent="rainbow", env=("gymnast/Catch-v0",), seeds=2, steps=100)
    runs = plan(options, suites.choose(options.env), VARIANTS, name="ablate-rainbow", extra=())
    paths = [item.path for item in runs]
    assert len(set(paths)) == 28
    assert paths[0] == Path("runs/gymnast-Catch-v0/dqn/ablate-rainbow-plain-seed0")
    assert paths[-1] == Path("runs/gymnast-Catch-v0/rainbow/ablate-rainbow-whole-seed1")


def test_the_figure_has_a_panel_for_each_part_and_the_final_scores(tmp_path: Path) -> None:
    labels = {
        write_run(tmp_path / variant.folder, env=env, score=index, agent=variant.label, seed=0): variant.label
        for index, variant in enumerate(VARIANTS)
        for env in ["gymnast/Catch-v0"]
    }
    found = comparison.compare(labels, title="ablation", resamples=100)
    drawn = figure(found, ABLATIONS["rainbow"])
    assert len(drawn.axes) == 7
    for axes, part in zip(drawn.axes[:6], RAINBOW, strict=True):
        assert axes.get_title() == f"gymnast/Catch-v0: {part}"
        names = [line.get_label() for line in axes.lines]
        assert names == ["DQN", "DQN + the part", "Rainbow - the part", "Rainbow"]
    points = drawn.axes[6]
    assert [text.get_text() for text in points.get_yticklabels()] == [variant.label for variant in VARIANTS]
    assert [line.get_xdata()[0] for line in points.lines] == list(range(14))
    assert set(colours(found.table.agents, "Rainbow")) == set(found.table.agents)


def test_what_ablate_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "dqn", "--env", "CartPole-v1"]) == 2
    assert capsys.readouterr().err == "gymnast: ablate takes rainbow, spr, bbf or btr, got dqn\n"
    assert main(["ablate", "rainbow"]) == 2
    assert capsys.readouterr().err == "gymnast: ablate needs --env ID [ID ...]\n"
