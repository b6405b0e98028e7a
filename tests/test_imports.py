"""The direction of the imports: between the top folders, between the rooms of `gymnast/`, and no circle of files.

`gymnast/*` imports `agents` and `envs`; `agents` import `networks`, `replay` and of envs the `Step` type; `envs`,
`networks` and `replay` import nothing of the others. Of `gymnast/`, agents and envs know
the allocator's settings only, and compiled code its pointers. Imports for type checkers count as any other.
"""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import gymnast

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "agents": {"agents", "networks", "replay", "envs.step", "allocator"},
    "envs": {"envs", "allocator", "pointer"},
    "networks": {"networks", "pointer"},
    "replay": {"replay", "pointer"},
}
FLOORS = (
    {"cli"},
    {"explain", "serving", "tuning"},
    {"dreams", "export", "fitting", "populations", "suites"},
    {"training"},
    {"evaluation", "reports"},
    {"storage"},
    {"settings", "tabular"},
    {"atari"},
)
"""The rooms of `gymnast/`: each imports only those of the floors below its own."""
BASEMENT = {"allocator", "output", "machine", "errors", "pointer", "version"}
"""What every room may import, and what imports none of them."""
FILES = {"gymnast": 8, "agents": 12, "networks": 8}
"""Files that stand directly in a folder, at most."""


def sources() -> dict[str, str]:
    """The source of every module, by its name without the leading `gymnast.` ("" is the package itself)."""
    found = {}
    for top in ("gymnast", *ALLOWED):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if parts[0] == "gymnast":
                parts = parts[1:]
                if parts[0] in ALLOWED:  # seen through a link
                    continue
            found[".".join(part for part in parts if part != "__init__")] = file.read_text()
    return found


def imported(source: str) -> set[str]:
    """Every module of gymnast that a source imports, anywhere in it, without the leading `gymnast.`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.removeprefix("gymnast.") for name in names if name.split(".")[0] == "gymnast"}
    return found


def files_of(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """The files that imported names lie in: `errors.UsageError` lies in `errors`, `__version__` in the package."""
    known, found = set(known), set()
    for name in names:
        while name not in known and name:
            name = name.rpartition(".")[0]
        found.add(name)
    return found


def arrows(files: Mapping[str, str]) -> dict[str, set[str]]:
    return {name: files_of(imported(source), files) - {name} for name, source in files.items()}


def offences(folder: str, source: str) -> set[str]:
    def allowed(module: str) -> bool:
        return any(module == arrow or module.startswith(f"{arrow}.") for arrow in ALLOWED[folder])

    return {module for module in imported(source) if not allowed(module)}


def room(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int | None:
    """The number of a room's floor, from the top; below all of them the basement; None outside `gymnast/`'s rooms."""
    if room(module) in BASEMENT:
        return len(FLOORS)
    return next((number for number, rooms in enumerate(FLOORS) if room(module) in rooms), None)


def climbs(graph: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """Arrows from a room to another on its own floor or above."""
    wrong = set()
    for module, targets in graph.items():
        here = floor(module)
        for target in targets:
            there = floor(target)
            if here is None or there is None or room(target) == room(module):
                continue
            if there < here or there == here < len(FLOORS):  # what lies in the basement may import its neighbours
                wrong.add((module, target))
    return wrong


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of files that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph.get(module, ()):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_folder_imports_only_what_it_may(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {str(file.relative_to(ROOT)): bad for file in files if (bad := offences(folder, file.read_text()))}
    assert not wrong


def test_a_wrong_arrow_is_found() -> None:
    assert offences("agents", "from gymnast.envs.make import make") == {"envs.make.make"}
    assert offences("agents", "def late():\n    import gymnast.training.loop") == {"training.loop"}
    assert offences("replay", "from gymnast.envs.step import Step") == {"envs.step.Step"}
    assert offences("agents", "from gymnast.envs.step import Step\nfrom gymnast.replay import ring") == set()


def test_rooms_import_downwards() -> None:
    assert not climbs(arrows(sources()))


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("storage.folder", "from gymnast.training.loop import Loop", "training.loop"),
        ("atari.protocols", "def late():\n    from gymnast.settings import options", "settings.options"),
        ("evaluation.play", "from gymnast.reports import tables", "reports.tables"),
        ("output.panel", "from gymnast.settings.options import TrainOptions", "settings.options"),
        ("errors", "from gymnast.cli import main", "cli.main"),
    ],
)
def test_a_climbing_arrow_is_found(module: str, source: str, target: str) -> None:
    assert climbs(arrows(sources() | {module: source})) == {(module, target)}


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in sources() if module}
    assert rooms - set(ALLOWED) - {"__main__"} == set().union(*FLOORS) | BASEMENT


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circles(arrows(sources()))


def test_a_circle_is_found() -> None:
    late = {
        "errors": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gymnast.machine import pick_device",
        "machine": "def late():\n    from gymnast.version import __version__",
        "version": "import gymnast.errors",
    }
    assert circles(arrows(sources() | late)) == [["errors", "machine", "version"]]


@pytest.mark.parametrize("folder", FILES)
def test_few_files_stand_outside_the_rooms(folder: str) -> None:
    assert len(list((ROOT / folder).glob("*.py"))) <= FILES[folder]


@pytest.mark.parametrize("folder", ["gymnast", *ALLOWED])
def test_every_room_says_what_it_is_for_and_is_packaged(folder: str) -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for init in (ROOT / folder).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text())), init
        parts = init.parent.relative_to(ROOT).parts
        parts = parts if parts[0] == "gymnast" else ("gymnast", *parts)
        assert f'"{".".join(parts)}"' in listed


def test_the_four_folders_are_seen_through_links() -> None:
    for folder in ALLOWED:
        link = ROOT / "gymnast" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder


@pytest.mark.parametrize("name", gymnast.__all__)
def test_what_users_import_is_found(name: str) -> None:
    assert getattr(gymnast, name) is not None
