"""Settings that differ between members: their seeds, and numbers spread over a range or taken in turns."""

from __future__ import annotations

import math
import re

Values = tuple[float, ...]


def seeds(text: str) -> range:
    """Seeds A:B, from A to B - 1; ValueError in one line."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise ValueError(f"seeds must be A:B, the seeds from A to B - 1, got {text!r}")
    first, end = int(found[1]), int(found[2])
    if end <= first:
        raise ValueError(f"seeds A:B needs A < B, got {text}")
    return range(first, end)


def spread(text: str, members: int) -> tuple[str, Values]:
    """A setting's name, and the number of each member; ValueError in one line.

    `name=low:high` are numbers at equal distances from low to high, `name=low:high:log` at equal ratios; `name=a,b,c`
    gives a to the first member, b to the second, and starts over after the last. Two ranges rise together.
    """
    name, separator, values = text.partition("=")
    name = name.replace("-", "_")
    if not separator or not name or not values:
        raise ValueError(f"vary takes name=low:high, name=low:high:log or name=a,b,c, got {text!r}")
    if ":" not in values:
        turns = [_number(part, text) for part in values.split(",")]
        return name, tuple(turns[member % len(turns)] for member in range(members))
    low, high, *kind = values.split(":")
    if kind not in ([], ["log"]):
        raise ValueError(f"vary takes only log after name=low:high:, got {text!r}")
    ends = _number(low, text), _number(high, text)
    if kind and min(ends) <= 0.0:
        raise ValueError(f"vary needs numbers > 0 for log, got {text!r}")
    return name, _between(*ends, members=members, log=bool(kind))


def _between(low: float, high: float, *, members: int, log: bool) -> Values:
    """Numbers from low to high, both included; the first of one member is low."""
    shares = [member / max(members - 1, 1) for member in range(members)]
    if log:
        return tuple(low * (high / low) ** share for share in shares)
    return tuple((1.0 - share) * low + share * high for share in shares)


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"vary takes finite numbers, got {word!r} in {text!r}")
    return value
