"""What `gymnast benchmark`, `ablate` and `report` take: frozen dataclasses whose field docstrings are the help."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.settings.options import check_device, check_folder_name


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """Many runs, and a report of them. Options of `gymnast train` for every run come last, after `--`."""

    steps: int | None = None
    """Env steps of each run; without it, those of the preset."""
    seeds: int = 3
    """Runs of each agent in each environment, with seeds 0, 1, 2 and so on."""
    jobs: int = 1
    """Runs at a time, each a process with one torch thread."""
    preset: tuple[str, ...] | None = None
    """Presets of every run, applied from left to right; without it, those of the suite."""
    protocol: str | None = None
    """Atari protocol; without it, the suite's."""
    num_envs: int | None = None
    """Environments that each run steps together."""
    eval_every: int | None = None
    """Env steps between evaluations; without it the preset's, or a twentieth of the run if that has none in it."""
    checkpoint_every: int | None = None
    """Env steps between checkpoints, which a run that was killed goes on from; without it a twentieth of the run."""
    keep_replay: bool = True
    """Keep the replay memory of finished runs, gigabytes of each on Atari, so that more steps can follow."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    out: str = "runs"
    """Folder for the runs, as OUT/ENV/AGENT/NAME-seedN, and the report, as OUT/reports/NAME."""
    name: str | None = None
    """First part of the names of the runs' folders; without it the suite's name."""

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "jobs", "num_envs", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        check_device(self.device)
        check_folder_name(self.name)
        if not self.out:
            raise ValueError("out must be a folder, got ''")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SuiteOptions):
    """Train agents in every environment of a suite, go on with what is missing, and report.

    Options of `gymnast train` that are to hold for every run come last, after `--`.
    """

    envs: tuple[str, ...] = field(metadata={"positional": "SUITE_OR_IDS"})
    """A suite of gymnast list suites, or environment ids."""
    agents: tuple[str, ...] = field(metadata={"metavar": "AGENT [AGENT ...]"})
    """Agents to compare."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.envs:
            raise ValueError("envs must be a suite or environment ids, got none")
        if not self.agents:
            raise ValueError("agents must name at least one agent, got none")
        if len(set(self.agents)) < len(self.agents):
            raise ValueError(f"agents takes each name once, got {' '.join(self.agents)}")


@dataclass(frozen=True, kw_only=True)
class AblateOptions(SuiteOptions):
    """Plain DQN, DQN with each part of Rainbow, Rainbow without each part, and Rainbow: 14 variants, and a report.

    Options of `gymnast train` that are to hold for every run come last, after `--`.
    """

    agent: str = field(metadata={"positional": "rainbow"})
    """What to take apart."""
    env: tuple[str, ...] = field(metadata={"metavar": "ID [ID ...]"})
    """Environments to train in, or a suite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.agent != "rainbow":
            raise ValueError(f"ablate takes rainbow apart, got {self.agent}")
        if not self.env:
            raise ValueError("env must be environment ids or a suite, got none")
