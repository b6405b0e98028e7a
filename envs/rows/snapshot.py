"""The state of a Gymnasium environment needed to continue it exactly; without torch, because workers use it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import wrappers as wrappers_module

from gymnast.envs.rows import lasting, mujoco_state

Method = Literal["state", "replay", "none"]
"""By its state (own `snapshot`/`restore`, or a class known here), by seeded replay of the actions, or not at all."""

AnyEnv: TypeAlias = "gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]"
_CLASSIC, _TOY = "gymnasium.envs.classic_control", "gymnasium.envs.toy_text"
STATE: dict[str, tuple[str, ...]] = {
    f"{_CLASSIC}.cartpole:CartPoleEnv": ("state", "steps_beyond_terminated"),
    f"{_CLASSIC}.acrobot:AcrobotEnv": ("state",),
    f"{_CLASSIC}.mountain_car:MountainCarEnv": ("state",),
    f"{_CLASSIC}.continuous_mountain_car:Continuous_MountainCarEnv": ("state",),
    f"{_CLASSIC}.pendulum:PendulumEnv": ("state", "last_u"),
    f"{_CLASSIC}.cartpole:CartPoleVectorEnv": ("state", "steps", "prev_done", "low", "high"),
    f"{_TOY}.blackjack:BlackjackEnv": ("dealer", "player", "dealer_top_card_suit", "dealer_top_card_value_str"),
    f"{_TOY}.frozen_lake:FrozenLakeEnv": ("s", "lastaction"),
    f"{_TOY}.cliffwalking:CliffWalkingEnv": ("s", "lastaction"),
    f"{_TOY}.taxi:TaxiEnv": ("s", "lastaction", "fickle_step", "taxi_orientation"),
}
"""The attributes that Gymnasium's toy text and classic control change after construction, pictures left out."""
WRAPPERS: tuple[type[gym.Wrapper[Any, Any, Any, Any]], ...] = (
    wrappers_module.Autoreset,
    wrappers_module.ClipAction,
    wrappers_module.ClipReward,
    wrappers_module.DelayObservation,
    wrappers_module.DtypeObservation,
    wrappers_module.FilterObservation,
    wrappers_module.FlattenObservation,
    wrappers_module.FrameStackObservation,
    wrappers_module.GrayscaleObservation,
    wrappers_module.MaxAndSkipObservation,
    wrappers_module.NormalizeObservation,
    wrappers_module.NormalizeReward,
    wrappers_module.OrderEnforcing,
    wrappers_module.PassiveEnvChecker,
    wrappers_module.RecordEpisodeStatistics,
    wrappers_module.RepeatAction,
    wrappers_module.RescaleAction,
    wrappers_module.RescaleObservation,
    wrappers_module.ReshapeObservation,
    wrappers_module.StickyAction,
    wrappers_module.TimeAwareObservation,
    wrappers_module.TimeLimit,
)
"""Gymnasium's wrappers whose state is in attributes of plain values, all of which are kept."""
EARLIER = {wrappers_module.TimeLimit: "_elapsed_steps", wrappers_module.OrderEnforcing: "_has_reset"}
"""The only attribute of a wrapper in snapshots of earlier builds."""


def method(env: gym.Env[Any, Any]) -> Method:
    """How an environment can be restored; classes and wrappers that are not known exactly are replayed."""
    if all(type(wrapper) in WRAPPERS for wrapper in wrappers(env)) and has_state(env.unwrapped):
        return "state"
    return "none" if env.spec is not None and env.spec.nondeterministic else "replay"


def has_state(env: AnyEnv) -> bool:
    """Whether `take` and `put_back` know an unwrapped environment."""
    own = hasattr(env, "snapshot") and hasattr(env, "restore")
    return own or _name(env) in STATE or mujoco_state.known(env)


def wrappers(env: AnyEnv) -> list[gym.Wrapper[Any, Any, Any, Any]]:
    """The wrappers around an environment, outermost first."""
    found = []
    while isinstance(env, gym.Wrapper):
        found.append(env)
        env = env.env
    return found


def take(env: AnyEnv) -> dict[str, Any]:
    """The state of an environment that `has_state`, its generator and its wrappers' state."""
    base: Any = env.unwrapped
    if hasattr(base, "snapshot"):
        state = base.snapshot()
    elif mujoco_state.known(base):
        state = mujoco_state.take(base)
    else:
        # older versions of Gymnasium lack some of them
        state = {name: _encode(getattr(base, name)) for name in STATE[_name(base)] if hasattr(base, name)}
    kept = [lasting.attributes(wrapper) for wrapper in wrappers(env)]
    return {"state": state, "np_random": dict(base.np_random.bit_generator.state), "wrappers": kept}


def put_back(env: AnyEnv, taken: dict[str, Any]) -> None:
    """Restore the result of `take` in an environment built the same way, which may never have been reset."""
    base: Any = env.unwrapped
    env.reset()  # sets up the state that wrappers (Gymnasium's checker) create at their first reset
    base.np_random = np.random.Generator(np.random.PCG64())
    base.np_random.bit_generator.state = taken["np_random"]
    if hasattr(base, "restore"):
        base.restore(taken["state"])
    elif mujoco_state.known(base):
        mujoco_state.put_back(base, taken["state"])
    else:
        for name, value in taken["state"].items():
            setattr(base, name, _decode(value))
    for wrapper, kept in zip(wrappers(env), taken["wrappers"], strict=True):
        if isinstance(kept, dict):
            lasting.put_attributes(wrapper, kept)
        elif attribute := EARLIER.get(type(wrapper)):
            setattr(wrapper, attribute, kept)


def _name(env: AnyEnv) -> str:
    return f"{type(env).__module__}:{type(env).__qualname__}"


def _encode(value: Any) -> Any:
    """Keeps types that arithmetic depends on: NumPy scalars become 0-d arrays, tuples are marked."""
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.generic):
        return np.array(value)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple):
        return {"tuple": [_encode(part) for part in value]}
    if isinstance(value, list):
        return [_encode(part) for part in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value[()] if value.ndim == 0 else value.copy()
    if isinstance(value, dict):
        return tuple(_decode(part) for part in value["tuple"])
    if isinstance(value, list):
        return [_decode(part) for part in value]
    return value
