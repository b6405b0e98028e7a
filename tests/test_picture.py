"""Pictures of tables are drawn for every kind of environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from gymnast.agents.tabular.dynamic_programming import optimal_q
from gymnast.agents.tabular.learners import TD, QLearning, QLearningConfig, TDConfig
from gymnast.envs import make
from gymnast.tabular import picture


@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("FrozenLake-v1", {"desc": ["SFF", "FHG"]}),
        ("CliffWalking-v1", {}),
        ("gymnast/Chain-v0", {"length": 3}),
        ("Taxi-v4", {}),
        ("Blackjack-v1", {}),
    ],
)
def test_every_grid_and_none(id: str, options: dict[str, Any], tmp_path: Path) -> None:
    env = make(id, options=options, vectorization="serial")
    env.reset()
    table = env.transition_table()
    q = np.zeros((704, 2)) if table is None else optimal_q(table, 0.99)
    picture.draw(tmp_path / "new" / "q.png", q, env)
    picture.draw(tmp_path / "v.png", q.max(1), env)  # values alone: no arrows
    with_arrows, without = imread(tmp_path / "new" / "q.png"), imread(tmp_path / "v.png")
    assert with_arrows.std() > 0.01
    if table is not None:
        assert (with_arrows != without).any()


def test_best_actions() -> None:
    q = np.array([[1.0, 2.0, 2.0, -np.inf], [3.0, 3.0, 3.0, 3.0]])
    arrows = picture.ARROWS["FrozenLakeEnv"]
    assert picture._best(q, 0, arrows) == [picture.DOWN, picture.RIGHT]
    assert picture._best(q, 1, arrows) == []  # nothing is known: no arrow
    assert picture._best(q.max(1), 0, arrows) == []


def test_arrows_point_where_the_actions_lead() -> None:
    options = {"desc": ["SFF", "FFF", "FFG"], "is_slippery": False}
    table = make("FrozenLake-v1", options=options, vectorization="serial").transition_table()
    assert table is not None
    moves = [divmod(int(state), 3) for state in table.next_state[4, :, 0]]
    assert [(column - 1, row - 1) for row, column in moves] == picture.ARROWS["FrozenLakeEnv"]
    table = make("CliffWalking-v1", vectorization="serial").transition_table()
    assert table is not None
    moves = [divmod(int(state), 12) for state in table.next_state[17, :, 0]]
    assert [(column - 5, row - 1) for row, column in moves] == picture.ARROWS["CliffWalkingEnv"]
    taxi = make("Taxi-v4", vectorization="serial")
    base: Any = taxi.rows[0].env.unwrapped  # type: ignore[attr-defined]
    table = taxi.transition_table()
    assert table is not None
    places = [list(base.decode(int(state)))[:2] for state in table.next_state[base.encode(2, 2, 0, 1), :4, 0]]
    assert [(column - 2, row - 2) for row, column in places] == picture.ARROWS["TaxiEnv"]


def test_agents_and_finite_horizons(tmp_path: Path) -> None:
    env = make("gymnast/Chain-v0", vectorization="serial")
    spaces = env.single_observation_space, env.single_action_space
    stages = QLearning(*spaces, QLearningConfig(objective="finite-horizon", horizon=3))
    assert picture._table(stages).shape == (5, 2)
    assert picture._table(TD(*spaces, TDConfig(objective="finite-horizon", horizon=3))).shape == (5,)
    picture.draw(tmp_path / "a.svg", TD(*spaces, TDConfig()), env)
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    with pytest.raises(ValueError, match="table of values"):
        picture.draw(tmp_path / "b.png", object(), env)  # type: ignore[arg-type]
