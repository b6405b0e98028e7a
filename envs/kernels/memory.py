"""gymnast/Memory-v0, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer

FIELDS = (("cue", np.int64), ("time", np.int64))


def begin(state: Any, draws: Any, options: Any) -> None:
    state.cue, state.time = integer(draws, 0, options.cues), 0


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    asked = state.time == options.delay
    state.time += 1
    if not asked:
        return 0.0, False
    return (1.0 if action == state.cue else -1.0), True


def show(state: Any, obs: Any, options: Any) -> None:
    for entry in range(options.cues + 1):
        obs[entry] = 0.0
    if state.time == 0:
        obs[state.cue] = 1.0
    elif state.time == options.delay:
        obs[options.cues] = 1.0
