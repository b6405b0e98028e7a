"""The command line: `gymnast COMMAND ...`, and what each command prints."""

from __future__ import annotations

import inspect
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help, print_resolved
from gymnast.envs.errors import EnvError, EnvWarning, one_line_warnings
from gymnast.errors import RunError, UsageError, nearest
from gymnast.populations import request
from gymnast.reports import report
from gymnast.reports.report import ReportOptions
from gymnast.settings import agents, flags, presets
from gymnast.settings.options import (
    CheckEnvOptions,
    EvaluateOptions,
    ListOptions,
    PopulationOptions,
    PresetOptions,
    ResumeOptions,
    TrainOptions,
)
from gymnast.settings.record_options import RANDOM, RecordOptions
from gymnast.settings.request import resolve, train_flags, with_backbone
from gymnast.storage.fitted import is_fitted, is_network
from gymnast.storage.metrics_log import finite
from gymnast.suites.options import AblateOptions, BenchmarkOptions
from gymnast.version import __version__

USAGE = """\
usage: gymnast COMMAND ...

  gymnast train AGENT --env ID [options]       train an agent and write a run folder
  gymnast fit TASK --dataset NAME [options]    fit a network to data and write a run folder
  gymnast probe RUN_OR_NETWORK --env ID        fit linear probes on frozen features
  gymnast hopfield [--dataset NAME]            store patterns in a Hopfield network and recall them
  gymnast resume RUN [--steps N]               resume a run from its last checkpoint
  gymnast evaluate RUN_OR_CHECKPOINT           play episodes with the trained agent
  gymnast record RUN_OR_random --dataset NAME  play and write a data set
  gymnast benchmark SUITE_OR_IDS --agents A B  train agents in many environments and report
  gymnast ablate rainbow --env ID [ID ...]     compare Rainbow and its parts and report
  gymnast report RUN_OR_FOLDER ...             compare runs in tables and figures
  gymnast list agents|datasets|envs|networks|presets|protocols|scores|suites
                                               list the available ones
  gymnast check-env ID                         try an environment and report problems

  gymnast COMMAND --help                       the options of a command
  gymnast train AGENT --help                   all options of an agent
  gymnast --version
"""


ALSO_IN_PYTHON = ("device", "out", "steps")
"""Options that start messages of `gymnast.train` and `gymnast.resume`; here they are flags."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for wrong input, 128 + a signal's number."""
    words = sys.argv[1:] if argv is None else list(argv)
    shown = warnings.formatwarning
    one_line_warnings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that a terminal's encoding lacks is a "?", not an error
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _complain(error, 2)
    except (RunError, EnvError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader closed the pipe; buffered output must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        warnings.formatwarning = shown


def _complain(error: Exception, code: int) -> int:
    known = flags.flags_of(TrainOptions)
    message = flags.with_flags(" ".join(str(error).splitlines()), {name: known[name] for name in ALSO_IN_PYTHON})
    print(f"gymnast: {message}", file=sys.stderr)
    return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if words[0] == "--version":
        print(f"gymnast {__version__}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        kind = "option" if words[0].startswith("-") else "command"
        raise UsageError(f"unknown {kind} {words[0]!r}; choose from {', '.join(COMMANDS)}{nearest(words[0], COMMANDS)}")
    return command(words[1:])


def _train(words: list[str]) -> int:
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
        classes = [PresetOptions, TrainOptions, config_class]
        classes += [PopulationOptions] if request.supports(agent) else []
        given = _given_values(words[1:], every, agent)
        network = given.get("network")
        show_help(f"gymnast {of}", agents.help_of(agent), classes, defaults=given, headings=True, network=network)
        return 0
    if request.is_asked(words):
        return _train_population(agent, words, of=of)
    asked = resolve(agent, words[1:], of=of)
    from gymnast.training import train

    result = train.train(
        agent,
        asked.options,
        asked.config,
        command=["gymnast", "train", *words],
        presets=asked.presets,
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
    from gymnast.populations import train

    result = train.train(
        agent,
        asked.run.options,
        asked.run.config,
        seeds=asked.seeds,
        vary=asked.vary,
        given=asked.given,
        command=["gymnast", "train", *words],
        presets=asked.run.presets,
        started=lambda: print_resolved(agent, asked.run.options, asked.run.config),
    )
    print(result.as_text())
    return result.exit_code


def _resume(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast resume", str(ResumeOptions.__doc__), [ResumeOptions])
        return 0
    values = flags.parse(words, flags.flags_of(ResumeOptions), of="resume")
    options: ResumeOptions = flags.build(ResumeOptions, values, of="resume")
    if options.trust:
        agents.search_here()
    if is_fitted(options.run):
        from gymnast.cli import fit

        return fit.resume(options, words)
    if options.epochs is not None:
        raise UsageError(f"epochs belongs to fitted networks; --steps {options.epochs} sets the env steps of a run")
    from gymnast.populations import train

    result = train.resume(
        Path(options.run),
        steps=options.steps,
        device=options.device,
        trust=options.trust,
        exact_resume=options.exact_resume,
        command=["gymnast", "resume", *words],
    )
    print(result.as_text())
    return result.exit_code


def _evaluate(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast evaluate", str(EvaluateOptions.__doc__), [EvaluateOptions])
        return 0
    values = flags.parse(words, flags.flags_of(EvaluateOptions), of="evaluate")
    options: EvaluateOptions = flags.build(EvaluateOptions, values, of="evaluate")
    if options.trust:
        agents.search_here()
    if is_network(options.path):
        from gymnast.cli import fit

        return fit.evaluate(options)
    from gymnast.cli import evaluate
    from gymnast.output.warned import told

    with told(EnvWarning, lambda text: print(f"gymnast: {text}", file=sys.stderr)):
        found = evaluate.evaluate_path(options)
    print(json.dumps(finite(found.as_json())) if options.json else found.as_text())
    return 0


def _record(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast record", str(RecordOptions.__doc__), [RecordOptions])
        return 0
    values = flags.parse(words, flags.flags_of(RecordOptions), of="record")
    options: RecordOptions = flags.build(RecordOptions, values, of="record")
    if options.trust or options.policy == RANDOM:
        agents.search_here()
    from gymnast.fitting.record import record

    try:
        recorded = record(options)
    except UsageError as error:
        raise UsageError(flags.with_flags(str(error), flags.flags_of(RecordOptions))) from error
    print(recorded.as_text())
    return recorded.exit_code


def _list(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast list", str(ListOptions.__doc__), [ListOptions])
        return 0
    values = flags.parse(words, flags.flags_of(ListOptions), of="list")
    options: ListOptions = flags.build(ListOptions, values, of="list")
    if options.run:
        from gymnast.cli import networks

        described = networks.of_run(options.run)
        print(json.dumps(described, indent=2) if options.json else networks.table(described))
        return 0
    if options.env:
        from gymnast.cli import networks

        agents.search_here()
        measured = networks.measured(options.env)
        print(networks.as_json(measured) if options.json else networks.as_text(measured))
        return 0
    from gymnast.cli import listing

    print(listing.as_json(options.what) if options.json else listing.as_text(options.what))
    return 0


def _check_env(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast check-env", str(CheckEnvOptions.__doc__), [CheckEnvOptions])
        return 0
    values = flags.parse(words, flags.flags_of(CheckEnvOptions), of="check-env")
    options: CheckEnvOptions = flags.build(CheckEnvOptions, values, of="check-env")
    agents.search_here()
    from gymnast.cli.check_env import check_env

    found = check_env(options)
    print(found)
    return 0 if found.ok else 1


def _benchmark(words: list[str]) -> int:
    options, extra = _suite_options(words, BenchmarkOptions, of="benchmark")
    if options is None:
        return 0
    from gymnast.suites.benchmark import benchmark

    return benchmark(options, extra)


def _ablate(words: list[str]) -> int:
    options, extra = _suite_options(words, AblateOptions, of="ablate")
    if options is None:
        return 0
    from gymnast.suites.ablate import ablate

    return ablate(options, extra)


def _report(words: list[str]) -> int:
    if asks_help(words):
        show_help("gymnast report", str(ReportOptions.__doc__), [ReportOptions])
        return 0
    values = flags.parse(words, flags.flags_of(ReportOptions), of="report")
    options: ReportOptions = flags.build(ReportOptions, values, of="report")

    print(report.report(options).as_text())
    return 0


def _suite_options(words: list[str], cls: type[Any], *, of: str) -> tuple[Any, list[str]]:
    """The options of a command that starts many runs (None after its help), and the words after `--` for every run."""
    own, extra = words, []
    if "--" in words:
        own, extra = words[: words.index("--")], words[words.index("--") + 1 :]
    if asks_help(own):
        show_help(f"gymnast {of}", str(inspect.getdoc(cls)), [cls])
        return None, []
    agents.search_here()
    return flags.build(cls, flags.parse(own, flags.flags_of(cls), of=of), of=of), extra


def _fit(words: list[str]) -> int:
    from gymnast.cli import fit

    return fit.fit(words)


def _probe(words: list[str]) -> int:
    from gymnast.cli import probe

    return probe.probe(words)


def _hopfield(words: list[str]) -> int:
    from gymnast.cli import hopfield

    return hopfield.hopfield(words)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "fit": _fit,
    "probe": _probe,
    "hopfield": _hopfield,
    "resume": _resume,
    "evaluate": _evaluate,
    "record": _record,
    "benchmark": _benchmark,
    "ablate": _ablate,
    "report": _report,
    "list": _list,
    "check-env": _check_env,
}


def _given_values(words: Sequence[str], every: dict[str, flags.Flag], agent: str) -> dict[str, Any]:
    """Values of the presets, and the network, given with `--help`, so that help shows the resulting defaults."""
    rest = [word for word in words if word not in ("-h", "--help")]
    of = f"train {agent}"
    given = flags.parse(rest, with_backbone(every, agent, rest, of=of), of=of)
    network = {"network": given["network"]} if "network" in given else {}
    return presets.apply(given.get("preset", ()), agent) | network
