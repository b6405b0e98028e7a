"""The differences between the members of a population: seeds, and settings crossed in a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Values = tuple[float, ...]


@dataclass(frozen=True)
class Setting:
    """A setting as it was written: `name=a,b,c`, `name=low:high` or `name=low:high:log`."""

    name: str
    numbers: Values
    """The listed values, or the ends of a range."""
    kind: str = "list"
    """list, range (equal distances) or log (equal ratios)."""

    def values(self, count: int) -> Values:
        """The list, or this many numbers of the range, its ends included."""
        if self.kind == "list":
            return self.numbers
        low, high = self.numbers
        shares = [index / max(count - 1, 1) for index in range(count)]
        if self.kind == "log":
            return tuple(low * (high / low) ** share for share in shares)
        return tuple((1.0 - share) * low + share * high for share in shares)


Axis = tuple[Setting, ...]
"""Settings that change together."""


def spread(crossed: Sequence[str], together: Sequence[str], members: int) -> dict[str, Values]:
    """The number of each member, by setting; ValueError in one line.

    Settings in `crossed` form all combinations of their values; those in `together` change together, first
    with first. Members take the combinations in turns, the last setting changing fastest. The members of one
    combination spread over a range.
    """
    axes: list[Axis] = [(_read(text, "vary"),) for text in crossed]
    if together:
        axes.append(tuple(_read(text, "vary_zip") for text in together))
        _check_together(axes[-1])
    names = [setting.name for axis in axes for setting in axis]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"vary sets {name} twice")
    lists = [axis for axis in axes if _length(axis)]
    ranges = [axis for axis in axes if not _length(axis)]
    if len(ranges) > 1:
        first, second, *_ = (axis[0].name for axis in ranges)
        raise ValueError(
            f"vary cannot cross two ranges, {first} and {second}: list the values of one, or use --vary-zip for both"
        )
    cells = list(itertools.product(*(range(_length(axis)) for axis in lists)))
    _check_members(members, len(cells), lists, ranges)
    found = {}
    for number, axis in enumerate(lists):
        for setting in axis:
            values = setting.values(_length(axis))
            found[setting.name] = tuple(values[cells[member % len(cells)][number]] for member in range(members))
    for setting in itertools.chain(*ranges):
        numbers: list[float] = [0.0] * members
        for cell in range(len(cells)):
            numbers[cell :: len(cells)] = setting.values(len(numbers[cell :: len(cells)]))
        found[setting.name] = tuple(numbers)
    return {name: found[name] for name in names}


def _length(axis: Axis) -> int:
    """Combinations of an axis; 0 for ranges, which allow any number of members."""
    return max((len(setting.numbers) for setting in axis if setting.kind == "list"), default=0)


def _check_together(axis: Axis) -> None:
    lengths = {setting.name: len(setting.numbers) for setting in axis if setting.kind == "list"}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise ValueError(f"vary_zip needs equally many values of each setting: {counts}")


def _check_members(members: int, cells: int, lists: Sequence[Axis], ranges: Sequence[Axis]) -> None:
    """Raise ValueError unless some member uses each given value."""
    needed = cells * (2 if ranges else 1)
    if members >= needed:
        return
    written = [" with ".join(setting.name for setting in axis) for axis in [*lists, *ranges]]
    counts = [str(_length(axis)) for axis in lists] + ["a range"] * len(ranges)
    parts = " x ".join(f"{name} ({count})" for name, count in zip(written, counts, strict=True))
    raise ValueError(f"vary needs at least {needed} members for {parts}, but seeds has {members}")


def _read(text: str, option: str) -> Setting:
    name, separator, values = text.partition("=")
    name = name.replace("-", "_")
    if not separator or not name or not values:
        raise ValueError(f"{option} takes name=low:high, name=low:high:log or name=a,b,c, got {text!r}")
    if ":" not in values:
        return Setting(name, tuple(_number(part, text, option) for part in values.split(",")))
    low, high, *kind = values.split(":")
    if kind not in ([], ["log"]):
        raise ValueError(f"{option} takes only log after name=low:high:, got {text!r}")
    ends = _number(low, text, option), _number(high, text, option)
    if kind and min(ends) <= 0.0:
        raise ValueError(f"{option} needs numbers > 0 for log, got {text!r}")
    return Setting(name, ends, "log" if kind else "range")


def _number(word: str, text: str, option: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{option} takes finite numbers, got {word!r} in {text!r}")
    return value
