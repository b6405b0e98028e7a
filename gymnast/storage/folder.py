"""A run's folder: config.json, metrics.jsonl, timing.jsonl, checkpoints/, videos/."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gymnast.errors import UsageError
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.options import RESERVED, TrainOptions, check_new_folder_name
from gymnast.version import __version__

LOG_BYTES = 10_000_000
"""Room for everything in a run's folder that is not a checkpoint."""
PACKAGES = ("torch", "numpy", "gymnasium", "ale-py", "numba")


def check_space(out: str, needed: int) -> None:
    """Raise UsageError if the disk has no room for the checkpoints of a run; `needed` in bytes."""
    folder = Path(out).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + LOG_BYTES:
        short = f"its checkpoints need {needed / 1e6:,.0f} MB and only {free / 1e6:,.0f} MB are free"
        raise UsageError(f"out {out}: {short}; a smaller replay needs less space")


def check_name(out: str, *, env: str, agent: str, name: str | None) -> None:
    """Raise UsageError now if `create` would refuse the name."""
    try:
        check_new_folder_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if name is not None and (path := folder(out, env=env, agent=agent) / name).exists():
        raise UsageError(f"{path} already exists; continue it with `gymnast resume {path}`, or choose another name")


def create(out: str, *, env: str, agent: str, name: str | None, seed: int) -> Path:
    """Make the folder `out/<env>/<agent>/<name or seed-time>`; UsageError if it cannot be made or is taken."""
    try:
        check_new_folder_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    parent = folder(out, env=env, agent=agent)
    chosen = name or f"seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = parent / chosen, 1
    while True:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            return path
        except FileExistsError:
            if name is not None or not parent.is_dir():
                hint = f"; continue it with `gymnast resume {path}`, or choose another name" if path.is_dir() else ""
                raise UsageError(f"{path} already exists{hint}") from None
            number += 1
            path = parent / f"{chosen}-{number}"
        except OSError as error:
            raise UsageError(f"out {out}: cannot make the run folder: {error.strerror}") from None


def folder(out: str, *, env: str, agent: str) -> Path:
    """The folder of all runs of an agent in an environment: `out/<env>/<agent>`."""
    return Path(out) / folder_name(env) / folder_name(agent)


def folder_name(name: str) -> str:
    """An id as a folder name on any system: `ALE/Pong-v5` is `ALE-Pong-v5`, `./my.py:Mine` is `my.py-Mine`."""
    chosen = re.sub(r'[/\\:"|?*\x00-\x1f]', "-", re.sub("[<>]", "", name.removeprefix("./"))).lstrip(".").rstrip(". ")
    return f"_{chosen}" if RESERVED.fullmatch(chosen) else chosen


def config_json(
    agent: str,
    config: Any,
    *,
    options: TrainOptions | FitOptions,
    presets: Sequence[str],
    command: Sequence[str],
    reference: str | None = None,
    protocol: dict[str, Any] | None = None,
    population: dict[str, Any] | None = None,
    own_env: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The content of config.json: everything needed to repeat the run. `config` is the agent's.

    `own_env` describes an environment that came from Python code, not from an id.
    """
    return {
        "agent": agent,
        "config": dataclasses.asdict(config),
        "run": dataclasses.asdict(options),
        **({} if population is None else {"population": population}),
        **({} if own_env is None else {"own_env": own_env}),
        "protocol": protocol,
        "presets": list(presets),
        **({} if reference is None else {"reference": reference}),
        "command": list(command),
        "versions": versions(),
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write config.json completely or not at all."""
    temporary = path / ".config.json"
    temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8", newline="\n")
    os.replace(temporary, path / "config.json")


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a run's folder; UsageError if it is not one."""
    if not path.is_dir():
        raise UsageError(f"no run folder {path}")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is not a run folder: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path / 'config.json'} cannot be read: {error}") from None
    if not isinstance(config, dict) or not {"agent", "config", "run"} <= config.keys():
        raise UsageError(f"{path / 'config.json'} is not the config of a run")
    return config


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder for this process; UsageError if another one trains in it.

    The system releases it however the process ends: a leftover file `.lock` locks nothing.
    """
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is training in {path}") from None
    try:
        yield
    finally:
        lock.release()


def versions() -> dict[str, str]:
    """Versions of everything that determines a run's numbers."""
    found = {"gymnast": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES}


def commit() -> str | None:
    """The commit of this code's checkout, with "+" if it has changes; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, encoding="utf-8", timeout=5)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, encoding="utf-8", timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else None
