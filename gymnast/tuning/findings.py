"""What a study found: a table, the best settings as a preset, and pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from gymnast.settings import flags
from gymnast.settings.preset_files import NETWORK
from gymnast.settings.request import resolve
from gymnast.suites.planned_run import FREE
from gymnast.tuning import pictures
from gymnast.tuning.study import RUNS, Study
from gymnast.tuning.trials import shown

BEST, TABLE = "best.toml", "trials.csv"
LISTED = 10
"""Trials in the printed table."""
WIDTH = 160
"""Columns of the table where there is no terminal."""


@dataclass(frozen=True)
class Findings:
    """The outcome of `tune`."""

    path: Path | str
    """The study's folder, or its URL."""
    trials: tuple[FrozenTrial, ...]
    """Optuna's trials with a score, the best first."""
    files: tuple[Path | str, ...]
    """The preset, the table and the pictures that were written; none before a trial is complete."""
    exit_code: int
    """0, 1 if no trial has a score, or 128 + the number of the signal that stopped the study."""

    @property
    def settings(self) -> dict[str, Any]:
        """The best trial's values of the searched settings; empty without a complete trial."""
        return dict(self.trials[0].params) if self.trials else {}

    @property
    def score(self) -> float | None:
        """The best trial's score."""
        return self.trials[0].value if self.trials else None

    def as_text(self) -> str:
        """The table of the best trials, and what was written."""
        from rich.console import Console
        from rich.table import Table

        if not self.trials:
            return "no trial has a score yet"
        table = Table(title=f"the best of {len(self.trials)} complete trials", title_justify="left")
        for name in ("trial", "score", *self.settings):
            table.add_column(name, justify="right", overflow="fold")
        for trial in self.trials[:LISTED]:
            values = [trial.params.get(name) for name in self.settings]
            table.add_row(str(trial.number), f"{trial.value:,.4g}", *map(shown, values))
        text = io.StringIO()
        width = None if sys.stdout.isatty() else WIDTH
        Console(file=text, width=width).print(table)
        return "\n".join([text.getvalue().rstrip(), *(f"wrote {file}" for file in self.files)])


def conclude(
    study: Study, folder: Path, *, agent: str, words: Callable[[Mapping[str, Any]], list[str]], exit_code: int
) -> Findings:
    """Write what a study found so far into its folder; `words` gives those of `gymnast train AGENT` for settings."""
    complete = study.complete
    files = []
    if complete:
        best = preset(agent, words(complete[0].params), comment=f"trial {complete[0].number}: {complete[0].value:,.4g}")
        _write(folder / BEST, best)
        _write(folder / TABLE, table(study))
        files = [folder / BEST, folder / TABLE, *pictures.draw(study, folder)]
    return Findings(folder, tuple(complete), tuple(files), exit_code or (0 if complete else 1))


def preset(agent: str, words: list[str], *, comment: str) -> str:
    """A file for `--preset` with every option that the words, and the presets among them, change for the agent."""
    of = f"train {agent}"
    asked = resolve(agent, words, of=of)
    plain = resolve(agent, ["--env", asked.options.env], of=of)
    lines = [f"# {comment}", f"env = {_toml(asked.options.env)}"]
    for chosen, usual in ((asked.options, plain.options), (asked.config, plain.config)):
        for name in flags.flags_of(type(chosen)):
            value = getattr(chosen, name)
            if name not in FREE - {"steps"} and value != getattr(usual, name):
                lines.append(f"{name} = {_toml(value)}")
    network = getattr(asked.config, NETWORK, {})
    if network:
        lines += ["", f"[{NETWORK}]", *(f"{name} = {_toml(value)}" for name, value in network.items())]
    return "\n".join(lines) + "\n"


def table(study: Study) -> str:
    """Every counted trial as a row of a CSV file."""
    names = list(dict.fromkeys(name for trial in study.counted for name in trial.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "runs", *names])
    for trial in study.counted:
        value = trial.value if trial.state.is_finished() else None
        values = [trial.params.get(name) for name in names]
        writer.writerow([trial.number, trial.state.name.lower(), value, trial.user_attrs.get(RUNS), *values])
    return text.getvalue()


def _toml(value: Any) -> str:
    if isinstance(value, Enum):
        return json.dumps(value.name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
