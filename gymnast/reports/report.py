"""One report on many runs: tables, figures and text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnast.errors import UsageError, first_line
from gymnast.reports import gather
from gymnast.reports import statistics as aggregate
from gymnast.reports.comparison import Comparison, compare


@dataclass(frozen=True)
class Written:
    """A report and its files."""

    comparison: Comparison
    files: tuple[Path, ...]

    def as_text(self) -> str:
        """The aggregates and the paths of the files."""
        from gymnast.reports import tables

        return "\n".join([tables.aggregates(self.comparison), "", *(str(path) for path in self.files)])


def report(options: ReportOptions) -> Written:
    """Carry out `gymnast report`. Raises UsageError."""
    labels = gather.labelled(gather.find(options.paths))
    return write(labels, Path(options.out), title="Report", resamples=options.resamples, seed=options.seed)


def write(
    labels: Mapping[Path, str],
    out: Path,
    *,
    title: str,
    missing: Sequence[str] = (),
    draw: Mapping[str, Callable[[Comparison], Any]] | None = None,
    resamples: int = aggregate.RESAMPLES,
    seed: int = 0,
) -> Written:
    """Compare the runs, by label, and write Markdown, CSV and PNG into a folder.

    `missing` are titles of missing runs, `draw` further pictures by file name. Raises UsageError.
    """
    from gymnast.reports import figures, tables

    found = compare(labels, title=title, missing=missing, resamples=resamples, seed=seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = figures.draw_all(found, out, more=draw or {})
        return Written(found, (*tables.write(found, out, pictures=drawn), *drawn))
    except OSError as error:
        raise UsageError(f"--out {out}: {first_line(error)}") from None


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Compare finished runs: tables as Markdown and CSV, figures as PNG. Runs of different protocols are refused."""

    paths: tuple[str, ...] = field(metadata={"positional": "RUN_OR_FOLDER"})
    """Run folders, or folders that contain run folders."""
    out: str = "report"
    """Folder to write to."""
    resamples: int = 2_000
    """Bootstrap resamples per interval."""
    seed: int = 0
    """Seed of the bootstrap."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("paths must be folders of runs, got none")
        if self.resamples < 100:
            raise ValueError(f"resamples must be >= 100, got {self.resamples}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        if not self.out:
            raise ValueError("out must be a folder, got ''")
