"""`gymnast fit`, and resuming and measuring what it fitted."""

from __future__ import annotations

import json
import re

from gymnast.agents.supervised.table import TASKS, config_class
from gymnast.cli.help import show_help
from gymnast.cli.words import asks_help, print_resolved
from gymnast.errors import UsageError
from gymnast.settings import agents
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.fit_request import fit_flags, resolve
from gymnast.settings.options import EvaluateOptions, ResumeOptions
from gymnast.storage.metrics_log import finite


def fit(words: list[str]) -> int:
    """Run `gymnast fit TASK ...`; returns the exit code."""
    if not words or words[0].startswith("-"):
        if asks_help(words):
            print(_task_table())
            return 0
        raise UsageError(f"fit needs a task first: gymnast fit TASK --dataset NAME; choose from {', '.join(TASKS)}")
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
    asked = resolve(task, words[1:])
    from gymnast.fitting import fit as fitting

    result = fitting.fit(
        task,
        asked.options,
        asked.config,
        command=["gymnast", "fit", *words],
        started=lambda: print_resolved(task, asked.options, asked.config),
    )
    print(result.as_text())
    return result.exit_code


def resume(options: ResumeOptions, words: list[str]) -> int:
    """Resume a run that fits a network."""
    for name, given in (("steps", options.steps), ("exact_resume", options.exact_resume)):
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
    width = max(map(len, TASKS)) + 2
    rows = [f"  {name:<{width}}{entry.help}" for name, entry in TASKS.items()]
    lines = ["usage: gymnast fit TASK --dataset NAME [options]", "", "tasks", *rows, ""]
    return "\n".join([*lines, "The options of a task: gymnast fit TASK --help"])
