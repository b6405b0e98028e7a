"""A finite game by its transition table, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import rule, uniform

FIELDS = (("state", np.int64),)


def begin(state: Any, draws: Any, options: Any) -> None:
    state.state = options.first[passed(options.first_bounds, uniform(draws, 0))]


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    now, outcome = state.state, 0
    if options.outcomes > 1:
        drawn = uniform(draws, 0)
        while options.bounds[now, action, outcome] <= drawn:  # the last bound is 1
            outcome += 1
    state.state = options.next_state[now, action, outcome]
    return options.reward[now, action, outcome], options.terminated[now, action, outcome] != 0


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0] = state.state


def allow(state: Any, mask: Any, options: Any) -> None:
    for action in range(len(mask)):
        mask[action] = options.allowed[state.state, action] != 0


@rule
def passed(bounds: Any, drawn: Any) -> int:
    """How many of the ascending bounds, the last of which is 1, a draw below 1 is not below: by halving."""
    low, high = 0, len(bounds) - 1
    while low < high:
        middle = (low + high) // 2
        if bounds[middle] <= drawn:
            low = middle + 1
        else:
            high = middle
    return low
