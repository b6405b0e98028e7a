"""`python -m gymnast.envs.atari2600 check`: our console beside ale-py's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gymnast.envs.atari2600.games import GameError, load_game, names


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 if a game differs, 2 for wrong input."""
    parser = argparse.ArgumentParser(prog="python -m gymnast.envs.atari2600", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="play both consoles and print where they first differ")
    check.add_argument("--games", nargs="+", default=names(), metavar="GAME", help="all 57 by default")
    check.add_argument("--frames", type=_positive, default=300, help="of random play, for each seed")
    check.add_argument("--seeds", nargs="+", type=int, default=[0], help="of ale-py and of the actions")
    check.add_argument("--sticky", nargs="+", type=float, default=[0.0], help="probabilities of repeated actions")
    check.add_argument("--reset-every", type=_positive, help="frames after which an episode is broken off")
    given = parser.parse_args(words)
    try:
        for name in given.games:
            load_game(name)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from gymnast.envs.atari2600.check import table  # compiles the console

    options = {"frames": given.frames, "seeds": given.seeds, "sticky": given.sticky, "reset_every": given.reset_every}
    return 1 if table(given.games, **options) else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
