"""`last.pt`: everything that a resumed run needs, written and read here only."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gymnast.errors import UsageError, first_line
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About
from gymnast.storage.replay_blocks import ReplayFiles


@dataclass(frozen=True)
class SessionState:
    """The positions of a run's events and logs."""

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
class RunState:
    """Everything that a resumed run needs besides its config. The names of the fields are the keys of the file."""

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
    """What outlives the episodes of the environment; empty in files of earlier builds."""

    @staticmethod
    def of(content: dict[str, Any]) -> RunState:
        """The state in a file's content; KeyError or TypeError if a part is missing or unknown."""
        parts = {part.name: content[part.name] for part in fields(RunState) if part.name != "lasting"}
        parts["lasting"] = content.get("lasting", {})
        return RunState(**{**parts, "session": SessionState(**content["session"])})

    def content(self) -> dict[str, Any]:
        return {**vars(self), "session": dict(vars(self.session))}


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

    def discard(self) -> None:
        """Delete the file and those of its replay, if they exist."""
        self.path.unlink(missing_ok=True)
        self._replay_files.discard()
