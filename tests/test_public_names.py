"""The names that users import are found, and type checkers see the same ones."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import gymnast
from gymnast import agents

ROOT = Path(__file__).resolve().parent.parent


def for_type_checkers(file: Path) -> dict[str, str]:
    """Names that a file imports under `TYPE_CHECKING`, with their modules."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            imports = [statement for statement in node.body if isinstance(statement, ast.ImportFrom)]
            found |= {alias.asname or alias.name: str(item.module) for item in imports for alias in item.names}
    return found


@pytest.mark.parametrize(("package", "file"), [(gymnast, "gymnast/__init__.py"), (agents, "agents/__init__.py")])
def test_type_checkers_see_what_is_found(package: object, file: str) -> None:
    seen = for_type_checkers(ROOT / file)
    assert set(seen) == set(package.__all__) - {"__version__"}  # type: ignore[attr-defined]
    for name, module in seen.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


def test_the_table_of_agents_names_classes_with_their_configs() -> None:
    assert len(agents.__all__) == 2 * len(agents.CLASSES)
    for entry in agents.CLASSES.values():
        name = entry.path.partition(":")[2]
        assert inspect.isclass(getattr(agents, name))
        assert dataclasses.is_dataclass(getattr(agents, f"{name}Config"))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'gymnast.agents' has no attribute 'Sarsas'"):
        _ = agents.Sarsas
