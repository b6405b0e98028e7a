"""Options of `gymnast benchmark` and `ablate`: frozen dataclasses whose field docstrings are their help."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.settings.options import RayOptions, check_device, check_folder_name, check_new_folder_name

ABLATED = ("rainbow", "spr", "bbf", "btr")
"""Agents whose parts `gymnast ablate` compares (`ablate.ABLATIONS`)."""


@dataclass(frozen=True, kw_only=True)
class SuiteOptions(RayOptions):
    """Many runs, and a report on them. Options of `gymnast train` for every run follow after `--`."""

    steps: int | None = None
    """Env steps per run. Default: the preset's."""
    seeds: int = 3
    """Runs per agent and environment, with seeds 0, 1, 2 and so on."""
    jobs: int = 1
    """Runs in parallel, each a process with one torch thread."""
    preset: tuple[str, ...] | None = None
    """Presets of every run, applied from left to right. Default: the suite's."""
    protocol: str | None = None
    """Atari protocol. Default: the suite's."""
    num_envs: int | None = None
    """Number of environments that each run steps together. Default: the agent's."""
    eval_every: int | None = None
    """Env steps between evaluations. Default: the preset's, or a twentieth of the run if that would give none."""
    checkpoint_every: int | None = None
    """Env steps between checkpoints, from which a killed run resumes. Default: a twentieth of the run."""
    keep_replay: bool = True
    """Keep the replay memory of finished runs (gigabytes per run on Atari), so that they can be extended."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    out: str = field(default="runs", metadata={"metavar": "FOLDER"})
    """Folder for the runs (OUT/ENV/AGENT/NAME-seedN) and the report (OUT/reports/NAME); with --ray also a URL."""
    name: str | None = None
    """Prefix of the runs' folder names. Default: the suite's name."""

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "jobs", "num_envs", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        super().__post_init__()
        if self.ray is not None and self.jobs != 1:
            raise ValueError("jobs has no effect with --ray: the cluster runs as many as it has room for")
        check_device(self.device)
        check_folder_name(self.name)
        check_new_folder_name(self.name)
        if not self.out:
            raise ValueError("out must be a folder, got ''")
        if "://" in self.out and self.ray is None:
            raise ValueError(f"out must be a folder without --ray, got the URL {self.out}")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SuiteOptions):
    """Train agents in every environment of a suite, resume missing runs, and report.

    Options of `gymnast train` for every run follow after `--`.
    """

    envs: tuple[str, ...] = field(metadata={"positional": "SUITE_OR_IDS"})
    """A suite from gymnast list suites, or environment ids."""
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
    """Compare an agent with itself without each of its parts, and Rainbow also with DQN and DQN with each part.

    Options of `gymnast train` for every run follow after `--`.
    """

    agent: str = field(metadata={"positional": "AGENT"})
    """The agent to ablate: rainbow, spr, bbf or btr."""
    env: tuple[str, ...] = field(metadata={"metavar": "ID [ID ...]"})
    """Environments to train in, or a suite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.agent not in ABLATED:
            raise ValueError(f"ablate takes {', '.join(ABLATED[:-1])} or {ABLATED[-1]}, got {self.agent}")
        if not self.env:
            raise ValueError("env must be environment ids or a suite, got none")
