"""Measures of the kept network of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gymnast.errors import UsageError
from gymnast.fitting.fit import options_of, parts_of
from gymnast.fitting.latent_probe import accuracies
from gymnast.fitting.measured import measured
from gymnast.fitting.parts import load_kept
from gymnast.storage import checkpoint, folder
from gymnast.training.resumed import usage_errors


def evaluate(path: str | Path, *, device: str = "cpu", trust: bool = False) -> dict[str, float]:
    """The measures of a run's best network on the test examples of its data, as its last record has them.

    Raises UsageError.
    """
    file = checkpoint.find(path)
    home = file.parent.parent
    if not (home / "config.json").is_file():
        raise UsageError(f"{file} is not in the folder of its run, whose config.json names the data")
    kept = folder.read_config(home)
    with usage_errors():
        options = dataclasses.replace(options_of(kept), device=device, trust=trust)
        parts = parts_of(kept, options, trust=trust)
        load_kept(parts.task, file)
    values, _ = measured(parts.task, parts.task.test, parts.config.batch_size)
    return values | accuracies(parts.task)
