"""Resolves and checks the words after `gymnast train AGENT --seeds A:B`, without starting anything."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnast.agents.table import ALGORITHMS
from gymnast.errors import UsageError, first_line
from gymnast.populations import spread
from gymnast.settings import agents, flags, request
from gymnast.settings.options import PopulationOptions
from gymnast.settings.request import Request
from gymnast.settings.seeds import seed_range

BASES = ("ppo", "pqn", "dqn", "sac")
"""The agents that train as a population, and the bases of all algorithms that do."""
POPULATION = tuple(field.name for field in dataclasses.fields(PopulationOptions))
NOT_HERE = (
    "seed",
    "eval_envs",
    "keep_checkpoints",
    "vectorization",
    "wrapper",
    "protocol",
    "emulator",
    "learners",
    "ray",
    "overlap",
    "profile",
    "frame_stack",
    "init_from",
)
"""Options of a run that populations do not support, and therefore refuse."""


@dataclass(frozen=True)
class PopulationRequest:
    """A requested population."""

    run: Request
    seeds: range
    vary: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """The members' values, by the setting's name."""
    given: PopulationOptions = field(default_factory=PopulationOptions)


def supports(agent: str) -> bool:
    """Whether an agent with its own settings trains as a population."""
    if agent not in ALGORITHMS or ALGORITHMS[agent].base not in BASES:
        return False
    try:
        _check_supported(agents.default_config(agent))
    except UsageError:
        return False
    return True


def is_asked(words: Sequence[str]) -> bool:
    """Whether the words are for a population."""
    names = {word.partition("=")[0].replace("_", "-") for word in words}
    return bool(names & {"--" + name.replace("_", "-") for name in POPULATION})


def resolve(agent: str, words: Sequence[str], *, of: str) -> PopulationRequest:
    """The population that the words request; UsageError, which names `of`."""
    if agent not in ALGORITHMS or ALGORITHMS[agent].base not in BASES:
        raise UsageError(
            f"--seeds trains {', '.join(BASES)} and their variants as a population, not {agent}; "
            "--seeds A:B --ray local trains one run per seed"
        )
    known = request.train_flags(agent) | flags.flags_of(PopulationOptions)
    given = flags.parse(words, request.with_backbone(known, agent, words, of=of), of=of)
    own = {name: given.pop(name) for name in POPULATION if name in given}
    options = PopulationOptions(**own)
    if not options.seeds:
        raise UsageError("--vary needs --seeds A:B, the members of a population")
    for name in NOT_HERE:
        if name in given:
            raise UsageError(f"--{name.replace('_', '-')} cannot be combined with --seeds")
    if given.get("native") is False:
        raise UsageError("--no-native cannot be combined with --seeds: populations need a device-native environment")
    if given.get("video"):
        raise UsageError("--video cannot be combined with --seeds; run gymnast evaluate RUN --video FOLDER afterwards")
    try:
        members = seed_range(options.seeds)
    except ValueError as error:
        raise UsageError(f"--{first_line(error)}") from None
    vary = _vary(options, len(members), given)
    run = request.resolved(agent, given, of=of)
    _check_supported(run.config)
    return PopulationRequest(run, members, vary, options)


def _check_supported(config: Any) -> None:
    from gymnast.agents.population import settings  # torch, which the command line imports only when needed

    try:
        settings.check_config(config)
    except ValueError as error:
        raise UsageError(f"{first_line(error)}; train without --seeds") from None


def _vary(options: PopulationOptions, members: int, given: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    try:
        found = spread.spread(options.vary, options.vary_zip, members)
    except ValueError as error:
        raise UsageError(re.sub(r"^(\w+)", lambda word: "--" + word[0].replace("_", "-"), first_line(error))) from None
    for name in found:
        if name in given:
            raise UsageError(f"--{name.replace('_', '-')} and --vary {name} are the same setting; use one of them")
    return found
