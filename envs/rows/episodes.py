"""The current episodes of the rows of a vector environment. No torch needed here."""

from __future__ import annotations

from typing import Any

import numpy as np


class Episodes:
    """True returns, lengths and numbers, one per row; numbers are counted over all rows since the last `restart`."""

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs)
        self.lengths = np.zeros(num_envs, np.int64)
        self.numbers = np.arange(num_envs)
        self.begun = 0

    def restart(self) -> None:
        """The first episode begins in every row."""
        self.begun = 0
        self.begin(np.ones(len(self.numbers), np.bool_))

    def begin(self, rows: np.ndarray) -> None:
        """Episodes begin in these rows, bool [N]."""
        self.returns[rows] = 0.0
        self.lengths[rows] = 0
        self.numbers[rows] = np.arange(self.begun, self.begun + int(rows.sum()))
        self.begun += int(rows.sum())

    def where(self) -> str:
        """Steps of the rows' episodes, for messages."""
        low, high = int(self.lengths.min()), int(self.lengths.max())
        return f"step {low}" if low == high else f"step {low} to {high} of the rows' episodes"

    def state(self) -> dict[str, Any]:
        return {
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "episode": [int(number) for number in self.numbers],
            "begun": self.begun,
        }

    def put_back(self, state: dict[str, Any]) -> None:
        self.returns = np.array(state["returns"])
        self.lengths = np.array(state["lengths"], np.int64)
        self.numbers, self.begun = np.array(state["episode"]), state["begun"]
