"""The direction of the imports: gymnast/* -> agents -> {networks, replay}, gymnast/* -> envs; nothing the other way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "agents": {"agents", "networks", "replay", "envs.step"},
    "envs": {"envs"},
    "networks": {"networks"},
    "replay": {"replay"},
}


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


def offences(folder: str, source: str) -> set[str]:
    def allowed(module: str) -> bool:
        return any(module == arrow or module.startswith(f"{arrow}.") for arrow in ALLOWED[folder])

    return {module for module in imported(source) if not allowed(module)}


@pytest.mark.parametrize("folder", ALLOWED)
def test_folder_imports_only_what_it_may(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {file.name: bad for file in files if (bad := offences(folder, file.read_text()))}
    assert not wrong


def test_a_wrong_arrow_is_found() -> None:
    assert offences("agents", "from gymnast.envs.make import make") == {"envs.make.make"}
    assert offences("agents", "def late():\n    import gymnast.training.loop") == {"loop"}
    assert offences("replay", "from gymnast.envs.step import Step") == {"envs.step.Step"}
    assert offences("agents", "from gymnast.envs.step import Step\nfrom gymnast.replay import ring") == set()


def test_the_four_folders_are_seen_through_links() -> None:
    for folder in ALLOWED:
        link = ROOT / "gymnast" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder
