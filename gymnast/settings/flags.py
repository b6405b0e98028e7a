"""Turns frozen dataclasses into flags: `--n-step 3` sets the field `n_step`. tyro converts the values.

tyro reports errors in boxes of several lines and accepts nan. So the flags are parsed here, and each mistake gives one
line that names the option, the value, the allowed values and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from enum import Enum
from io import StringIO
from typing import Any, Literal, NoReturn, Union

from gymnast.errors import UsageError, nearest


@dataclass(frozen=True)
class Flag:
    """One field of a dataclass on the command line."""

    field: str
    type: Any
    default: Any
    """The default, or `dataclasses.MISSING`."""
    positional: str | None = None
    """Name of a value without a flag in the usage text."""
    metavar: str | None = None
    """Name of the flag's value in the usage text, if its type does not suffice."""
    repeatable: bool = False
    """Whether it may be repeated to add values."""

    @property
    def name(self) -> str:
        return self.positional or "--" + self.field.replace("_", "-")

    @property
    def switch(self) -> bool:
        """Whether it takes no value, and `--no-` negates it."""
        return self.type in (bool, bool | None)

    @property
    def arity(self) -> int | None:
        """Number of values that it takes: 0 for a switch, None for any number."""
        return 0 if self.switch else max(_arities(self.type), key=lambda count: math.inf if count is None else count)


@dataclass(frozen=True)
class Given:
    """The words of a command line: flags as written, each with the words after it."""

    loose: list[str]
    flags: list[tuple[str, list[str]]]


def flags_of(*classes: type[Any]) -> dict[str, Flag]:
    """The flags of dataclasses by field name; UsageError if two of them share a field name."""
    flags: dict[str, Flag] = {}
    for cls in classes:
        hints = typing.get_type_hints(cls, include_extras=True)
        for field in dataclasses.fields(cls):
            if not field.init or field.metadata.get("flag") is False:
                continue
            if field.name in flags:
                raise UsageError(f"{cls.__name__}.{field.name} has the same name as another option; rename the field")
            if dataclasses.is_dataclass(hints[field.name]):
                raise UsageError(
                    f"{cls.__name__}.{field.name} is a dataclass; a config must be flat, one flag per field"
                )
            shown = {
                key: field.metadata[key] for key in ("positional", "metavar", "repeatable") if key in field.metadata
            }
            flags[field.name] = Flag(field.name, hints[field.name], default_of(field), **shown)
    return flags


def default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def parse(words: Sequence[str], flags: Mapping[str, Flag], *, of: str) -> dict[str, Any]:
    """The values given by the words, by field name; `of` names the command in errors. Raises UsageError."""
    values: dict[str, Any] = {}
    spelled = {flag.name: flag for flag in flags.values() if not flag.positional}
    positionals = [flag for flag in flags.values() if flag.positional]
    many = bool(positionals) and positionals[-1].arity is None  # the last one takes all remaining words
    room = math.inf if many else len(positionals)
    given = _split(words)
    loose = list(given.loose)
    for name, texts in given.flags:
        flag, negated = _find(name, spelled, of=of)
        if flag.field in values and not flag.repeatable:
            raise UsageError(f"{flag.name} is given twice")
        count = len(texts) if flag.arity is None else flag.arity
        if len(texts) > count and len(loose) + len(texts) - count <= room:
            texts, loose = texts[:count], loose + texts[count:]
        value = not negated if flag.switch and not texts else _value(flag, texts)
        values[flag.field] = values.get(flag.field, ()) + value if flag.repeatable else value
    if len(loose) > room:
        raise UsageError(f"{of} does not take {loose[len(positionals)]!r}; write options as --name value")
    values |= {flag.field: text for flag, text in zip(positionals, loose, strict=False)}
    if many and len(loose) >= len(positionals):
        values[positionals[-1].field] = tuple(loose[len(positionals) - 1 :])
    return values


def build(cls: type[Any], values: Mapping[str, Any], *, of: str) -> Any:
    """Build the dataclass from its share of the values; UsageError names a missing or invalid value."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    flags = flags_of(cls)
    for name, field in fields.items():
        if name not in values and default_of(field) is dataclasses.MISSING:
            raise UsageError(" ".join(filter(None, (of, "needs", flags[name].name, flags[name].metavar))))
    try:
        return cls(**{name: value for name, value in values.items() if name in fields})
    except (ValueError, TypeError) as error:
        raise UsageError(with_flags(str(error), flags)) from error


def without(words: Sequence[str], prefixes: tuple[str, ...]) -> list[str]:
    """The words without the flags that begin with one of the prefixes, and without their values."""
    given = _split(words)
    kept = [[name, *texts] for name, texts in given.flags if not name.startswith(prefixes)]
    return [*given.loose, *(word for flag in kept for word in flag)]


def has_field(words: Sequence[str], fields: Collection[str]) -> bool:
    """Whether the words give a flag of one of these fields."""
    return any(_field_in(name, fields) for name, _ in _split(words).flags)


def without_fields(words: Sequence[str], fields: Collection[str]) -> list[str]:
    """The words without the flags of these fields, and without their values."""
    given = _split(words)
    kept = [[name, *texts] for name, texts in given.flags if not _field_in(name, fields)]
    return [*given.loose, *(word for flag in kept for word in flag)]


def _field_in(name: str, fields: Collection[str]) -> bool:
    """Whether a flag as written, negated or not, is that of one of these fields."""
    field = name.lstrip("-").replace("-", "_")
    return field in fields or field.removeprefix("no_") in fields


def _split(words: Sequence[str]) -> Given:
    given = Given([], [])
    for word in words:
        if word.startswith("-") and len(word) > 1 and not _is_number(word):
            name, separator, value = word.partition("=")
            given.flags.append((name, [value] if separator else []))
        elif given.flags:
            given.flags[-1][1].append(word)
        else:
            given.loose.append(word)
    return given


def _find(name: str, spelled: Mapping[str, Flag], *, of: str) -> tuple[Flag, bool]:
    """The flag of a spelling, and whether it is a switch's `--no-` form; underscores count as dashes."""
    dashed = "--" + name.lstrip("-").replace("_", "-")
    positive = "--" + dashed.removeprefix("--no-")
    if name.startswith("--"):
        if dashed in spelled:
            return spelled[dashed], False
        if positive in spelled and spelled[positive].switch:
            return spelled[positive], True
    switches = [f"--no-{flag.name[2:]}" for flag in spelled.values() if flag.switch]
    hint = nearest(dashed, [*spelled, *switches]) or f"; see gymnast {of} --help"
    raise UsageError(f"{of} has no option {name}{hint}")


def _value(flag: Flag, texts: list[str]) -> Any:
    if flag.arity == 0:
        raise UsageError(f"{flag.name} takes no value, got {' '.join(texts)}; the opposite is --no-{flag.name[2:]}")
    if not texts and flag.arity is not None:
        raise UsageError(f"{flag.name} needs a value: {describe(flag.type)}")
    if flag.arity is not None and len(texts) != flag.arity:
        count = "one value" if flag.arity == 1 else f"{flag.arity} values"
        raise UsageError(f"{flag.name} takes {count}, got {' '.join(texts)}")
    if flag.type is str:
        return texts[0]
    value = _converted(flag, texts)
    if any(isinstance(number, float) and not math.isfinite(number) for number in _numbers(value)):
        raise UsageError(f"{flag.name} must be a finite number, got {' '.join(texts)}")
    return value


def _converted(flag: Flag, texts: list[str]) -> Any:
    import tyro

    holder = dataclasses.make_dataclass("Holder", [("value", flag.type)])
    kinds = _members(flag.type)
    words = [_whole(text) if int in kinds and float not in kinds and str not in kinds else text for text in texts]
    if type(None) in kinds and str not in kinds and texts in (["off"], ["automatic"]):  # as help shows None
        words = ["None"]
    args = [f"--value={words[0]}"] if flag.arity == 1 else ["--value", *words]
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # some errors pass console_outputs=False
            return tyro.cli(holder, args=args, console_outputs=False).value
    except SystemExit:
        _refuse(flag, texts)


def _refuse(flag: Flag, texts: list[str]) -> NoReturn:
    choices = _choices(flag.type)
    wrong = next((text for text in texts if text not in choices), texts[0]) if choices else " ".join(texts)
    raise UsageError(f"{flag.name} must be {describe(flag.type)}, got {wrong}{nearest(wrong, choices)}")


def describe(kind: Any) -> str:
    """A type in words, for error messages."""
    plain = {int: "an integer", float: "a number", str: "text", bool: "True or False", type(None): "None"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if choices := _choices(kind) if not arguments or origin is Literal else []:
        return "one of " + ", ".join(choices)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is tuple and arguments[-1:] == (...,):
        return f"any number of values, each {describe(arguments[0])}"
    if origin is tuple:
        return ", ".join(describe(argument) for argument in arguments)
    return plain.get(kind, getattr(kind, "__name__", str(kind)))


def _members(kind: Any) -> list[Any]:
    """The plain types that a type consists of."""
    if typing.get_origin(kind) is Literal:
        return [kind]
    parts = [argument for argument in typing.get_args(kind) if argument is not ...]
    return [member for part in parts for member in _members(part)] if parts else [kind]


def _choices(kind: Any) -> list[str]:
    """The words that the type's Literal and Enum parts allow."""
    choices: list[str] = []
    for member in _members(kind):
        if typing.get_origin(member) is Literal:
            choices += [str(choice) for choice in typing.get_args(member)]
        elif isinstance(member, type) and issubclass(member, Enum):
            choices += list(member.__members__)
    return choices


def _arities(kind: Any) -> list[int | None]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _arities(arguments[0])
    if origin in (Union, types.UnionType):
        return [count for argument in arguments for count in _arities(argument)]
    if origin is tuple and arguments[-1:] != (...,):
        return [len(arguments)]
    return [None if origin in (tuple, list, set, frozenset, dict, Sequence, Mapping) else 1]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _whole(text: str) -> str:
    """`1e6` as an integer's digits; other words stay."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?[eE]\+?\d{1,2}", text) and float(text).is_integer():
        return str(int(float(text)))
    return text


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def with_flags(message: str, flags: Mapping[str, Flag]) -> str:
    """A message with names of fields replaced by flags, as they are written on the command line."""
    first = next(iter(message.splitlines()), "not allowed")
    names = sorted((name for name in flags if "_" in name), key=len, reverse=True)
    if names:
        first = re.sub(rf"(?<![\w-])({'|'.join(names)})(?![\w-])", lambda match: flags[match[0]].name, first)
    word = re.match(r"\w+", first)
    if word and word[0] in flags:
        first = flags[word[0]].name + first[word.end() :]
    return first
