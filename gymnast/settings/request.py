"""Resolves and checks the words after `gymnast train AGENT`, without starting anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnast.settings import agents, flags, presets, under_protocol
from gymnast.settings.options import PresetOptions, TrainOptions


@dataclass(frozen=True)
class Request:
    """A requested training run."""

    agent: str
    options: TrainOptions
    config: Any
    presets: tuple[str, ...]
    given: dict[str, Any]
    """Values set by the words themselves, by field name, without defaults and presets."""


def train_flags(agent: str) -> dict[str, flags.Flag]:
    """Every flag of `gymnast train AGENT`; UsageError for an unknown agent."""
    return flags.flags_of(PresetOptions, TrainOptions, agents.config_class(agents.agent_class(agent)))


def resolve(agent: str, words: Sequence[str], *, of: str) -> Request:
    """The requested run: presets from left to right, then flags. Raises UsageError, which names `of`."""
    return resolved(agent, flags.parse(words, train_flags(agent), of=of), of=of)


def resolved(agent: str, given: dict[str, Any], *, of: str) -> Request:
    """Like `resolve`, from values by field name instead of words."""
    chosen = given.get("preset", ())
    config_class = agents.config_class(agents.agent_class(agent))
    own = {name: value for name, value in given.items() if name != "preset"}
    values = {"num_envs": 1} | under_protocol.over(presets.apply(chosen, agent), own, config_class) | own
    options: TrainOptions = flags.build(TrainOptions, values, of=of)
    return Request(agent, options, flags.build(config_class, values, of=of), chosen, given)
