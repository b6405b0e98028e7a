"""`python -m gymnast.envs.atari2600 check`: our console beside ale-py's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from gymnast.envs.atari2600.games import load_game, names

KINDS: dict[str, dict[str, Any]] = {
    "random": {"frames": 300, "reset_every": None},
    "modes": {"frames": 300},
    "search": {"frames": 20_000},
    "vector": {"steps": 2_000, "envs": 8},
}
"""What is played, with the default amounts."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 if a game differs, 2 for wrong input."""
    given = _parser().parse_args(words)
    try:
        amounts = _amounts(given)
        for name in given.games:
            load_game(name)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from gymnast.envs.atari2600.check_table import table  # compiles the console

    return 1 if table(given.kind, given.games, amounts, seeds=given.seeds, sticky=given.sticky, jobs=given.jobs) else 0


def _amounts(given: argparse.Namespace) -> dict[str, Any]:
    """How much is played; ValueError for an amount of another kind of play, which would have no effect."""
    amounts = dict(KINDS[given.kind])
    for name in ("frames", "reset_every", "steps", "envs"):
        value = getattr(given, name)
        if value is not None and name not in amounts:
            raise ValueError(f"--{name.replace('_', '-')} has no effect on play of the kind {given.kind}")
        if value is not None:
            amounts[name] = value
    return amounts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gymnast.envs.atari2600", description=__doc__)
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="play both consoles and print where they first differ"
    )
    kinds = check.add_mutually_exclusive_group()
    for name, text in (
        ("modes", "play each mode with each difficulty"),
        ("search", "play the way to the highest score that a search finds"),
        ("vector", "play both vector environments"),
    ):
        kinds.add_argument(
            f"--{name}", dest="kind", action="store_const", const=name, help=f"{text}; else play randomly"
        )
    check.set_defaults(kind="random")
    check.add_argument("--games", nargs="+", default=names(), metavar="GAME", help="all 57 by default")
    check.add_argument(
        "--frames", type=_positive, help="for each seed: of random play or of a mode (300), of a search (20,000)"
    )
    check.add_argument(
        "--reset-every", type=_positive, help="frames after which an episode of random play is broken off"
    )
    check.add_argument("--steps", type=_positive, help="of the vector environments, for each seed (2,000)")
    check.add_argument("--envs", type=_positive, help="rows of the vector environments (8)")
    check.add_argument("--seeds", nargs="+", type=_seed, default=[0], help="of ale-py and of the actions")
    check.add_argument("--sticky", nargs="+", type=_probability, default=[0.0], help="chances that an action repeats")
    check.add_argument("--jobs", type=_positive, default=1, help="processes that play at the same time")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**31 - 1}, got {number}")
    return number


def _probability(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
