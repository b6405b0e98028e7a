"""Ids of dreams: `dream:RUN`. No torch here: quick commands use it."""

from __future__ import annotations

from typing import Any

PREFIX = "dream:"


def is_dream(env: Any) -> bool:
    """Whether an environment is named as the dream of a run's world model."""
    return isinstance(env, str) and env.startswith(PREFIX)
