"""Which emulator plays the Atari game of a run: an option of the environment, so that the run keeps it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from gymnast.envs.atari.options import AtariOptions, emulator_of

if TYPE_CHECKING:
    from gymnast.settings.options import TrainOptions


def resolve(options: TrainOptions, *, resumed: bool = False) -> TrainOptions:
    """The options with the emulator in `env_options`, for an Atari game; resolving twice changes nothing.

    A resumed run goes on with the emulator that it began with, which earlier builds did not note: ale-py. Raises
    ValueError for an emulator that contradicts `env_options` or that does not play the environment.
    """
    from gymnast.envs.atari.names import is_atari  # ale-py, which the quick commands avoid

    if not is_atari(options.env) and options.emulator is None:
        return options
    given = json.loads(options.env_options) if options.env_options else {}
    if resumed and "emulator" not in given:
        given["emulator"] = "ale"
    return dataclasses.replace(options, env_options=json.dumps(chosen(options.env, given, options.emulator)))


def chosen(env: str, given: dict[str, Any], emulator: str | None) -> dict[str, Any]:
    """The environment's options with the emulator that plays it; ValueError as in `resolve`."""
    from gymnast.envs.atari.names import atari_name, is_atari

    if not is_atari(env):
        raise ValueError(f"emulator {emulator} is for Atari games, and {env} is not one")
    if emulator is not None and given.get("emulator", emulator) != emulator:
        raise ValueError(
            f"emulator {emulator} contradicts emulator {given['emulator']} of env_options; drop one of them"
        )
    options = AtariOptions.from_dict({**given, **({} if emulator is None else {"emulator": emulator})})
    return {**given, "emulator": emulator_of(atari_name(env).rom, options)}


def note(options: TrainOptions) -> str | None:
    """A line that says which emulator plays a run's game; None if it plays none."""
    given = json.loads(options.env_options) if options.env_options else {}
    if "emulator" not in given:
        return None
    if given["emulator"] == "ours":
        return f"{options.env} is played by gymnast's own console; --emulator ale has ale-py play it"
    return f"{options.env} is played by ale-py; --emulator ours has gymnast's own console play it"
