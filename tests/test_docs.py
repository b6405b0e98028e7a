"""Every code block of README.md and CONTRIBUTING.md runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gymnast.storage.metrics_log import read

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def run(arguments: list[str], folder: Path, **kwargs: object) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, check=False, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("README.md", "python"))))
def test_readme_python(number: int, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", blocks("README.md", "python")[number]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_readme_commands(tmp_path: Path) -> None:
    commands = [line for block in blocks("README.md", "sh") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 5
    for command in commands:
        assert command.startswith("gymnast ")
        done = run(["bash", "-c", command.replace("gymnast ", f"{sys.executable} -m gymnast ", 1)], tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


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
