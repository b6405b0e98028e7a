"""Which runs and checkpoints are of networks that were fitted to data."""

from __future__ import annotations

import json
from pathlib import Path

from gymnast.errors import UsageError

FIT = "fit"
"""The name that the checkpoint of a fitted network has where that of an agent has the agent's."""


def is_fitted(path: str | Path) -> bool:
    """Whether a folder is that of a run that fits a network; False for anything that is no run."""
    try:
        config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("agent") == FIT


def is_network(path: str | Path) -> bool:
    """Whether a run or a checkpoint holds a fitted network, not an agent; False for anything unreadable."""
    from gymnast.storage import checkpoint  # imports torch, which the quick commands avoid

    try:
        about, _ = checkpoint.read(checkpoint.find(path))
    except UsageError:
        return False
    return about.agent == FIT
