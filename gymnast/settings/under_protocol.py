"""A run's options and config under an Atari protocol."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gymnast.atari.protocols import LEARNER, PROTOCOLS, Protocol, check
from gymnast.envs.atari.options import AtariOptions
from gymnast.errors import UsageError

if TYPE_CHECKING:
    from gymnast.settings.options import TrainOptions

Config = TypeVar("Config")


def over(values: Mapping[str, Any], given: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """The presets' values with a protocol's settings of the learner applied over them.

    `given` are the explicit flags. Raises UsageError if one of them contradicts the named protocol.
    """
    name = given.get("protocol", values.get("protocol"))
    if name not in PROTOCOLS:  # no protocol, or one that TrainOptions refuses
        return dict(values)
    fields = {field.name for field in dataclasses.fields(config)}
    settings = {field: getattr(PROTOCOLS[name], field) for field in LEARNER if field in fields}
    for field, value in settings.items():
        if given.get(field, value) != value:
            raise UsageError(_contradiction(name, "--" + field.replace("_", "-"), given[field], value))
    return dict(values) | settings


def resolve(options: TrainOptions, config: Config) -> tuple[TrainOptions, Config]:
    """Options and config with the settings of `options.protocol`; resolving twice changes nothing.

    The protocol overrides what the environment's id implies and the config's defaults. Raises ValueError for anything
    else that contradicts it, and for an environment that is not an Atari game.
    """
    if options.protocol is None:
        return options, config
    protocol = check(options.protocol)
    given = json.loads(options.env_options) if options.env_options else {}
    played = play(protocol, options.env, given)
    steps = options.max_episode_steps
    if steps is not None and steps * protocol.frame_skip < protocol.max_frames:
        limit = -(-protocol.max_frames // protocol.frame_skip)
        raise ValueError(_contradiction(protocol.label, "max_episode_steps", steps, f"{limit} steps"))
    return dataclasses.replace(options, env_options=json.dumps(played)), _learner(protocol, config)


def play(protocol: Protocol, env: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The environment's options under a protocol; ValueError if a given option contradicts it."""
    from gymnast.envs.atari.names import is_atari  # ale-py, which the quick commands avoid

    if not is_atari(env):
        raise ValueError(f"protocol {protocol.label} is for Atari games, and {env} is not one")
    AtariOptions.from_dict(dict(given))
    for name, value in protocol.env_options.items():
        if given.get(name, value) != value:
            raise ValueError(_contradiction(protocol.label, f"{name} of env_options", given[name], value))
    return {**protocol.env_options, **given}


def _learner(protocol: Protocol, config: Config) -> Config:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        if field.name in LEARNER:
            value, wanted = getattr(config, field.name), getattr(protocol, field.name)
            if value not in (wanted, field.default):
                raise ValueError(_contradiction(protocol.label, field.name, value, wanted))
            changes[field.name] = wanted
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]


def _contradiction(name: str, option: str, value: Any, wanted: Any) -> str:
    return f"{option} {value} contradicts the protocol {name}, which uses {wanted}; drop one of them"


def note(protocol: str | None, env: str) -> str | None:
    """A line saying that a named protocol overrides what an Atari id implies, None if it does not."""
    if protocol is None:
        return None
    from gymnast.envs.atari.names import atari_name

    name, sticky = atari_name(env), check(protocol).sticky
    if name.sticky == sticky:
        return None
    return f"protocol {protocol} plays {name.id} with sticky {sticky} (the id implies {name.sticky})"
