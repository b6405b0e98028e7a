"""Options of `gymnast tune`: a frozen dataclass whose field docstrings are their help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gymnast.settings.options import at_least
from gymnast.suites.options import SuiteOptions

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]
Score = Literal["last", "best", "mean"]
TRIALS = 20


@dataclass(frozen=True, kw_only=True)
class TuneOptions(SuiteOptions):
    """Search for settings of an agent that raise its return, and write the best ones as a preset.

    A trial trains the agent with settings from a space, once with each seed. Its score is the interquartile mean over
    the seeds. Options of `gymnast train` for every run follow after `--`; they are not searched.
    """

    agent: str = field(metadata={"positional": "AGENT"})
    """The agent to tune."""
    env: str = field(metadata={"metavar": "ID"})
    """Environment to train in."""
    space: str | None = field(default=None, metadata={"metavar": "FILE"})
    """TOML file of the settings to search, each with low and high or a list of choices. Default: the agent's own."""
    trials: int | None = None
    """Trials of the study in total, those of earlier starts included. Default: 20, or all points of a grid."""
    sampler: Sampler = "tpe"
    """How to choose settings: tpe (tree of Parzen estimators), gp (Gaussian process), cmaes, random or grid."""
    pruner: Pruner = "median"
    """Which trials to stop early, by their evaluations: those below the median, by hyperband, or none."""
    score: Score = "last"
    """A run's score: the mean return of the last quarter of its scheduled evaluations, of the best one, or of all."""
    seed: int = 0
    """Seed of the sampler."""
    storage: str | None = field(default=None, metadata={"metavar": "URL"})
    """Optuna's storage, such as sqlite:///study.db. Default: study.db in the study's folder."""
    seeds: int = 3
    """Runs per trial, one after another, with seeds 0, 1, 2 and so on."""
    jobs: int = 1
    """Trials in parallel, each a process with one torch thread."""
    preset: tuple[str, ...] | None = None
    """Presets of every run, applied from left to right. Default: none."""
    protocol: str | None = None
    """Atari protocol. Default: the preset's or the id's."""
    name: str | None = None
    """Name of the study. Default: AGENT-ID."""
    out: str = field(default="runs/tune", metadata={"metavar": "FOLDER"})
    """Folder for studies; one is written to OUT/NAME, its runs to OUT/NAME/ENV/AGENT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("seed", self.seed, 0)
        if self.trials is not None:
            at_least("trials", self.trials, 1)
        if not self.env:
            raise ValueError("env must be an id, got ''")
        if self.storage is not None and "://" not in self.storage:
            raise ValueError(f"storage must be a URL such as sqlite:///study.db, got {self.storage!r}")
