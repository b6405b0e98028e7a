"""Numba's errors, which fill a page, in one line."""

from __future__ import annotations

import re
from pathlib import Path


def reason(error: Exception) -> str:
    """What is wrong with the rules of one row, and in which line."""
    if isinstance(error, KeyError):
        return f"neither the state nor the options have {error}"
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Failed in nopython mode" not in line]
    causes = re.findall(r"^\s*\w*Error: (?!Failed in nopython mode)(.+)$", text, re.MULTILINE)
    place = re.search(r"During: typing of .* at (\S+) \((\d+)\)|File \"([^\"]+)\", line (\d+)", text)
    if place is None:
        return (causes or lines)[0]
    file, line = (place[1], place[2]) if place[1] else (place[3], place[4])
    return f"{(causes or lines)[0]} ({Path(file).name}, line {line})"
