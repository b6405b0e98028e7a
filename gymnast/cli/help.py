"""The help of a command, from the fields of dataclasses and the docstrings under them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from gymnast.cli.groups import grouped
from gymnast.networks.backbones.table import BACKBONES, backbone_class
from gymnast.settings.flags import Flag, flags_of
from gymnast.settings.request import network_flags

WIDTH = 100
"""Maximum width of the help, in columns."""
INDENT = 30
"""Column at which the text on an option begins."""
WORDS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "NAME", Path: "PATH"}


def show_help(
    prog: str,
    description: str,
    classes: Sequence[type[Any]],
    *,
    defaults: Mapping[str, Any] | None = None,
    headings: bool = False,
    network: str | None = None,
) -> None:
    """Print every flag of the dataclasses with its default and help; `defaults` replace the fields' own.

    With `headings` they are listed by topic instead of in the order of their fields. The options of a `network` follow.
    """
    flags = flags_of(*classes)
    docs = {name: text for cls in classes for name, text in field_docs(cls).items()}
    positional = [flag.positional for flag in flags.values() if flag.positional]
    required = [
        f"{flag.name} {kind(flag)}"
        for flag in flags.values()
        if flag.default is dataclasses.MISSING and not flag.positional
    ]
    lines = [" ".join(["usage:", prog, *positional, *required, "[options]"]), "", *_wrapped(description, 0)]
    sections = grouped(flags) if headings else {"options": list(flags)}
    for title, names in sections.items():
        lines += ["", title]
        for name in names:
            default = (defaults or {}).get(name, flags[name].default)
            lines += _option(flags[name], docs.get(name, ""), default)
    if network in BACKBONES:
        lines += ["", f"options of the network {network}"]
        cls = backbone_class(network).Options
        texts = field_docs(cls)
        for name, flag in network_flags(network).items():
            lines += _option(flag, texts.get(name.removeprefix("network."), ""), flag.default)
    print("\n".join(lines))


def field_docs(cls: type[Any]) -> dict[str, str]:
    """The docstrings under a dataclass's fields, including inherited ones; empty without source code."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue
        assert isinstance(body, ast.ClassDef)
        for node, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
                text = after.value.value if isinstance(after.value, ast.Constant) else None
                if isinstance(text, str):
                    docs[node.target.id] = " ".join(text.split())
    return docs


def kind(flag: Flag) -> str:
    """The text after a flag: `INT`, `FLOAT or schedule`, `mean|max`, `INT ...`; empty for a switch."""
    return "" if flag.switch else flag.metavar or _kind(flag.type)


def _kind(type_: Any) -> str:
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        parts = [part for part in arguments if part is not type(None)]
        if set(parts) == {float, str}:
            return "FLOAT or schedule"
        return (
            "|".join(map(_kind, parts)) if all(_is_literal(part) for part in parts) else " or ".join(map(_kind, parts))
        )
    if origin is tuple and arguments[-1:] == (...,):
        return f"{_kind(arguments[0])} ..."
    if origin is tuple:
        return " ".join(map(_kind, arguments))
    if isinstance(type_, type) and issubclass(type_, Enum):
        return "|".join(type_.__members__)
    return WORDS.get(type_, getattr(type_, "__name__", "VALUE").upper())


def _is_literal(type_: Any) -> bool:
    return typing.get_origin(type_) is Literal


def _option(flag: Flag, text: str, default: Any) -> list[str]:
    """The lines of an option."""
    named = f"{flag.name}, --no-{flag.name[2:]}" if flag.switch else f"{flag.name} {kind(flag)}"
    head = f"  {flag.name if flag.positional else named.strip()}"
    lines = _wrapped(" ".join(filter(None, (text, default_text(flag, text, default)))), INDENT)
    if len(head) + 2 > INDENT:
        return [head, *lines]
    return [head.ljust(INDENT) + lines[0].lstrip(), *lines[1:]]


def default_text(flag: Flag, text: str, default: Any) -> str:
    """The default as shown after the text; empty if the text already gives it."""
    if default is dataclasses.MISSING:
        return "" if flag.positional else "(required)"
    if default is None or default in ((), ""):
        return (
            ""
            if "default:" in text.lower() or "by default" in text
            else f"(default: {'off' if default is None else 'none'})"
        )
    if isinstance(default, bool):
        return f"(default: {'on' if default else 'off'})"
    if isinstance(default, (tuple, list)):
        return f"(default: {' '.join(map(str, default))})"
    return f"(default: {default.name if isinstance(default, Enum) else getattr(default, '__name__', default)})"


def _wrapped(text: str, indent: int) -> list[str]:
    width = max(min(shutil.get_terminal_size().columns, WIDTH), INDENT + 30)
    return textwrap.wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * indent) or [""]
