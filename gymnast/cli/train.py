"""`gymnast train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help, print_resolved
from gymnast.errors import UsageError
from gymnast.populations import request
from gymnast.settings import agents, flags, idle
from gymnast.settings.options import PopulationOptions, PresetOptions, RayNeeds, SeedOptions, TrainOptions
from gymnast.settings.request import chosen, resolve, train_flags, with_backbone
from gymnast.suites import seeds


def train(words: list[str]) -> int:
    """Run `gymnast train AGENT ...`; returns the exit code."""
    if not words or words[0].startswith("-"):
        if asks_help(words):
            print(_agent_table())
            return 0
        raise UsageError(
            f"train needs an agent first: gymnast train AGENT --env ID; choose from {', '.join(agents.AGENTS)}"
        )
    agent, of = words[0], f"train {words[0]}"
    agents.search_here()
    every = train_flags(agent)
    if asks_help(words):
        config_class = agents.config_class(agents.agent_class(agent))
        many = PopulationOptions if request.supports(agent) else SeedOptions
        classes = [PresetOptions, TrainOptions, config_class, many, RayNeeds]
        given = _given_values(words[1:], every, agent)
        network = given.get("network")
        show_help(f"gymnast {of}", agents.help_of(agent), classes, defaults=given, headings=True, network=network)
        return 0
    if seeds.is_asked(words):
        return seeds.train_seeds(agent, words[1:])
    if request.is_asked(words):
        return _train_population(agent, words, of=of)
    asked = resolve(agent, words[1:], of=of)
    if agent in agents.AGENTS:
        idle.check(asked.config, asked.given)
    from gymnast.training import train as training

    result = training.train(
        agent,
        asked.options,
        asked.config,
        command=["gymnast", "train", *words],
        presets=asked.presets,
        reference=asked.reference,
        started=lambda: print_resolved(agent, asked.options, asked.config),
    )
    print(result.as_text())
    return result.exit_code


def _agent_table() -> str:
    """Every agent with a one-line description, and how to list its options."""
    width = max(map(len, agents.AGENTS)) + 2
    rows = [f"  {name:<{width}}{entry.help}" for name, entry in agents.AGENTS.items()]
    lines = [
        "usage: gymnast train AGENT --env ID [options]",
        "",
        "agents",
        *rows,
        "",
        "Or your own: module:Class, ./file.py:Class.",
    ]
    return "\n".join([*lines, "The options of an agent: gymnast train AGENT --help"])


def _train_population(agent: str, words: list[str], *, of: str) -> int:
    asked = request.resolve(agent, words[1:], of=of)
    idle.check(asked.run.config, asked.run.given)
    from gymnast.populations import train as populations

    result = populations.train(
        agent,
        asked.run.options,
        asked.run.config,
        seeds=asked.seeds,
        vary=asked.vary,
        given=asked.given,
        command=["gymnast", "train", *words],
        presets=asked.run.presets,
        reference=asked.run.reference,
        started=lambda: print_resolved(agent, asked.run.options, asked.run.config),
    )
    print(result.as_text())
    return result.exit_code


def _given_values(words: Sequence[str], every: dict[str, flags.Flag], agent: str) -> dict[str, Any]:
    """Values of the presets or the reference, and the network, given with `--help`, which shows them as defaults."""
    rest = [word for word in words if word not in ("-h", "--help")]
    of = f"train {agent}"
    given = flags.parse(rest, with_backbone(every, agent, rest, of=of), of=of)
    network = {"network": given["network"]} if "network" in given else {}
    return chosen(agent, given)[1] | network
