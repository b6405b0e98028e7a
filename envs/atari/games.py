"""Atari games by id, played by ale-py or by gymnast's own console."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gymnast.envs.atari.base import NO_CAP, Atari
from gymnast.envs.atari.names import atari_games, atari_id, atari_name, is_atari
from gymnast.envs.atari.options import AtariOptions, emulator_of

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
    made: Atari = _class_of(emulator)(
        name,
        num_envs,
        options=chosen,
        device=torch.device(device),
        seed=seed,
        max_episode_steps=limit,
        render=render,
        first_row=first_row,
    )
    return made


def _class_of(emulator: str) -> type[Any]:
    if emulator == "ours":
        from gymnast.envs.atari.own import OwnAtari  # Numba, which only our console needs

        return OwnAtari
    from gymnast.envs.atari.ale import AleAtari  # ale-py's emulators

    return AleAtari
