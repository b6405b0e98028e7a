"""Atari games by id, played by gymnast's own console, on the CPU or on a GPU, or by ale-py."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gymnast.envs.atari.base import NO_CAP, Atari
from gymnast.envs.atari.names import atari_games, atari_id, atari_name, is_atari
from gymnast.envs.atari.options import AtariOptions, emulator_of
from gymnast.envs.errors import EnvWarning

__all__ = ["Atari", "AtariOptions", "atari_games", "atari_id", "is_atari", "make_atari"]


def make_atari(
    id: str,
    num_envs: int = 1,
    *,
    device: str | torch.device = "cpu",
    seed: int | np.random.SeedSequence = 0,
    options: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    render: bool = False,
    first_row: int = 0,
) -> Atari:
    """Build N environments of one game; `options` are the fields of `AtariOptions`.

    On a CUDA device gymnast's console plays there, if numba-cuda can be used and nothing is rendered; else the rows
    step on the CPU, and only their observations are on the device.

    `max_episode_steps` cuts episodes off earlier than `max_frames` does; `first_row` is that of `envs.make`. Raises
    ValueError in one line for an unknown game, an id that already skips frames, and wrong options.
    """
    name, chosen = atari_name(id), AtariOptions.from_dict(options or {})
    chosen = replace(chosen, sticky=name.sticky) if chosen.sticky is None else chosen
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps must be >= 1, got {max_episode_steps}")
    emulator = emulator_of(name.rom, chosen)
    chosen = replace(chosen, emulator=emulator)
    limit = min(math.ceil(chosen.max_frames / chosen.frame_skip), max_episode_steps or NO_CAP)
    settings: dict[str, Any] = {
        "device": torch.device(device),
        "seed": seed,
        "max_episode_steps": limit,
        "first_row": first_row,
    }
    if emulator == "ours" and torch.device(device).type == "cuda" and not render and _has_cuda(name.id):
        from gymnast.envs.atari.device import DeviceAtari

        return DeviceAtari(name, num_envs, options=chosen, **settings)
    if chosen.resets is not None:
        raise ValueError(
            f"resets {chosen.resets} is for gymnast's console on a GPU, and {name.id} steps on the CPU here"
        )
    made: Atari = _class_of(emulator)(name, num_envs, options=chosen, render=render, **settings)
    return made


def _has_cuda(id: str) -> bool:
    """Whether our console can play in a GPU's memory; a warning says why it cannot."""
    from gymnast.envs.kernels import cuda

    try:
        cuda.check(torch.device("cuda"))
    except ValueError:
        warnings.warn(f"{id} steps on the CPU: on a GPU it needs numba-cuda, which does not work here", EnvWarning, 3)
        return False
    return True


def _class_of(emulator: str) -> type[Any]:
    if emulator == "ours":
        from gymnast.envs.atari.own import OwnAtari  # Numba, which only our console needs

        return OwnAtari
    from gymnast.envs.atari.ale import AleAtari  # ale-py's emulators

    return AleAtari
