"""Every code block of README.md and CONTRIBUTING.md runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gymnast.cli.main import main
from gymnast.storage.metrics_log import read

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("README.md", "python"))))
def test_readme_python(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("README.md", "python")[number], "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def stories() -> list[list[str]]:
    """The commands of README.md; those that name a folder below runs/ go on with what the ones before them left."""
    told: list[list[str]] = []
    for command in "\n".join(blocks("README.md", "sh")).splitlines():
        if " runs/" in command:
            told[-1].append(command)
        elif command.strip():
            told.append([command])
    return told


def test_readme_has_commands() -> None:
    assert sum(map(len, stories())) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("commands", stories(), ids=lambda commands: " ".join(commands[0].split()[1:3]))
def test_readme_commands(commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands:
        name, *words = shlex.split(command)
        assert name == "gymnast"
        assert main(words) == 0, command


def test_readme_error() -> None:
    shown = next(block for block in blocks("README.md", "text") if block.startswith("$ gymnast"))
    command, answer = shown.strip().splitlines()
    words = [sys.executable, "-m", *command.removeprefix("$ ").split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (2, answer, "")


def test_contributing_agent_trains_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = (block for block in blocks("CONTRIBUTING.md", "python") if "class MonteCarlo" in block)
    code = source.split('"""\n', 1)[1].split("class MonteCarloActor")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60
    (tmp_path / "monte_carlo.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    command = (
        "train ./monte_carlo.py:MonteCarlo --env gymnast/Chain-v0 --epsilon 0.2 --steps 20000 --name run --no-video"
    )
    assert main(command.split()) == 0
    (path,) = (tmp_path / "runs" / "gymnast-Chain-v0").glob("*/run")
    final = next(record for record in read(path / "metrics.jsonl") if record["kind"] == "final")
    assert final["mean_return"] == 1.0  # the far end of the chain; the near one pays 0.1
    capsys.readouterr()
    assert main(["resume", str(path), "--steps", "21000"]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main(["resume", str(path), "--steps", "21000", "--trust"]) == 0
