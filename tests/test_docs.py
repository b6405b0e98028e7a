"""The code blocks of README.md, docs/ and CONTRIBUTING.md run, and the pages name files that exist.

Blocks marked `sh` and `python` are run; those marked `bash` take too long. CONTRIBUTING's examples have other tests.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gymnast.cli.main import COMMANDS
from gymnast.populations import request as population
from gymnast.settings import flags, request
from gymnast.storage.metrics_log import read
from gymnast.suites.options import AblateOptions, BenchmarkOptions

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
EXAMPLES = ("monte_carlo.py", "mine.py", "chase.py")
"""Files of a reader that the pages name."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str, language: str) -> list[str]:
    lines = [line for block in blocks(page, language) for line in block.splitlines() if line.strip()]
    assert all(line.startswith("gymnast ") for line in lines)
    return lines


def run(arguments: list[str], folder: Path, **kwargs: object) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, check=False, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "python"):
        done = run([sys.executable, "-c", block], tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_commands(page: str, tmp_path: Path) -> None:
    for command in commands(page, "sh"):
        done = run(["bash", "-c", command.replace("gymnast ", f"{sys.executable} -m gymnast ", 1)], tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_readme_has_examples() -> None:
    assert len(commands("README.md", "sh")) >= 5
    assert len(blocks("README.md", "python")) >= 2


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")])
def test_long_commands_are_understood(page: str) -> None:
    """The options of the commands that take too long to run are known and allowed."""
    for command in commands(page, "bash"):
        _, name, agent, *words = command.split()
        if name == "train":
            of = f"train {agent}"
            (population.resolve if population.is_asked(words) else request.resolve)(agent, words, of=of)
        elif name in ("benchmark", "ablate"):
            cls = {"benchmark": BenchmarkOptions, "ablate": AblateOptions}[name]
            flags.build(cls, flags.parse([agent, *words], flags.flags_of(cls), of=name), of=name)
        else:
            assert name in COMMANDS


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_names_files_that_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        assert name in EXAMPLES or (ROOT / name).exists(), name


def test_readme_error() -> None:
    shown = next(block for block in blocks("README.md", "text") if block.startswith("$ gymnast"))
    command, answer = shown.strip().splitlines()
    done = run([sys.executable, "-m", *command.removeprefix("$ ").split()], ROOT)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (2, answer, "")


def test_contributing_agent_trains_and_resumes(tmp_path: Path) -> None:
    (source,) = (block for block in blocks("CONTRIBUTING.md", "python") if "class MonteCarlo" in block)
    code = source.split('"""\n', 1)[1].split("class MonteCarloActor")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60
    (tmp_path / "monte_carlo.py").write_text(source)
    gymnast = [sys.executable, "-m", "gymnast"]
    command = (
        "train ./monte_carlo.py:MonteCarlo --env gymnast/Chain-v0 --epsilon 0.2 --steps 20000 --name run --no-video"
    )
    done = run([*gymnast, *command.split()], tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs" / "gymnast-Chain-v0").glob("*/run")
    final = next(record for record in read(path / "metrics.jsonl") if record["kind"] == "final")
    assert final["mean_return"] == 1.0  # the far end of the chain; the near one pays 0.1
    refused = run([*gymnast, "resume", str(path), "--steps", "21000"], tmp_path)
    assert (refused.returncode, "--trust" in refused.stderr) == (2, True)
    done = run([*gymnast, "resume", str(path), "--steps", "21000", "--trust"], tmp_path)
    assert done.returncode == 0, done.stderr
