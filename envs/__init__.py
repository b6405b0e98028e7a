"""Environments: one adapter over Gymnasium, Atari, and small exact environments of our own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gymnast.envs.env import Env
    from gymnast.envs.errors import EnvError, EnvWarning
    from gymnast.envs.factory import make
    from gymnast.envs.foreign import begin_of, step_of
    from gymnast.envs.step import Obs, Step, TransitionTable
    from gymnast.envs.trial import Checked, check

__all__ = [
    "Checked",
    "Env",
    "EnvError",
    "EnvWarning",
    "Obs",
    "Step",
    "TransitionTable",
    "begin_of",
    "check",
    "make",
    "step_of",
]

_HOMES = {
    "Checked": "trial",
    "Env": "env",
    "EnvError": "errors",
    "EnvWarning": "errors",
    "Obs": "step",
    "Step": "step",
    "TransitionTable": "step",
    "begin_of": "foreign",
    "check": "trial",
    "make": "factory",
    "step_of": "foreign",
}


def __getattr__(name: str) -> Any:
    """Import on first use: worker processes do not need torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"gymnast.envs.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
