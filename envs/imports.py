"""A user's own code by its name: `module:name`, or `./file.py:name` for a file. No torch here: workers use it."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

from gymnast.envs.defaults import kept_defaults
from gymnast.envs.errors import cause


def find(name: str, kind: str) -> Any:
    """The object named `module:name` or `./file.py:name`; one-line ValueError, in which `kind` names its kind."""
    where, _, attribute = name.rpartition(":")
    module = load(where)
    found = getattr(module, attribute, None)
    if found is None:
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(attribute, own, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{where} has no {kind} {attribute}{hint}")
    return found


def load(where: str) -> ModuleType:
    """Import a module, or a file whose name ends in .py; one-line ValueError if that fails."""
    with kept_defaults(where):
        return _file(where) if where.endswith(".py") else _module(where)


def name_of(function: Any) -> str | None:
    """The name by which `find` finds a function or class; None if it has none, as a lambda."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not function:
        return None
    file = getattr(sys.modules[module], "__file__", None)
    return f"{file if module == _file_module(Path(str(file))) else module}:{name}"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(f"no module {name}; use ./file.py:NAME for a file") from None
        raise ValueError(f"cannot import {name}: {_where(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"cannot import {name}: {_where(error)}") from error


def _file(name: str) -> ModuleType:
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"no file {path}")
    resolved = path.resolve()
    module_name = _file_module(resolved)
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, resolved)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and annotations look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise ValueError(f"cannot import {path}: {_where(error)}") from error
    return module


def _file_module(path: Path) -> str:
    """The name of a file's module: files of the same name in two folders are two modules."""
    return f"gymnast_file_{path.stem}_{zlib.crc32(str(path).encode()):08x}"


def _where(error: BaseException) -> str:
    """The error in one line, with the line of code that raised it."""
    text = cause(error)
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
