"""`gymnast fit` and `gymnast pretrain`, and resuming and measuring what it fitted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from gymnast.agents.supervised.table import MODELS, TASKS, config_class, kinds_of, of_fit
from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help, print_resolved
from gymnast.errors import UsageError
from gymnast.settings import agents
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.fit_request import FitRequest, KindOptions, fit_flags, kind_of, pretraining, resolve
from gymnast.settings.options import EvaluateOptions, ResumeOptions
from gymnast.storage.metrics_log import finite

PRETRAIN = "usage: gymnast pretrain"
KIND = "--kind KIND (--dataset NAME | --env ID) [options]"
PRETRAIN_HELP = "gymnast pretrain MODEL --help"


def fit(words: list[str]) -> int:
    """Run `gymnast fit TASK ...`; returns the exit code."""
    if not words or words[0].startswith("-"):
        if asks_help(words):
            print(_task_table())
            return 0
        raise UsageError(f"fit needs a task first: gymnast fit TASK --dataset NAME; choose from {', '.join(of_fit())}")
    task = words[0]
    agents.search_here()
    fit_flags(task)
    if asks_help(words):
        network = re.search(r"--network[ =](\S+)", " ".join(words))
        show_help(
            f"gymnast fit {task}",
            f"Fit a network to data: {TASKS[task].help}.",
            [FitOptions, config_class(task)],
            network=network.group(1) if network else None,
        )
        return 0
    return _run(resolve(task, words[1:]), ["gymnast", "fit", *words])


def pretrain(words: list[str]) -> int:
    """Run `gymnast pretrain MODEL --kind KIND ...`; returns the exit code."""
    if not words or words[0].startswith("-"):
        if asks_help(words):
            rows = _rows(MODELS)
            print("\n".join([f"{PRETRAIN} MODEL {KIND}", "", "models", *rows, "", f"More: {PRETRAIN_HELP}"]))
            return 0
        raise UsageError(f"pretrain needs a model first: gymnast pretrain MODEL; choose from {', '.join(MODELS)}")
    model = words[0]
    agents.search_here()
    kind = kind_of(model, words[1:])
    if not asks_help(words):
        return _run(pretraining(model, words[1:]), ["gymnast", "pretrain", *words])
    if kind is None:
        rows = _rows({name: entry.help for name, entry in kinds_of(model).items()})
        more = f"The options of a kind: gymnast pretrain {model} --kind KIND --help"
        print("\n".join([f"{PRETRAIN} {model} {KIND}", "", "kinds", *rows, "", more]))
        return 0
    task = f"{model}-{kind}"
    network = re.search(r"--network[ =](\S+)", " ".join(words))
    show_help(
        f"gymnast pretrain {model}",
        f"Pretrain a model without labels: {TASKS[task].help}.",
        [KindOptions, FitOptions, config_class(task)],
        network=network.group(1) if network else None,
    )
    return 0


def _run(asked: FitRequest, command: list[str]) -> int:
    from gymnast.fitting import fit as fitting

    result = fitting.fit(
        asked.task,
        asked.options,
        asked.config,
        command=command,
        started=lambda: print_resolved(asked.task, asked.options, asked.config),
    )
    print(result.as_text())
    return result.exit_code


def resume(options: ResumeOptions, words: list[str]) -> int:
    """Resume a run that fits a network."""
    for name, given in (("steps", options.steps), ("exact_resume", options.exact_resume), ("profile", options.profile)):
        if given is not None:
            raise UsageError(f"{name} belongs to runs of agents; --epochs sets the total of a fitted network")
    from gymnast.fitting import fit as fitting

    result = fitting.resume(
        options.run,
        epochs=options.epochs,
        device=options.device,
        trust=options.trust,
        command=["gymnast", "resume", *words],
    )
    print(result.as_text())
    return result.exit_code


def evaluate(options: EvaluateOptions) -> int:
    """Measure a fitted network on the test examples of its data."""
    from gymnast.fitting.evaluate import evaluate as measure
    from gymnast.fitting.fit import as_text

    values = measure(options.path, device=options.device, trust=options.trust)
    print(json.dumps(finite(values)) if options.json else as_text(values))
    return 0


def _task_table() -> str:
    """Every task with a line on each, and how to list its options."""
    rows = _rows({name: TASKS[name].help for name in of_fit()})
    lines = ["usage: gymnast fit TASK --dataset NAME [options]", "", "tasks", *rows, ""]
    return "\n".join([*lines, "The options of a task: gymnast fit TASK --help"])


def _rows(helps: Mapping[str, str]) -> list[str]:
    width = max(map(len, helps)) + 2
    return [f"  {name:<{width}}{text}" for name, text in helps.items()]
