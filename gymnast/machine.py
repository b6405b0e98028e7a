"""Threads, devices and folders of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits


def limit_threads(count: int) -> None:
    """Limit torch and NumPy's BLAS to `count` threads; more threads than idle cores wait for each other."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where the user's programs keep what they could find out again; gymnast's part of it."""
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "gymnast"


def pick_device(name: str) -> str:
    """Resolve `auto` to a GPU if available; ValueError for a device that does not exist."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.split(":")[0]
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(kind, False):
        there = ", ".join(key for key, value in present.items() if value)
        raise ValueError(f"device {name} is not available here; choose from {there}")
    if (
        kind == "cuda"
        and torch.device(name).index is not None
        and torch.device(name).index >= torch.cuda.device_count()
    ):
        raise ValueError(f"device {name} does not exist: {torch.cuda.device_count()} CUDA devices found")
    return name
