"""One Gymnasium environment: its time limit, true return and length, its seeds. No torch here: workers use it."""

from __future__ import annotations

import math
import struct
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from gymnast.envs.errors import EnvError, EnvWarning, cause, display_hint
from gymnast.envs.rows import incoming, lasting, snapshot
from gymnast.envs.rows.actions import ActionLog
from gymnast.envs.rows.incoming import BadValue
from gymnast.envs.rows.lasting import Kept
from gymnast.envs.rows.pictures import picture

RESEED_AFTER = 10_000
"""Actions since the last seeded reset after which the next reset is seeded, so that a replay stays short."""
REPLAY_LIMIT = 20_000
"""Actions that are kept for a replay; longer episodes are not replayed, so that memory use stays bounded."""
EXTRAS = ("lives", "action_mask")
"""Values taken besides observation and reward, if the first reset has them."""
_IN_USE: dict[int, weakref.ref[gym.Env[Any, Any]]] = {}
"""The environments that rows step, by identity: no two rows may share one."""

Stepped = tuple[Any, float, bool, bool, "tuple[Any, ...] | None"]
"""Observation, reward, terminated, truncated, extras."""
Restored = tuple[Any, "tuple[Any, ...] | None", bool]
"""Observation if it is known, extras, and whether a new episode had to begin."""
Begun = tuple[Any, "tuple[Any, ...] | None"]
"""First observation of an episode, extras."""


class Row:
    """One environment of a batch; the caller resets it when an episode ended.

    The outermost `TimeLimit` and `OrderEnforcing` wrappers are removed and their work is done here, exactly: a row
    counts its steps anyway, and the adapter never steps before a reset.
    """

    __slots__ = (
        "_actions",
        "_built",
        "_kept",
        "_mask_of",
        "_mask_shape",
        "_seeds",
        "_spaces",
        "_step",
        "env",
        "episode",
        "episode_return",
        "extras",
        "imposed",
        "length",
        "limit",
        "method",
        "name",
        "number",
        "reseeds",
        "seed",
    )

    def __init__(
        self, env: gym.Env[Any, Any], *, name: str, seeds: np.random.SeedSequence, number: int | None = None
    ) -> None:
        _take(env, name)
        self.name, self.number = name, number
        """The number is that among several rows, for messages."""
        self.method = snapshot.method(env)
        self.limit: float = math.inf
        self.imposed = False
        """Whether the limit is an evaluation's."""
        while type(env) in (TimeLimit, OrderEnforcing):
            if isinstance(env, TimeLimit):
                self.limit = min(self.limit, env._max_episode_steps)
            env = env.env  # type: ignore[attr-defined]
        self.env = env
        self.length = 0
        self.episode_return = 0.0
        self.extras: tuple[str, ...] = ()
        self.seed: int | None = None
        self.reseeds = 0
        self.episode = 0
        """Number of the row's episode, from 1 on; a restored row counts from its last seeded reset."""
        self._seeds = seeds
        self._spaces = [(space, getattr(env, space)) for space in incoming.SPACES]
        self._step = env.step
        self._mask_of: Callable[[Any, dict[str, Any]], Any] | None = None
        self._mask_shape = (sum(incoming.mask_sizes(env.action_space)),)
        self._actions = ActionLog(env.action_space, limit=REPLAY_LIMIT)
        self._built = lasting.take(env)
        self._kept: Kept = []
        """Persistent state before the last seeded reset."""

    def reset(self, seed: int | None = None, *, reseed: bool = False) -> Begun:
        """Begin an episode with a given seed, with the row's own next one (`reseed`), or without a new seed."""
        long_replay = self.method == "replay" and self._actions.count >= RESEED_AFTER
        if seed is None and (reseed or self.seed is None or long_replay):
            key = (*self._seeds.spawn_key, self.reseeds)
            seed = int(np.random.SeedSequence(self._seeds.entropy, spawn_key=key).generate_state(1)[0])
            self.reseeds += 1
        return self._begin(seed)

    def _begin(self, seed: int | None) -> Begun:
        if seed is not None:
            self.seed = seed
            self._actions.clear()
            if self.method == "replay":
                self._kept = lasting.changed(self.env, self._built)
        self.episode += 1
        self.length = 0
        self.episode_return = 0.0
        try:
            observation, info = incoming.pair(self.env.reset(seed=seed))
            incoming.check_spaces(self.env, self._spaces)
            if seed is not None:
                self._mask_of = mask_source(self.env, observation, info)
                there = {"lives": "lives" in info, "action_mask": self._mask_of is not None}
                self.extras = tuple(name for name in EXTRAS if there[name])
                self._step = self._first_step
            return observation, self._extras(observation, info) if self.extras else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an environment may call sys.exit
            raise self.fault("reset", error) from error

    def _first_step(self, action: Any) -> Any:
        """The first step after a seeded reset: later ones are trusted to return as many values, and masks or none."""
        self._step = self.env.step
        answer = self.env.step(action)
        incoming.check_step(answer)
        if self._mask_of is None and self._mask_shape[0] and isinstance(answer[4], dict) and "action_mask" in answer[4]:
            raise BadValue("gave an 'action_mask' in the info of a step, but none at its reset: give it in both")
        return answer

    def step(self, action: Any) -> Stepped:
        """Take one action; `length` and `episode_return` are then those of the episode so far."""
        if self.method == "replay" and not self._actions.add(action):
            warnings.warn(
                f"{self.name}: an episode exceeds the {REPLAY_LIMIT:,} actions that are kept to replay it; if the "
                "run is resumed within it, a new episode begins",
                EnvWarning,
                stacklevel=2,
            )
        self.length += 1
        try:
            observation, reward, terminated, truncated, info = self._step(action)
            # Most environments give plain values, which cost no call here.
            reward = reward if type(reward) is float else incoming.number(reward, "reward")
            terminated = terminated if type(terminated) is bool else incoming.flag(terminated, "terminated")
            truncated = truncated if type(truncated) is bool else incoming.flag(truncated, "truncated")
            self.episode_return += reward
            if self.length >= self.limit:
                truncated = True
            extras = self._extras(observation, info) if self.extras else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self.fault("step", error) from error
        return observation, reward, terminated, truncated, extras

    def _extras(self, observation: Any, info: dict[str, Any]) -> tuple[Any, ...]:
        """The values of `extras`; BadValue if one is missing or invalid."""
        found: list[Any] = []
        for name in self.extras:
            if name == "lives":
                if "lives" not in info:
                    raise BadValue("gave no 'lives' in its info, which it gave at its first reset")
                found.append(incoming.count(info["lives"], "lives"))
            elif self._mask_of is not None:
                mask = self._mask_of(observation, info)
                if type(mask) is not np.ndarray or mask.shape != self._mask_shape:
                    mask = incoming.mask(mask, self.env.action_space)
                found.append(mask)
        return tuple(found)

    def fault(self, call: str, error: BaseException) -> EnvError:
        """The exception for an error in one of the environment's calls."""
        if isinstance(error, EnvError):
            return error
        episode = f"episode {self.episode}" if self.number is None else f"episode {self.episode}, row {self.number}"
        where = f"step {self.length} of {episode}" if call == "step" else episode
        if isinstance(error, BadValue):
            return EnvError(f"{self.name} {error} ({where if call == 'step' else f'{call} of {where}'})")
        text = cause(error)
        return EnvError(f"{self.name}: {call} raised {text} ({where}){display_hint(text)}")

    def impose_limit(self, limit: int | None) -> bool:
        """Whether the environment has no time limit; its episodes then end after `limit` steps (None: never)."""
        endless = math.isinf(self.limit) and not getattr(self.env.spec, "max_episode_steps", None)
        if limit is not None and endless:
            self.limit, self.imposed = limit, True
        elif limit is None and self.imposed:
            self.limit, self.imposed = math.inf, False
        return endless

    def render(self) -> np.ndarray:
        """The environment's current picture in RGB, uint8 [H, W, 3]."""
        try:
            return picture(self.env.render())
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self.fault("render", error) from error

    def close(self) -> None:
        """Close the environment; an error is only a warning, because its work is done."""
        _IN_USE.pop(id(self.env.unwrapped), None)
        try:
            self.env.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            warnings.warn(str(self.fault("close", error)), EnvWarning, stacklevel=2)

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs: NumPy arrays, numbers, strings, lists and dicts of them."""
        state = {
            "method": self.method,
            "length": self.length,
            "episode_return": self.episode_return,
            "seed": self.seed,
            "reseeds": self.reseeds,
            "extras": list(self.extras),
        }
        try:
            if self.method != "replay":
                return {**state, "env": snapshot.take(self.env)}
        except Exception as error:
            raise self.fault("snapshot", error) from error
        if not self._actions.complete:
            return {**state, "actions": None, "lasting": self.lasting()}
        return {**state, "actions": self._actions.array(), "kept": self._kept}

    def lasting(self) -> dict[str, Any]:
        """The state for `put_lasting`, to begin a new episode if the environment's own state was lost."""
        kept = lasting.changed(self.env, self._built)
        if self.method == "state":
            kept[-1] = {}  # the environment itself is fully known, and none of its state survives a reset
        return {"reseeds": self.reseeds, "kept": kept}

    def put_lasting(self, state: dict[str, Any]) -> None:
        """Restore state that persists across episodes; a `reset` must follow."""
        lasting.put_back(self.env, state["kept"])
        self.reseeds = state["reseeds"]

    def restore(self, state: dict[str, Any]) -> Restored:
        """Restore a snapshot of an equally built environment, by replay if necessary; ValueError if it fails."""
        # A snapshot of before a class was known here is replayed.
        if state["method"] not in (self.method, "replay"):
            raise ValueError(
                f"a snapshot made by {state['method']} cannot restore an environment that uses {self.method}"
            )
        self.reseeds = state["reseeds"]
        self.seed = state["seed"]
        self.extras = tuple(state["extras"])
        replayed = state["method"] == "replay"
        if replayed and state["actions"] is None:
            self.put_lasting(state["lasting"])
            observation, extras = self.reset(reseed=True)
            return observation, extras, True
        if replayed:
            lasting.put_back(self.env, state.get("kept") or self._kept_of_none())
            observation = self._replay(state["seed"], self._actions.of(state["actions"]))
            if (self.length, _bits(self.episode_return)) != (state["length"], _bits(state["episode_return"])):
                raise ValueError(f"{self.name} cannot be restored: the same seed and actions led to a different return")
            return observation, None, False
        self._mask_of = mask_source(self.env, *self.env.reset())
        snapshot.put_back(self.env, state["env"])
        self.episode = 1
        self.length = state["length"]
        self.episode_return = state["episode_return"]
        return None, None, False

    def _kept_of_none(self) -> Kept:
        """Nothing to restore: snapshots of earlier builds."""
        return [{} for _ in self._built]

    def _replay(self, seed: int, actions: list[Any]) -> Any:
        observation, _ = self._begin(seed)
        for action in actions:
            observation, _, terminated, truncated, _ = self.step(action)
            if terminated or truncated:
                observation, _ = self._begin(None)
        return observation


def _bits(number: float) -> bytes:
    """A float in a form that compares bit for bit, NaN included."""
    return struct.pack("d", number)


def _take(env: gym.Env[Any, Any], name: str) -> None:
    """Register that a row steps this environment; ValueError if another row does."""
    base = env.unwrapped
    key = id(base)
    other = _IN_USE.get(key)
    if other is not None and other() is base:
        raise ValueError(
            f"the function of {name} returned an environment that is already in use: it must build a new one at each "
            "call, as in `lambda: MyEnv()`"
        )
    with suppress(TypeError):  # a class with __slots__ cannot be watched
        _IN_USE[key] = weakref.ref(base, lambda _: _IN_USE.pop(key, None))


def mask_source(
    env: gym.Env[Any, Any], observation: Any, info: dict[str, Any]
) -> Callable[[Any, dict[str, Any]], Any] | None:
    """Where an environment has its action masks, from its first reset; None if it has none.

    In order: `info["action_mask"]`, a method `action_masks()`, the part "action_mask" of a Dict observation.
    """
    if not incoming.mask_sizes(env.action_space):
        return None
    if "action_mask" in info:
        return _from_info
    if env.has_wrapper_attr("action_masks") and callable(method := env.get_wrapper_attr("action_masks")):
        return lambda observation, info: method()
    if isinstance(env.observation_space, spaces.Dict) and "action_mask" in env.observation_space.spaces:
        return lambda observation, info: observation["action_mask"]
    return None


def _from_info(observation: Any, info: dict[str, Any]) -> Any:
    if "action_mask" not in info:
        raise BadValue("gave no 'action_mask' in its info, which it gave at its first reset")
    return info["action_mask"]
