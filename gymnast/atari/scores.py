"""Reference and published scores of the Atari-57 games, each column with its paper and its protocol.

Scores under different protocols are not comparable: `COLUMNS` names each protocol, and so does every printed table.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from gymnast.errors import nearest

GAME = re.compile(r"(?:ale_py:)?(?:ALE/)?(?P<game>\w+?)(?:NoFrameskip|Deterministic)?(?:-v\d+)?")
NO_OP_STARTS = "no-op starts, at most 108,000 frames, no sticky actions"


@dataclass(frozen=True)
class Column:
    """Source of a column of scores."""

    paper: str
    conditions: str
    """How the scores were obtained."""
    protocol: str | None = None
    """The protocol that plays games the same way, or None (papers chose their own evaluation epsilons)."""


@dataclass(frozen=True)
class Reference:
    """The two reference scores of human-normalized scores."""

    random: float
    human: float
    source: str


@dataclass(frozen=True)
class Published:
    """A published score of one game."""

    score: float
    column: Column


WANG = "Wang et al. 2016"
COLUMNS: dict[str, Column] = {
    "random": Column(WANG, NO_OP_STARTS, "rainbow"),
    "human": Column(WANG, NO_OP_STARTS, "rainbow"),
    "dqn": Column("Bellemare et al. 2017", f"{NO_OP_STARTS}, 200M frames, best agent", "rainbow"),
    "double_dqn": Column(f"{WANG} (their re-run)", f"{NO_OP_STARTS}, 200M frames", "rainbow"),
    "dueling_dqn": Column(WANG, f"{NO_OP_STARTS}, 200M frames", "rainbow"),
    "prioritized_dueling_double_dqn": Column(WANG, f"{NO_OP_STARTS}, 200M frames", "rainbow"),
    "noisy_dqn": Column("Fortunato et al. 2018", NO_OP_STARTS, "rainbow"),
    "c51": Column("Bellemare et al. 2017", f"{NO_OP_STARTS}, 200M frames, best agent", "rainbow"),
    "rainbow": Column("Hessel et al. 2018", f"{NO_OP_STARTS}, 200M frames, 54 games", "rainbow"),
    "a3c": Column("Fortunato et al. 2018 (their baseline)", NO_OP_STARTS, "rainbow"),
    "ppo_40m_frames": Column("Schulman et al. 2017", "mean of the last 100 training episodes at 40M frames, 49 games"),
}
"""The columns of the table in order: the two references, then published agents."""
SOURCE = f"{WANG}, as Rainbow and its successors use them"


@cache
def table() -> dict[str, dict[str, float]]:
    """Scores by game (`ms_pacman`) and column; scores that a paper does not give are left out."""
    text = resources.files("gymnast.atari").joinpath("data/atari57.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {row["game"]: {name: float(row[name]) for name in COLUMNS if row[name]} for row in rows}


def game_of(name: str) -> str | None:
    """The table's name of a game, from that name or an id (`Pong`, `ALE/Pong-v5`, `PongNoFrameskip-v4`), or None."""
    match = GAME.fullmatch(name)
    return None if match is None else _plain_names().get(match["game"].replace("_", "").lower())


def reference(game: str) -> Reference:
    """Random and human score of a game, by name or id. Raises ValueError if it is not one of the 57."""
    row = table()[_known(game)]
    return Reference(row["random"], row["human"], SOURCE)


def human_normalized(game: str, score: float) -> float:
    """(score - random) / (human - random): 0 plays like chance, 1 like a human (Mnih et al. 2015)."""
    found = reference(game)
    return (score - found.random) / (found.human - found.random)


def human_gap(game: str, score: float) -> float:
    """1 - min(human-normalized score, 1): the distance below human level, 0 at or above it.

    Its mean over games and seeds is the optimality gap with gamma = 1 (Agarwal et al. 2021, section 4.3).
    """
    return 1.0 - min(human_normalized(game, score), 1.0)


def published(game: str) -> dict[str, Published]:
    """Published scores of a game by agent, each with paper and protocol. Raises ValueError like `reference`."""
    row = table()[_known(game)]
    return {name: Published(score, COLUMNS[name]) for name, score in row.items() if name not in ("random", "human")}


@cache
def _plain_names() -> dict[str, str]:
    return {game.replace("_", ""): game for game in table()}


def _known(game: str) -> str:
    found = game_of(game)
    if found is None:
        raise ValueError(
            f"no published scores for {game!r}: it is not one of the Atari-57 games{nearest(game, table())}"
        )
    return found
