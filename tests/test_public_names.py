"""The names that users import are found, and type checkers see the same ones."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import gymnasium as gym
import pytest

import gymnast
from gymnast import agents
from gymnast.agents.table import ALGORITHMS, python_name
from gymnast.settings.agents import agent_class, default_config

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
    names = {*agents.CLASSES, *ALGORITHMS}
    assert set(map(python_name, names)) < set(agents.__all__)
    for entry in agents.CLASSES.values():
        name = entry.path.partition(":")[2]
        assert inspect.isclass(getattr(agents, name))
        assert dataclasses.is_dataclass(getattr(agents, f"{name}Config"))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_is_its_class_with_its_defaults(name: str) -> None:
    box = gym.spaces.Box(-1, 1, (4,))
    two = box if ALGORITHMS[name].base == "sac" else gym.spaces.Discrete(2)
    build = getattr(agents, python_name(name))
    agent = build(box, two, seed=1)
    assert type(agent) is agent_class(name)
    assert agent.config == default_config(name)
    assert list(inspect.signature(build).parameters) == list(inspect.signature(agent_class(name)).parameters)
    config = dataclasses.replace(agent.config, learning_rate=0.5)
    other = build(box, two, config, num_envs=3, seed=1)
    assert other.config is config
    assert other.num_envs == 3


def test_an_algorithm_says_its_name() -> None:
    assert repr(agents.Rainbow) == "gymnast.agents.Rainbow"
    assert agents.Rainbow.__name__ == "Rainbow"
    assert "Hessel" in str(agents.Rainbow.__doc__)


@pytest.mark.parametrize("name", agents.CLASSES)
def test_a_class_has_defaults(name: str) -> None:
    space = gym.spaces.Discrete(1)
    assert getattr(agents, python_name(name))(space, gym.spaces.Discrete(2)).config == default_config(name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'gymnast.agents' has no attribute 'Sarsas'"):
        _ = agents.Sarsas
