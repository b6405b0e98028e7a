"""The suites name games that there are, as many as their papers have."""

import gymnasium as gym
import pytest

from gymnast.atari import scores
from gymnast.atari.protocols import PROTOCOLS
from gymnast.cli.main import main
from gymnast.envs import registration
from gymnast.envs.atari.names import atari_name
from gymnast.envs.factory import full_id
from gymnast.errors import UsageError
from gymnast.settings.presets import PRESETS
from gymnast.suites import suites
from gymnast.suites.suites import SUITES, choose


@pytest.mark.parametrize(
    ("name", "size"), [("classic", 3), ("minatar", 5), ("atari57", 57), ("atari26", 26), ("atari5", 5)]
)
def test_sizes(name: str, size: int) -> None:
    envs = SUITES[name].envs
    assert len(envs) == len(set(envs)) == size


@pytest.mark.parametrize("name", ["atari57", "atari26", "atari5"])
def test_every_atari_id_is_a_game_of_ale_py_in_full(name: str) -> None:
    for id in SUITES[name].envs:
        assert atari_name(id).id == id
        assert id in gym.registry or full_id(id) == id


def test_the_57_games_are_those_of_the_published_scores() -> None:
    assert {scores.game_of(id) for id in SUITES["atari57"].envs} == set(scores.table())
    assert set(SUITES["atari26"].envs) < set(SUITES["atari57"].envs)
    assert set(SUITES["atari5"].envs) < set(SUITES["atari57"].envs)


def test_usual_presets_and_protocols_exist() -> None:
    for suite in SUITES.values():
        assert suite.preset in PRESETS
        assert suite.protocol is None or suite.protocol in PROTOCOLS


def test_a_suite_or_ids() -> None:
    chosen = choose(["atari5"])
    assert chosen == suites.Chosen(SUITES["atari5"].envs, "atari5", ("atari",), "rainbow")
    assert choose(["Pong", "CartPole-v1"]) == suites.Chosen(("Pong", "CartPole-v1"), "benchmark")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["atari5", "CartPole-v1"],
            "the suite atari5 cannot be combined with other environments, got atari5 CartPole-v1",
        ),
        (["atrai5"], "unknown suite 'atrai5'; did you mean atari5?"),
        (["CartPole-v1", "CartPole-v1"], "an id appears twice in CartPole-v1 CartPole-v1"),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        choose(words)
    assert str(error.value) == message


def test_minatar_without_its_package_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^the suite minatar needs the package minatar: pip install minatar$"):
        choose(["minatar"])


def test_minatar_with_its_package_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym.envs.registration, "registry", registry := dict(gym.registry))
    monkeypatch.setattr(gym, "registry", registry)
    monkeypatch.setattr(suites, "find_spec", lambda name: object())
    monkeypatch.setattr(registration, "find_spec", lambda name: object())
    for id in choose(["minatar"]).envs:
        registry.pop(id, None)
        registration.register()
        assert registry[id].entry_point == "minatar.gym:BaseEnv"
        assert registry[id].kwargs["use_minimal_action_set"] is True
    assert registry["MinAtar/SpaceInvaders-v1"].kwargs["game"] == "space_invaders"


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "suites"]) == 0
    text = capsys.readouterr().out
    for name, suite in SUITES.items():
        assert f"{name} " in text
        assert all(id in text for id in suite.envs)
