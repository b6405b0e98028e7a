"""Gymnasium's wrappers by name: `NAME` or `NAME:OPTION=VALUE:OPTION=VALUE`."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from gymnasium import wrappers


def wrapped(env: gym.Env[Any, Any], texts: Sequence[str]) -> gym.Env[Any, Any]:
    """The environment in these wrappers, the first one innermost; ValueError in one line."""
    for text in texts:
        make, options = parse(text)
        try:
            env = make(env, **options)
        except Exception as error:  # wrappers raise anything for unsuitable environments and options
            said = " ".join(str(error).split())
            raise ValueError(f"wrapper {text} cannot be used: {type(error).__name__}: {said}") from error
    return env


def parse(text: str) -> tuple[Callable[..., gym.Env[Any, Any]], dict[str, Any]]:
    """The class of a wrapper and its options; ValueError names the nearest existing one."""
    name, *parts = text.split(":")
    # The others need further packages; importing them would fail.
    known = [name for name in wrappers.__all__ if inspect.isclass(vars(wrappers).get(name))]
    if name not in known:
        raise ValueError(
            f"wrapper must be one of gymnasium.wrappers, as NAME[:OPTION=VALUE], got {text!r}{_near(name, known)}"
        )
    make = getattr(wrappers, name)
    takes = [option for option in inspect.signature(make).parameters if option != "env"]
    options = {}
    for part in parts:
        option, separator, value = part.partition("=")
        option = option.replace("-", "_")
        if not separator or option not in takes:
            fit = f"takes {', '.join(takes)}" if takes else "takes no options"
            raise ValueError(f"wrapper {name} {fit}, as in NAME:OPTION=VALUE, got {part!r}{_near(option, takes)}")
        options[option] = _value(value)
    return make, options


def _value(text: str) -> Any:
    """JSON, or the text itself: a list is a tuple, as shapes are."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), {one.lower(): one for one in known}, 1)
    return f"; did you mean {next(one for one in known if one.lower() == near[0])}?" if near else ""
