"""The infos of a vector environment: masks and lives of its rows. No torch needed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from gymnast.envs.rows import incoming
from gymnast.envs.rows.incoming import BadValue

OF_SINGLE = (SyncVectorEnv, AsyncVectorEnv)
"""Vector environments made of single ones, whose methods they call."""
Infos: TypeAlias = "dict[str, Any]"
"""Gymnasium's form: by name an array [N] of the rows' values, and under `_name` the rows that have one (else all)."""


def as_dict(infos: Any) -> Infos:
    """Infos in Gymnasium's form; those of its wrapper `DictInfoToList` are a list of the rows' dicts."""
    if isinstance(infos, dict):
        return infos
    if not isinstance(infos, (list, tuple)) or not all(isinstance(info, dict) for info in infos):
        raise BadValue(f"gave infos that are neither a dict nor a list of dicts: {incoming.shown(infos)}")
    found: Infos = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        values = [info.get(name) for info in infos]
        found[f"_{name}"] = np.array([name in info for info in infos])
        if all(value is None or isinstance(value, dict) for value in values):
            found[name] = as_dict([value or {} for value in values])
        else:
            found[name] = np.empty(len(values), object)
            found[name][:] = values
    return found


def mask_source(env: gym.vector.VectorEnv[Any, Any, Any], infos: Infos) -> str | None:
    """Where an environment has its action masks, from its first reset; None if it has none.

    In order: `infos["action_mask"]`; a method `action_masks()`, its own or that of the environments that a Sync- or
    AsyncVectorEnv is made of; the part "action_mask" of a Dict observation.
    """
    if not incoming.mask_sizes(env.single_action_space):
        return None
    if "action_mask" in infos:
        return "info"
    base = env.unwrapped
    if callable(getattr(base, "action_masks", None)):
        return "method"
    if isinstance(base, OF_SINGLE) and all(base.call("has_wrapper_attr", "action_masks")):
        return "method"
    space = env.single_observation_space
    return "part" if isinstance(space, spaces.Dict) and "action_mask" in space.spaces else None


def check_unmasked(infos: Infos, space: gym.Space[Any]) -> None:
    """BadValue if an environment without masks at its first reset gives one later: it would be ignored."""
    if "action_mask" in infos and incoming.mask_sizes(space):
        raise BadValue("gave an 'action_mask' in the infos of a step, but none at its reset: give it in both")


def masks(
    source: str, env: gym.vector.VectorEnv[Any, Any, Any], obs: Any, infos: Infos
) -> tuple[Sequence[Any], np.ndarray]:
    """The rows' masks as stored, [N], and which rows have one, bool [N]."""
    everyone = np.ones(env.num_envs, np.bool_)
    if source == "part":
        return obs["action_mask"].cpu().numpy(), everyone
    if source == "method":
        base: Any = env.unwrapped
        return (base.call("action_masks") if isinstance(base, OF_SINGLE) else base.action_masks()), everyone
    if "action_mask" not in infos:
        return [], ~everyone
    return infos["action_mask"], np.asarray(infos.get("_action_mask", everyone), np.bool_)


def checked_masks(
    values: Sequence[Any], present: np.ndarray, space: gym.Space[Any], wanted: np.ndarray, ended: np.ndarray
) -> np.ndarray:
    """Masks bool [N, A] of the rows that are `wanted`, False elsewhere; none allowed in one that `ended` means all."""
    if (wanted & ~present).any():
        row = int(np.flatnonzero(wanted & ~present)[0])
        raise BadValue(f"gave no 'action_mask' in its infos for row {row}, which it gave at its first reset")
    if wanted.any() and len(values) != len(wanted):
        raise BadValue(f"gave {len(values)} action masks for {len(wanted)} rows")
    found = np.zeros((len(wanted), sum(incoming.mask_sizes(space))), np.bool_)
    for row in np.flatnonzero(wanted).tolist():
        found[row] = incoming.mask(values[row], space)
        if incoming.allows_none(found[row], space):
            if not ended[row]:
                raise BadValue(f"allows no action in row {row}, in the middle of an episode")
            found[row] = True  # as in `RowsEnv`
    return found


def lives(infos: Infos, wanted: np.ndarray) -> np.ndarray:
    """Lives left, int64 [N], of the rows that are `wanted`, 0 elsewhere."""
    present = np.asarray(infos.get("_lives", np.ones_like(wanted) if "lives" in infos else ~np.ones_like(wanted)))
    if (wanted & ~present).any():
        row = int(np.flatnonzero(wanted & ~present)[0])
        raise BadValue(f"gave no 'lives' in its infos for row {row}, which it gave at its first reset")
    found = np.zeros(len(wanted), np.int64)
    for row in np.flatnonzero(wanted).tolist():
        found[row] = incoming.count(infos["lives"][row], "lives")
    return found


def check_frames(infos: Infos, before: Any, ended: np.ndarray) -> None:
    """BadValue if a game continues after its episode ended, as ale-py's does with `life_loss_info`.

    After an episode the game's frame counter (ale-py's `episode_frame_number`) must restart.
    """
    after = infos.get("episode_frame_number")
    if before is None or after is None or not ended.any():
        return
    if (np.asarray(after)[ended] > np.asarray(before)[ended]).any():
        raise BadValue(
            "continued a game whose episode had ended, contrary to its declared autoreset mode; make it "
            "without life_loss_info (the agent's --life-loss does the same)"
        )
