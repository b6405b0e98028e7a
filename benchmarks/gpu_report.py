"""How the checks on a GPU report: rows of figures as lines, as a table that ends the command, and as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch


def line(row: dict[str, Any]) -> str:
    """One row as one line."""
    numbers = ", ".join(f"{key} {value:,.1f}" for key, value in row.items() if key not in ("check", "ok"))
    return f"{row['check']:66} {numbers}"


def finish(rows: list[dict[str, Any]], heading: str) -> None:
    """The final table of a command, which fails if a row is not ok."""
    print(f"\n{heading}")
    for row in rows:
        print(f"  {'ok  ' if row['ok'] else 'FAIL'} {line(row)}")
    if not all(row["ok"] for row in rows):
        raise SystemExit(1)


def where(device: torch.device) -> str:
    """The machine that measured the figures."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def write(name: str, rows: list[dict[str, Any]], device: torch.device) -> None:
    """Put the figures into a file of this name."""
    content = {"device": where(device), "torch": torch.__version__, "rows": rows}
    (folder() / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def folder() -> Path:
    """The folder for figures: $OUT, or runs/gpu."""
    out = Path(os.environ.get("OUT", "runs/gpu"))
    out.mkdir(parents=True, exist_ok=True)
    return out
