"""The state of Gymnasium's MuJoCo environments; without torch, because workers use it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

OURS = re.compile(r"gymnasium\.envs\.mujoco\.\w+_v[45]")
"""Modules of the environments whose only changing state is in `data`: none of a subclass elsewhere."""
PLACES = (
    "cam_xmat",
    "cam_xpos",
    "geom_xmat",
    "geom_xpos",
    "light_xdir",
    "light_xpos",
    "site_xmat",
    "site_xpos",
    "ximat",
    "xipos",
    "xmat",
    "xpos",
    "xquat",
)
"""Places of bodies and what is fixed to them, computed from the joints before a step and so one substep behind them.

Ant and Humanoid read them at the beginning of their next step, Reacher-v4 and Pusher-v4 take their reward from them:
to compute them anew would change the next reward.
"""


def known(env: Any) -> bool:
    """Whether an unwrapped environment is one of Gymnasium's own."""
    return OURS.fullmatch(type(env).__module__) is not None


def take(env: Any) -> dict[str, Any]:
    """All that the next step depends on: joints, time, actuators, the solver's warm start, and `PLACES`; copies."""
    import mujoco

    state = np.empty(_size(env))
    mujoco.mj_getState(env.model, env.data, state, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    return {"integration": state, "places": {name: getattr(env.data, name).copy() for name in PLACES}}


def put_back(env: Any, taken: dict[str, Any]) -> None:
    """Restore the result of `take`; ValueError for another model, or another MuJoCo whose state differs."""
    import mujoco

    state = np.asarray(taken["integration"])
    if state.size != _size(env):
        raise ValueError(
            f"a state of {state.size} numbers cannot be restored in {type(env).__name__}, whose state with this model "
            f"and MuJoCo {mujoco.__version__} has {_size(env)}"
        )
    mujoco.mj_setState(env.model, env.data, state, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    for name, value in taken["places"].items():
        getattr(env.data, name)[:] = value


def _size(env: Any) -> int:
    import mujoco

    return int(mujoco.mj_stateSize(env.model, int(mujoco.mjtState.mjSTATE_INTEGRATION)))
