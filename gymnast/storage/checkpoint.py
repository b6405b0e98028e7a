"""Checkpoints: one file each, written completely or not at all, and safe to read from an untrusted source.

A file holds tensors, numbers, strings, lists and dicts (`torch.load(weights_only=True)` reads it); the agent's
description is JSON inside it. Nothing that a file names is imported, except the agents of gymnast.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from gymnast.agents.base import Agent
from gymnast.errors import UsageError, first_line
from gymnast.storage import digests, space_json

FORMAT = "gymnast checkpoint 1"


@dataclass(frozen=True)
class About:
    """Description of a checkpoint, stored with the weights."""

    agent: str
    config: dict[str, Any]
    env: str
    env_step: int
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    run: dict[str, Any]
    """The options of the run that wrote it, as in its config.json."""
    versions: dict[str, str]
    score: float | None = None
    """Mean return of the evaluation that made it the best one."""
    score_seed: int | None = None
    """The seed of that evaluation: `gymnast evaluate --seed` with it gives the same score."""
    protocol: dict[str, Any] | None = None
    """For an Atari run: how it plays and learns, with the protocol's name or None; see `gymnast.atari.protocols`."""
    outside: dict[str, Any] | None = None
    """For a run in a dream: the real environment, `env`, and the options with which to make it, `run`."""
    targets: dict[str, Any] | None = None
    """Of a network fitted to a labelled data set: the names of the classes, and the shape of an example's targets."""


def describe(
    agent: Agent,
    *,
    name: str,
    config: Any,
    env: str,
    run: dict[str, Any],
    versions: dict[str, str],
    protocol: dict[str, Any] | None = None,
    outside: dict[str, Any] | None = None,
) -> About:
    """The description of a checkpoint of this agent; ValueError names a space that cannot be stored."""
    return About(
        agent=name,
        config=dataclasses.asdict(config),
        env=env,
        env_step=agent.env_step,
        observation_space=space_json.encode(agent.observation_space),
        action_space=space_json.encode(agent.action_space),
        run=run,
        versions=versions,
        protocol=protocol,
        outside=outside,
    )


def save(path: Path, about: About, state: dict[str, Any]) -> None:
    """Write a checkpoint next to `path` and rename it, so that a complete file, old or new, exists at every moment.

    Raises OSError with the cause (such as a full disk); an existing file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, "about": json.dumps(dataclasses.asdict(about)), **_compact(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        if not isinstance(error, RuntimeError):
            raise
        # torch hides the operating system's error in its own
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        raise OSError(str(cause or first_line(error))) from error
    sync_folder(path.parent)


def save_agent(path: Path, about: About, state: dict[str, Any]) -> None:
    """`save` the state of an agent without its replay, which is only in `last.pt`."""
    save(path, about, {"agent": {key: value for key, value in state.items() if key != "replay"}})


def sync(path: Path) -> None:
    """Wait until everything written to a file is on the disk."""
    _sync(path, os.O_RDWR)  # Windows flushes only files that are open for writing


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk too, if the system can (Windows cannot)."""
    with suppress(OSError):
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compact(state: Any) -> Any:
    """The state with views cut out, because torch writes the whole memory that a view is a part of."""
    if isinstance(state, torch.Tensor):
        return _cut_out(state) if state.untyped_storage().nbytes() > state.nbytes else state
    if isinstance(state, dict):
        return {key: _compact(value) for key, value in state.items()}
    return [_compact(value) for value in state] if isinstance(state, list) else state


def _cut_out(view: torch.Tensor) -> torch.Tensor:
    """The view on a storage of just its size: the same memory if it is contiguous on the CPU, else a copy."""
    if view.device.type != "cpu" or not view.is_contiguous():
        return view.clone()
    first = view.storage_offset() * view.itemsize
    own = view.untyped_storage()[first : first + view.nbytes]
    return torch.empty(0, dtype=view.dtype).set_(own, 0, view.shape, view.stride())


def read(path: Path) -> tuple[About, dict[str, Any]]:
    """A checkpoint's description and state, on the CPU; UsageError names a damaged, unsafe or unrelated file."""
    try:
        with open(path, "rb") as file:  # the same file throughout, even if a run replaces it
            content = _load(file, path)
    except FileNotFoundError:
        raise UsageError(f"no checkpoint {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a checkpoint") from None
    except pickle.UnpicklingError:
        raise UsageError(f"{path} holds more than tensors and plain values; it was not loaded") from None
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise UsageError(f"{path} is damaged or not a checkpoint: {first_line(error)}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is not a gymnast checkpoint")
    try:
        about = About(**json.loads(content["about"]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{path} is damaged: its description cannot be read") from None
    return about, content


def _load(file: IO[bytes], path: Path) -> Any:
    """The content if every part matches its digest; UsageError names the part that does not."""
    damaged = digests.damaged_record(file)
    if damaged == "":
        raise UsageError(f"{path} is damaged or not a checkpoint; it was not loaded")
    if damaged is None:
        return torch.load(file, map_location="cpu", weights_only=True)
    name = "a part"
    if digests.is_tensor(damaged):
        with suppress(Exception):  # only for the tensor's name
            name = digests.name_of(damaged, torch.load(file, map_location="cpu", weights_only=True))
    raise UsageError(f"{path} is damaged: {name} does not match its digest; it was not loaded")


def read_agent(path: Path) -> tuple[About, dict[str, Any]]:
    """A checkpoint's description and the state of its agent; UsageError also if it has none."""
    about, content = read(path)
    if content.get("population"):
        raise UsageError(f"{path} holds a population, not an agent: gymnast evaluate RUN --member SEED plays a member")
    if "agent" not in content:
        raise UsageError(f"{path} does not hold the state of an agent")
    return about, content["agent"]


def tuples(value: Any) -> Any:
    """JSON has no tuples; configs have no lists."""
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


def find(path: str | Path) -> Path:
    """The checkpoint file that a path refers to: itself, or the best one of a run's folder, else the last."""
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"no run or checkpoint {path}")
    if not (path / "config.json").is_file():
        raise UsageError(f"{path} is not a run folder: it has no config.json")
    for name in ("best.pt", "last.pt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise UsageError(f"{path} has no checkpoint yet")
