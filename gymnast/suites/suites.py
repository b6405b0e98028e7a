"""Suites: lists of environments run and reported together, each with its usual preset and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from gymnast.errors import UsageError, nearest


@dataclass(frozen=True)
class Suite:
    """Environments that belong together."""

    help: str
    envs: tuple[str, ...]
    preset: str
    """The preset to use with them."""
    protocol: str | None = None
    """The Atari protocol of its published figures."""
    needs: str | None = None
    """The package that registers the ids, if it is not one of gymnast's dependencies."""


def _atari(games: str) -> tuple[str, ...]:
    return tuple(f"ALE/{game}-v5" for game in games.split())


ATARI57 = """
Alien Amidar Assault Asterix Asteroids Atlantis BankHeist BattleZone BeamRider Berzerk Bowling Boxing Breakout Centipede
ChopperCommand CrazyClimber Defender DemonAttack DoubleDunk Enduro FishingDerby Freeway Frostbite Gopher Gravitar Hero
IceHockey Jamesbond Kangaroo Krull KungFuMaster MontezumaRevenge MsPacman NameThisGame Phoenix Pitfall Pong PrivateEye
Qbert Riverraid RoadRunner Robotank Seaquest Skiing Solaris SpaceInvaders StarGunner Surround Tennis TimePilot Tutankham
UpNDown Venture VideoPinball WizardOfWor YarsRevenge Zaxxon
"""
ATARI26 = """
Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand CrazyClimber DemonAttack Freeway
Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster MsPacman Pong PrivateEye Qbert RoadRunner Seaquest UpNDown
"""

SUITES: dict[str, Suite] = {
    "classic": Suite("classic control", ("CartPole-v1", "Acrobot-v1", "MountainCar-v0"), "classic"),
    "minatar": Suite(
        "the five small games of MinAtar (Young and Tian 2019)",
        tuple(f"MinAtar/{game}-v1" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")),
        "minatar",
        needs="minatar",
    ),
    "atari57": Suite("the 57 Atari games (Wang et al. 2016)", _atari(ATARI57), "atari", "rainbow"),
    "atari26": Suite("the 26 games of Atari 100k (Kaiser et al. 2020)", _atari(ATARI26), "atari100k", "rainbow"),
    "atari5": Suite(
        "five games that predict the median of all 57 (Aitchison et al. 2023)",
        _atari("BattleZone DoubleDunk NameThisGame Phoenix Qbert"),
        "atari",
        "rainbow",
    ),
}


@dataclass(frozen=True)
class Chosen:
    """The requested environments, with their suite's preset and protocol."""

    envs: tuple[str, ...]
    name: str
    """The suite's name, or `benchmark` for a list of ids."""
    preset: tuple[str, ...] = ()
    protocol: str | None = None


def choose(words: Sequence[str]) -> Chosen:
    """The environments named by a suite or a list of ids.

    Raises UsageError for a suite whose package is missing, for a suite among other words, and for an id given twice.
    """
    if len(words) == 1 and words[0] in SUITES:
        suite = SUITES[words[0]]
        if suite.needs is not None and find_spec(suite.needs) is None:
            raise UsageError(f"the suite {words[0]} needs the package {suite.needs}: pip install {suite.needs}")
        return Chosen(suite.envs, words[0], (suite.preset,), suite.protocol)
    for word in words:
        if word in SUITES:
            raise UsageError(f"the suite {word} cannot be combined with other environments, got {' '.join(words)}")
        near = nearest(word, SUITES)
        if near and not word[:1].isupper() and not any(mark in word for mark in "/:-"):
            raise UsageError(f"unknown suite {word!r}{near}")
    if len(set(words)) < len(words):
        raise UsageError(f"an id appears twice in {' '.join(words)}")
    return Chosen(tuple(words), "benchmark")
