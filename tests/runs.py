"""Folders of finished runs, written by hand: for tests of what is read from runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RAINBOW_PROTOCOL = {"name": "rainbow", "sticky": 0.0, "noop_max": 30, "max_frames": 108_000, "life_loss": True}


def write_run(
    folder: Path,
    *,
    score: float | None = 1.0,
    env: str = "gymnast/Chain-v0",
    agent: str = "dqn",
    seed: int = 0,
    steps: int = 100,
    evaluations: Sequence[tuple[int, float]] = ((50, 0.0), (100, 1.0)),
    training: Sequence[tuple[int, float | None]] = ((100, 0.5),),
    config: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    command: Sequence[str] = (),
) -> Path:
    """A run as `gymnast train` leaves it, without checkpoints; `score` None for one without its final evaluation."""
    rows: list[dict[str, Any]] = [{"kind": "train", "env_step": at, "return_mean": value} for at, value in training]
    rows += [{"kind": "eval", "env_step": at, "mean_return": value} for at, value in evaluations]
    if score is not None:
        stamp = {} if protocol is None else {"protocol": protocol["name"] or "custom", "protocol_settings": protocol}
        rows.append({"kind": "final", "env_step": steps, "env": env, "agent": agent, "mean_return": score, **stamp})
    kept = {
        "agent": agent,
        "config": config or {},
        "run": {"env": env, "seed": seed, "steps": steps, "name": folder.name, "stop_return": None},
        "command": list(command),
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(kept))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
