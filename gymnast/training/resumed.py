"""The folder of a run that is resumed: its config, its options and its last checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnast.errors import UsageError, first_line
from gymnast.settings.options import TrainOptions
from gymnast.storage import folder, metrics_log
from gymnast.storage.checkpoint import About
from gymnast.storage.last import LastCheckpoint, RunState
from gymnast.storage.world_model import is_foreign


@dataclass(frozen=True)
class Resumed:
    """A run's folder, held for this process."""

    path: Path
    config: dict[str, Any]
    """The content of config.json."""
    options: TrainOptions
    """The run's own, with the changes for the rest of it."""
    last: LastCheckpoint
    about: About
    state: RunState

    @staticmethod
    def read(path: Path, stack: ExitStack, *, changes: Mapping[str, Any], trust: bool) -> Resumed:
        """Lock the folder and read it; UsageError if it is damaged, in use, finished, or not trusted.

        `changes` are options for the rest of the run; those that are None stay as they are.
        """
        config = folder.read_config(path)
        stack.enter_context(folder.locked(path))
        options = _options_of(config["run"], path, changes)
        last = LastCheckpoint(path / "checkpoints")
        about, state = last.read()
        learners = len(state.learners) + 1
        if learners != options.learners:
            raise UsageError(f"learners must be {learners}, with which {path} was trained, got {options.learners}")
        if about.env_step >= options.steps and _has_final(path):  # otherwise its final evaluation is missing
            raise UsageError(f"steps must be more than the {options.steps:,} that {path} has finished")
        if not trust and is_foreign(options.env, options.env_options):
            raise UsageError(f"the env {options.env} is code from outside gymnast; trust=True (--trust) runs it")
        return Resumed(path, config, options, last, about, state)

    def write_config(self, command: Sequence[str]) -> None:
        """Record in config.json that the run resumes, and with which options."""
        resumed = [*self.config.get("resumed", []), {"env_step": self.about.env_step, "command": list(command)}]
        folder.write_config(self.path, {**self.config, "run": dataclasses.asdict(self.options), "resumed": resumed})


@contextmanager
def usage_errors() -> Iterator[None]:
    """Report setup errors in one line, with the parts' own messages about wrong values."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UsageError(first_line(error)) from error


def _has_final(path: Path) -> bool:
    record = metrics_log.last_record(path / "metrics.jsonl")
    return record is not None and record["kind"] == "final"


def _options_of(kept: dict[str, Any], path: Path, changes: Mapping[str, Any]) -> TrainOptions:
    """The options of a run with those changes that are not None."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    try:
        options = TrainOptions(**values)
    except TypeError as error:
        raise UsageError(f"{path / 'config.json'} does not match this version of gymnast: {error}") from None
    return dataclasses.replace(options, **{key: value for key, value in changes.items() if value is not None})
