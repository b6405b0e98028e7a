"""The help of a command, shown by tyro from the fields of dataclasses and the docstrings under them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Mapping
from functools import partial
from typing import Any

from gymnast.settings.flags import flags_of


def show_help(
    prog: str, description: str, groups: Mapping[str, type[Any]], *, defaults: Mapping[str, Any] | None = None
) -> None:
    """Print every flag of the dataclasses with its default and help; `defaults` replace the fields' own."""
    import tyro

    shown = [(title, _help_class(title, cls, defaults or {})) for title, cls in groups.items()]
    # A single group is passed bare, so that tyro does not need a field for it.
    whole: Any = shown[0][1] if len(shown) == 1 else dataclasses.make_dataclass("Options", shown)
    try:
        tyro.cli(whole, prog=prog, description=description, args=["--help"], config=(tyro.conf.OmitArgPrefixes,))
    except SystemExit:
        return


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


def _help_class(title: str, cls: type[Any], defaults: Mapping[str, Any]) -> type[Any]:
    """The dataclass as tyro shows it: the same fields and help, without checks."""
    import tyro

    docs = field_docs(cls)
    fields: list[tuple[str, Any, dataclasses.Field[Any]]] = []
    positional: Any = tyro.conf.Positional
    for name, flag in flags_of(cls).items():
        kind: Any = positional[flag.type] if flag.positional else bool if flag.switch else flag.type
        default = defaults.get(name, flag.default)
        undecided = flag.switch and default is None
        hint = "(default: auto)" if undecided else None
        about = tyro.conf.arg(help=docs.get(name, ""), metavar=flag.positional or flag.metavar, help_behavior_hint=hint)
        default = False if undecided else default
        given: Any = {} if default is dataclasses.MISSING else {"default_factory": partial(_same, default)}
        fields.append((name, typing.Annotated[kind, about], dataclasses.field(**given)))
    fields.sort(key=lambda item: item[2].default_factory is not dataclasses.MISSING)  # those without a default first
    return dataclasses.make_dataclass(title, fields, namespace={"__doc__": inspect.getdoc(cls)})


def _same(value: Any) -> Any:
    return value
