"""The settings to search: a TOML file with a range or a list of choices for each."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gymnast.agents.table import ALGORITHMS
from gymnast.errors import UsageError, nearest
from gymnast.settings.agents import AGENTS
from gymnast.settings.preset_files import words_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from optuna.distributions import BaseDistribution

Value: TypeAlias = bool | int | float | str
KEYS = ("low", "high", "log", "step")
SPACES: Mapping[str, str] = {
    **dict.fromkeys(("noisy-dqn", "rainbow", "der", "spr", "btr"), "noisy-dqn"),
    **dict.fromkeys(("sr-spr", "bbf"), "resets"),
    **dict.fromkeys(("a2c", "a3c"), "a2c"),
    **dict.fromkeys(("npg", "trpo"), "trpo"),
    **dict.fromkeys(("q-learning", "sarsa", "expected-sarsa"), "traces"),
    "double-q-learning": "table",
    **dict.fromkeys(("ddpg", "td3"), "td3"),
    **dict.fromkeys(("redq", "droq"), "redq"),
}
"""The file in `spaces/` of agents that have none of their own name and do not take their base's."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; whole ones if both ends and the step are."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that are checked before the study starts."""
        return (self.low, self.high)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def points(self) -> tuple[Value, ...]:
        """All values; UsageError if there is no end of them."""
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            raise UsageError(f"a grid needs choices or a step for {self.name}, got {self.low} to {self.high}")
        values = [self.low + index * step for index in range(round((self.high - self.low) / step) + 1)]
        return tuple(int(value) if self.whole else value for value in values)

    def plain(self) -> dict[str, Any]:
        """The range as in a file."""
        rest = {"log": True} if self.log else {}
        return {"low": self.low, "high": self.high, **rest, **({} if self.step is None else {"step": self.step})}


@dataclass(frozen=True)
class Choice:
    """One of several values; a value of several parts is a string with spaces between them."""

    name: str
    values: tuple[Value, ...]
    lists: bool = False
    """Whether the file has lists for values."""

    @property
    def extremes(self) -> tuple[Value, ...]:
        return self.values

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def points(self) -> tuple[Value, ...]:
        return self.values

    def plain(self) -> list[Value]:
        """The choices as a list."""
        return list(self.values)


Setting: TypeAlias = Range | Choice


@dataclass(frozen=True)
class Space:
    """Settings to search, by the field names of their options."""

    title: str
    """What errors call it."""
    settings: tuple[Setting, ...]

    def without(self, names: Iterable[str]) -> Space:
        """The space without some settings; UsageError if nothing is left."""
        names = set(names)
        kept = tuple(setting for setting in self.settings if setting.name not in names)
        if not kept:
            raise UsageError(f"every setting of {self.title} is given, so nothing is left to search")
        return Space(self.title, kept)

    def distributions(self) -> dict[str, BaseDistribution]:
        return {setting.name: setting.distribution() for setting in self.settings}

    def plain(self) -> dict[str, Any]:
        """The space as in a file."""
        return {setting.name: setting.plain() for setting in self.settings}

    def size(self) -> int:
        """The number of points of the grid; UsageError if a setting has no end of values."""
        return math.prod(len(setting.points()) for setting in self.settings)

    def grid(self) -> Iterable[dict[str, Value]]:
        """Every combination of values, the last setting first."""
        names = [setting.name for setting in self.settings]
        for point in itertools.product(*(setting.points() for setting in self.settings)):
            yield dict(zip(names, point, strict=True))

    def words(self, values: Mapping[str, Value]) -> list[str]:
        """Values as options on the command line."""
        lists = {setting.name for setting in self.settings if isinstance(setting, Choice) and setting.lists}
        words = []
        for name, value in values.items():
            parts = str(value).split() if name in lists else value
            words += words_of(name, parts, self.title)
        return words


def of_agent(agent: str) -> Space:
    """The space that comes with gymnast for an agent; UsageError if there is none."""
    name = name_of(agent)
    if name is None:
        raise UsageError(f"{agent} has no space of its own; name one: --space FILE.toml")
    return parse(_file(name).read_text(encoding="utf-8"), f"the space of {agent}")


def name_of(agent: str) -> str | None:
    """The name of an agent's file in `spaces/`: its own, or its base's; None if there is none."""
    if agent not in AGENTS:
        return None
    base = ALGORITHMS[agent].base if agent in ALGORITHMS else agent
    return next((name for name in (SPACES.get(agent, agent), base) if _file(name).is_file()), None)


def _file(name: str) -> Traversable:
    return resources.files("gymnast.tuning") / "spaces" / f"{name}.toml"


def read(file: str) -> Space:
    """The space of a file; UsageError if it cannot be read or is not one."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"space {file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"space {file} is not TOML: {error}") from error
    return parse(text, f"space {file}")


def parse(text: str, title: str) -> Space:
    """The space that a text describes; UsageError, which begins with `title`, if it is not one."""
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{title} is not TOML: {error}") from error
    if not entries:
        raise UsageError(f"{title} has no setting to search")
    made = []
    for key, value in entries.items():
        name = key.replace("-", "_")
        try:
            made.append(_range(name, value) if isinstance(value, dict) else _choice(name, value))
        except ValueError as error:
            raise UsageError(f"{title}: {key} {error}") from None
    names = [setting.name for setting in made]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{title} has {twice} twice")
    return Space(title, tuple(made))


def _choice(name: str, values: Any) -> Choice:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"must be a list of two or more choices, or have low and high, got {values!r}")
    lists = any(isinstance(value, list) for value in values)
    for value in values:
        parts: Sequence[Any] = value if isinstance(value, list) else [value]
        if isinstance(value, list) != lists or not all(isinstance(part, bool | int | float | str) for part in parts):
            raise ValueError(f"must have numbers, strings, true and false, or only lists for choices, got {value!r}")
    chosen = [" ".join(map(str, value)) if lists else value for value in values]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"has the same choice twice: {values!r}")
    return Choice(name, tuple(chosen), lists)


def _range(name: str, table: dict[str, Any]) -> Range:
    for key in table:
        if key not in KEYS:
            raise ValueError(f"has no key {key!r}; choose from {', '.join(KEYS)}{nearest(key, KEYS)}")
    low, high = (_end(key, table) for key in ("low", "high"))
    log, step = table.get("log", False), table.get("step")
    if low >= high:
        raise ValueError(f"must have low below high, got {low} and {high}")
    if not isinstance(log, bool):
        raise ValueError(f"must have true or false for log, got {log!r}")
    if log and low <= 0:
        raise ValueError(f"must have low above 0 with log, got {low}")
    if step is not None:
        _check_step(step, low, high, log=log)
    return Range(name, low, high, log, step)


def _end(key: str, table: Mapping[str, Any]) -> float:
    if key not in table:
        raise ValueError(f"needs {key}")
    if not _is_number(table[key]):
        raise ValueError(f"needs a number for {key}, got {table[key]!r}")
    number: float = table[key]
    return number


def _check_step(step: Any, low: float, high: float, *, log: bool) -> None:
    if log:
        raise ValueError("cannot have both log and step")
    if not _is_number(step) or step <= 0:
        raise ValueError(f"must have a step above 0, got {step!r}")
    if not math.isclose(round((high - low) / step) * step, high - low, rel_tol=1e-9):
        raise ValueError(f"must reach high from low in whole steps, got {low}, {high} and {step}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
