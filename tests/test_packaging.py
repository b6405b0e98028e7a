"""What is published: sdist and wheel are built, well formed, and the wheel works in an empty environment."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from gymnast.version import __version__

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "*.egg-info", "data")


def run(*words: str | Path, cwd: Path, **environ: str) -> str:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env | environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built without the network."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=LEFT_OUT)
    shutil.copytree(ROOT / "gymnast" / "atari" / "data", folder / "source" / "gymnast" / "atari" / "data")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder / "dist", ".", cwd=folder / "source")
    return folder / "dist"


@pytest.mark.slow
def test_sdist_and_wheel_hold_every_module(dist: Path) -> None:
    wheel, sdist = dist / f"gymnast-{__version__}-py3-none-any.whl", dist / f"gymnast-{__version__}.tar.gz"
    assert sorted(dist.iterdir()) == sorted((wheel, sdist))
    modules = {
        str(path.relative_to(ROOT) if top == "gymnast" else Path("gymnast") / path.relative_to(ROOT))
        for top in ("gymnast", "agents", "envs", "networks", "replay")
        for path in (ROOT / top).rglob("*.py")
        if not (top == "gymnast" and path.relative_to(ROOT).parts[1] in ("agents", "envs", "networks", "replay"))
    }
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if name.endswith(".py")} == modules
    assert {
        "gymnast/py.typed",
        "gymnast/atari/data/atari57.csv",
        "gymnast/envs/atari2600/games.csv",
        "gymnast/tuning/spaces/dqn.toml",
    } <= packed
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "agents/base.py"} <= names


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="twine is not installed")
def test_twine_finds_nothing_wrong(dist: Path) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)
    assert said.count("PASSED") == 2


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment: nothing is downloaded."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path
    )
    dependencies = str(Path(importlib.util.find_spec("torch").origin).parent.parent)  # type: ignore[union-attr, arg-type]
    code = """if True:
        import gymnast, gymnast.agents.base, gymnast.envs, gymnast.replay.ring
        import numpy as np
        from gymnast.agents.maths.moments import moments  # compiled in a second, the loop over tables in ten

        print(gymnast.__file__, *moments(np.array([1.0, 3.0]), np.ones(2)), len(moments.signatures))
    """
    where, *found = run(python, "-c", code, cwd=tmp_path, PYTHONPATH=dependencies).split()
    assert Path(where).is_relative_to(tmp_path / "venv")
    assert [float(number) for number in found] == [0.5, 2.0, 1.0, 1]
    command = tmp_path / "venv" / "bin" / "gymnast"
    assert run(command, "--version", cwd=tmp_path, PYTHONPATH=dependencies) == f"gymnast {__version__}\n"
    assert "ALE/Pong-v5" in run(command, "list", "envs", cwd=tmp_path, PYTHONPATH=dependencies)
    words = [
        "train",
        "q-learning",
        "--env",
        "Blackjack-v1",
        "--steps",
        "500",
        "--no-video",
        "--name",
        "r",
        "--device",
        "cpu",
    ]
    assert "mean return" in run(command, *words, cwd=tmp_path, PYTHONPATH=dependencies)
    assert (tmp_path / "runs" / "Blackjack-v1" / "q-learning" / "r" / "checkpoints" / "best.pt").is_file()


def test_one_version_everywhere() -> None:
    assert re.search(rf"^version: {re.escape(__version__)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def test_classifiers_name_the_pythons_of_the_matrix() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    (line,) = re.findall(r"^for version in (.*); do$", (ROOT / ".ci" / "matrix").read_text(), re.MULTILINE)
    assert line.split() == named
    assert f'requires-python = ">={named[0]}"' in text


def test_issue_templates_have_a_name_and_a_purpose() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert len(templates) >= 2
    for template in templates:
        assert re.match(r"---\nname: .+\nabout: .+\n", template.read_text())
