"""`last.pt`: everything that a resumed run needs, written and read here only."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gymnast.errors import UsageError, first_line
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About
from gymnast.storage.replay_blocks import ReplayFiles


@dataclass(frozen=True)
class SessionState:
    """The positions of a run's events and logs; those of files that a population does not write are 0."""

    next: dict[str, int]
    """The env step at which each event is due."""
    best: float | None
    """Mean return of the best evaluation."""
    metrics: int
    """Bytes of metrics.jsonl."""
    timing: int
    """Bytes of timing.jsonl."""
    seconds: float
    """Time spent in training."""
    writers: dict[str, Any]
    """The state that the trackers need to continue."""


@dataclass(frozen=True)
class LearnerState:
    """What a learner other than the first one needs to continue besides what is the same in all of them."""

    agent: dict[str, Any]
    """The parts of its state that are its own: what it keeps of its rows."""
    actor: dict[str, Any]
    env: dict[str, Any] | None
    """A snapshot; None if the environment cannot be restored."""
    lasting: dict[str, Any] | None
    """The environment's state that persists across episodes."""
    env_step: int
    """Of all learners."""


@dataclass(frozen=True)
class RunState:
    """Everything that a resumed run needs besides its config. The field names are the keys of the file."""

    agent: dict[str, Any]
    """Including its replay."""
    actor: dict[str, Any]
    env: dict[str, Any] | None
    """A snapshot; None if the environment cannot be restored."""
    loop: dict[str, Any]
    torch_rng: Tensor
    cuda_rng: list[Tensor]
    session: SessionState
    lasting: dict[str, Any] = field(default_factory=dict)
    """The environment's state that persists across episodes; empty in files of earlier builds."""
    population: dict[str, Any] = field(default_factory=dict)
    """The members of a population, and the kept state of each; empty, and not in the file, for a single agent."""
    learners: list[dict[str, Any]] = field(default_factory=list)
    """Of each learner but the first, a `LearnerState`; empty, and not in the file, for a single one."""

    @staticmethod
    def taken(
        *,
        agent: dict[str, Any],
        actor: dict[str, Any],
        env: dict[str, Any] | None,
        loop: dict[str, Any],
        session: SessionState,
        lasting: dict[str, Any] | None = None,
        population: dict[str, Any] | None = None,
        learners: list[dict[str, Any]] | None = None,
    ) -> RunState:
        """The state including that of torch's own generators."""
        return RunState(
            agent=agent,
            actor=actor,
            env=env,
            loop=loop,
            torch_rng=torch.get_rng_state(),
            cuda_rng=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            session=session,
            lasting=lasting or {},
            population=population or {},
            learners=learners or [],
        )

    def restore_generators(self) -> None:
        """Restore torch's own generators."""
        torch.set_rng_state(self.torch_rng)
        if self.cuda_rng and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self.cuda_rng)

    @staticmethod
    def of(content: dict[str, Any]) -> RunState:
        """The state in a file's content; KeyError or TypeError if a part is missing or unknown."""
        later: dict[str, Any] = {"lasting": {}, "population": {}, "learners": []}  # missing in files of earlier builds
        parts = {part.name: content[part.name] for part in fields(RunState) if part.name not in later}
        parts |= {name: content.get(name, empty) for name, empty in later.items()}
        return RunState(**{**parts, "session": SessionState(**content["session"])})

    def content(self) -> dict[str, Any]:
        parts = {**vars(self), "session": dict(vars(self.session))}
        return {name: part for name, part in parts.items() if name not in ("population", "learners") or part}


class LastCheckpoint:
    """The file `last.pt` of a run, and the files that hold its replay's frames."""

    def __init__(self, checkpoints: Path) -> None:
        self.path = checkpoints / "last.pt"
        self._replay_files = ReplayFiles(checkpoints)

    def read(self) -> tuple[About, RunState]:
        """The content of the file; `save` then writes only later changes. UsageError names a damaged file."""
        about, content = checkpoint.read(self.path)
        try:
            state = RunState.of(content)
        except (KeyError, TypeError) as error:
            raise UsageError(f"{self.path} does not hold the state of a run: {first_line(error)}") from None
        self._replay_files.restore(state.agent, self.path)
        return about, state

    def save(self, about: About, state: RunState) -> None:
        """Write the file and the changed blocks of the replay; OSError leaves the previous checkpoint untouched."""
        with self._replay_files.saved(state.agent) as agent:
            checkpoint.save(self.path, about, replace(state, agent=agent).content())

    def replay_names(self) -> list[str]:
        """Names of the files in `checkpoints/replay` that the file refers to, without reading its tensors."""
        content = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True)
        files = content["agent"].get("replay", {}).get("files", {})
        return [block["name"] for block in files.get("blocks", ())]

    def discard(self) -> None:
        """Delete the file and those of its replay, if they exist."""
        self.path.unlink(missing_ok=True)
        self._replay_files.discard()
