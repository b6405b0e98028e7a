"""`gymnast resume` and `gymnast evaluate`: what goes on with a run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from gymnast.cli.words import options_of
from gymnast.envs.errors import EnvWarning
from gymnast.errors import UsageError
from gymnast.settings import agents
from gymnast.settings.options import EvaluateOptions, ResumeOptions
from gymnast.storage.fitted import is_fitted, is_network
from gymnast.storage.metrics_log import finite
from gymnast.storage.near import near


def resume(words: list[str]) -> int:
    """Run `gymnast resume RUN ...`; returns the exit code."""
    options = options_of(words, ResumeOptions, of="resume")
    if options is None:
        return 0
    if options.trust:
        agents.search_here()
    if is_fitted(options.run):
        from gymnast.cli import fit

        return fit.resume(options, words)
    if options.epochs is not None:
        raise UsageError(f"epochs belongs to fitted networks; --steps {options.epochs} sets the env steps of a run")
    from gymnast.populations import train as populations

    result = populations.resume(
        Path(options.run),
        steps=options.steps,
        device=options.device,
        trust=options.trust,
        exact_resume=options.exact_resume,
        profile=options.profile,
        ray=options.ray,
        command=["gymnast", "resume", *words],
    )
    print(result.as_text())
    return result.exit_code


def evaluate(words: list[str]) -> int:
    """Run `gymnast evaluate RUN_OR_CHECKPOINT ...`; returns the exit code."""
    options = options_of(words, EvaluateOptions, of="evaluate")
    if options is None:
        return 0
    if options.trust:
        agents.search_here()
    with near(options.path) as copy:
        options = replace(options, path=copy.path)
        if is_network(options.path):
            from gymnast.cli import fit

            return fit.evaluate(options)
        from gymnast.cli.evaluate import evaluate_path
        from gymnast.output.warned import told

        with told(EnvWarning, lambda text: print(f"gymnast: {copy.shown(text)}", file=sys.stderr)):
            found = evaluate_path(options)
        print(copy.shown(json.dumps(finite(found.as_json())) if options.json else found.as_text()))
    return 0
