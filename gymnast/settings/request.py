"""Resolves and checks the words after `gymnast train AGENT`, without starting anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gymnast.errors import UsageError, nearest
from gymnast.networks.backbones.table import BACKBONES, backbone_class
from gymnast.settings import agents, flags, presets, references, under_protocol
from gymnast.settings.options import PresetOptions, TrainOptions

PREFIXES = ("--network.", "--no-network.")
GROUPS = tuple(field.name for field in dataclasses.fields(PresetOptions))
"""Options that stand for groups of settings."""


@dataclass(frozen=True)
class Request:
    """A requested training run."""

    agent: str
    options: TrainOptions
    config: Any
    presets: tuple[str, ...]
    given: dict[str, Any]
    """Values set by the words themselves, by field name, without defaults and those of presets or a reference."""

    @property
    def reference(self) -> str | None:
        """The name of the reference that it repeats."""
        name: str | None = self.given.get("reference")
        return name


def train_flags(agent: str) -> dict[str, flags.Flag]:
    """Every flag of `gymnast train AGENT`; UsageError for an unknown agent."""
    return flags.flags_of(PresetOptions, TrainOptions, agents.config_class(agents.agent_class(agent)))


def resolve(agent: str, words: Sequence[str], *, of: str) -> Request:
    """The requested run: presets from left to right or a reference, then flags. Raises UsageError, which names `of`."""
    known = with_backbone(train_flags(agent), agent, words, of=of)
    return resolved(agent, flags.parse(words, known, of=of), of=of)


def with_backbone(known: dict[str, flags.Flag], agent: str, words: Sequence[str], *, of: str) -> dict[str, flags.Flag]:
    """The known flags, and `--network.NAME` for each option of the backbone that the words ask for."""

    def default(given: dict[str, Any]) -> str | None:
        found: str | None = chosen(agent, given)[1].get(
            "network", getattr(agents.default_config(agent), "network", None)
        )
        return found

    return with_network_flags(known, words, default=default, of=of)


def with_network_flags(
    known: dict[str, flags.Flag],
    words: Sequence[str],
    *,
    default: Callable[[dict[str, Any]], str | None],
    of: str,
) -> dict[str, flags.Flag]:
    """The known flags, and those of the options of the network that the words name, or `default` of what is given."""
    asked = [word for word in words if word.startswith(PREFIXES)]
    if not asked:
        return known
    given = flags.parse(flags.without(words, PREFIXES), known, of=of)
    name = given["network"] if "network" in given else default(given)
    if name not in BACKBONES:
        raise UsageError(
            f"{asked[0].partition('=')[0]} is an option of a backbone, and {name} has none; "
            f"--network {'|'.join(BACKBONES)} have"
        )
    return known | network_flags(name)


def network_flags(name: str) -> dict[str, flags.Flag]:
    """The flags `--network.NAME` of a network's options, by field name with the prefix `network.`."""
    own = flags.flags_of(backbone_class(name).Options)
    return {f"network.{field}": dataclasses.replace(flag, field=f"network.{field}") for field, flag in own.items()}


def of_reference(name: str, /, **changes: Any) -> Request:
    """The run of a reference of `gymnast list references`, with changes by field name.

    `asked = of_reference("dqn-cartpole", seed=1)` is for `train(asked.agent, asked.options, asked.config)`. Raises
    UsageError for an unknown name, field or value.
    """
    agent = references.find(name).agent
    of, known = f"train {agent}", train_flags(agent)
    for field in changes:
        if field not in known:
            raise UsageError(f"{of} has no option {field}{nearest(field, known)}")
    return resolved(agent, {**changes, "reference": name}, of=of)


def chosen(agent: str, given: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The presets that are given or the reference's, and the fields that they or the reference set.

    Raises UsageError for an option beside a reference that it sets itself.
    """
    name = given.get("reference")
    if name is None:
        names = given.get("preset", ())
        return names, presets.apply(names, agent)
    for field in ("env", "preset"):
        if field in given:
            raise UsageError(f"--{field} cannot be combined with --reference, which has its own; drop one of them")
    row = references.find(name, agent)
    return row.presets, row.values


def resolved(agent: str, given: dict[str, Any], *, of: str) -> Request:
    """Like `resolve`, from values by field name instead of words."""
    names, before = chosen(agent, given)
    config_class = agents.config_class(agents.agent_class(agent))
    own = {name: value for name, value in given.items() if name not in GROUPS and "." not in name}
    options_given = {name.partition(".")[2]: value for name, value in given.items() if "." in name}
    if options_given:
        own["network_options"] = options_given
    values = presets.over({"num_envs": 1} | under_protocol.over(before, own, config_class), own)
    options: TrainOptions = flags.build(TrainOptions, values, of=of)
    return Request(agent, options, flags.build(config_class, values, of=of), names, given)
