"""The known dynamics of Gymnasium's toy text (and of any environment with the same `P`) as arrays."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymnast.envs.rows import snapshot
from gymnast.envs.step import TransitionTable


def transition_table(env: gym.Env[Any, Any], limit: float) -> TransitionTable | None:
    """The table of an environment with `P` and `initial_state_distrib`, None if it has none or it would be wrong.

    It would be wrong under a wrapper that may change rewards or states, and with Taxi's fickle passenger, who changes
    the destination outside the table.
    """
    base: Any = env.unwrapped
    states, actions = env.observation_space, env.action_space
    plain = all(type(wrapper) in snapshot.WRAPPERS for wrapper in snapshot.wrappers(env))
    described = hasattr(base, "P") and hasattr(base, "initial_state_distrib")
    if not plain or not described or getattr(base, "fickle_passenger", False):
        return None
    if not isinstance(states, spaces.Discrete) or not isinstance(actions, spaces.Discrete):
        return None
    if states.start != 0 or actions.start != 0:
        return None
    size = (int(states.n), int(actions.n), max(len(outcomes) for row in base.P.values() for outcomes in row.values()))
    table = TransitionTable(
        probability=np.zeros(size),
        next_state=np.zeros(size, np.int64),
        reward=np.zeros(size),
        terminated=np.zeros(size, np.bool_),
        initial=np.array(base.initial_state_distrib, np.float64),
        max_episode_steps=None if math.isinf(limit) else int(limit),
    )
    for state, row in base.P.items():
        for action, outcomes in row.items():
            for index, (probability, next_state, reward, terminated) in enumerate(outcomes):
                at = (state, action, index)
                table.probability[at], table.next_state[at] = probability, next_state
                table.reward[at], table.terminated[at] = reward, terminated
    return table
