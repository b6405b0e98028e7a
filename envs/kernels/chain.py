"""gymnast/Chain-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

FIELDS = (("at", np.int64),)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.at = 0


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    target = state.at + 2 * action - 1
    if target < 0:
        return options.left_reward, True
    if target == options.length:
        return options.right_reward, True
    state.at = target
    return 0.0, False


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0] = state.at
