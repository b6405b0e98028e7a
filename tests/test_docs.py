"""The code blocks of README.md, docs/ and CONTRIBUTING.md run, and the pages name files that exist.

Blocks marked `sh` and `python` are run, the former with fewer steps and epochs; those marked `bash` take too long.
CONTRIBUTING's examples have other tests.
"""

import ast
import io
import re
import shlex
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from gymnast.cli.main import COMMANDS, main
from gymnast.populations import request as population
from gymnast.settings import flags, request
from gymnast.settings.agents import AGENTS
from gymnast.storage.metrics_log import read
from gymnast.suites import seeds
from gymnast.suites.options import AblateOptions, BenchmarkOptions
from gymnast.tuning.options import TuneOptions

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
TUTORIAL = "docs/own-environment.md"
TESTED_APART = {TUTORIAL, "docs/own-native-environment.md"}
EXAMPLES = (
    "policy.py",
    "monte_carlo.py",
    "mine.py",
    "chase.py",
    "lines.py",
    "nets.py",
    "apples.py",
    "robot.py",
    "ring.py",
)
"""Files of a reader, and of an exported policy, that the pages name."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str, language: str) -> list[str]:
    lines = [line for block in blocks(page, language) for line in block.splitlines() if line.strip()]
    assert all(line.startswith("gymnast ") for line in lines)
    return lines


def shorter(command: str) -> str:
    """The command with fewer steps, epochs and episodes, with which all of its parts still run."""
    limits = {"env-steps": 500, "epochs": 2, "layer-epochs": 1, "episodes": 10}
    if not re.match("gymnast train (q-learning|sarsa|td) ", command):  # compiled, and quick once they have learned
        limits["steps"] = 2_048
    for option, most in limits.items():
        command = re.sub(rf"(?<=--{option} )\d+", lambda found, most=most: str(min(int(found[0]), most)), command)
    if command.startswith("gymnast train ") and "--steps" not in command and "iteration" not in command:
        command += " --steps 2048"
    return command


def stories(page: str) -> list[list[str]]:
    """The commands of a page; those that name a folder of runs/, or learn from a recording, need those before them."""
    told: list[list[str]] = []
    for command in commands(page, "sh"):
        if " runs/" in command or re.search(r"^gymnast (fit .*--dataset|train .*--gail) \S+/", command):
            told[-1].append(command)
        else:
            told.append([command])
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in blocks(page, "python") if page not in TESTED_APART],
    ids=lambda text: text[:9],
)
def test_python(
    page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    exec(compile(block, page, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "story", [story for page in PAGES for story in stories(page)], ids=lambda story: " ".join(story[0].split()[1:5])
)
def test_commands(story: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    for command in map(shorter, story):
        assert main(shlex.split(command)[1:]) == 0, command


def test_readme_has_examples() -> None:
    assert len(commands("README.md", "sh")) >= 5
    assert len(blocks("README.md", "python")) >= 2


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")])
def test_long_commands_are_understood(page: str) -> None:
    """The options of the commands that take too long to run are known and allowed."""
    for command in commands(page, "bash"):
        _, name, agent, *words = shlex.split(command)
        if name == "train" and seeds.is_asked(words):
            seeds.resolve(agent, words)
        elif name == "train":
            of = f"train {agent}"
            (population.resolve if population.is_asked(words) else request.resolve)(agent, words, of=of)
        elif name in ("benchmark", "ablate", "tune"):
            cls = {"benchmark": BenchmarkOptions, "ablate": AblateOptions, "tune": TuneOptions}[name]
            own = words[: words.index("--")] if "--" in words else words
            flags.build(cls, flags.parse([agent, *own], flags.flags_of(cls), of=name), of=name)
        else:
            assert name in COMMANDS


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_names_files_that_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", text):
        assert name in EXAMPLES or (ROOT / name).exists(), name


def test_readme_lists_the_agents() -> None:
    rows = re.findall(r"^\| \[`([\w-]+)`\]\((.+)\) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows == [(name, f"docs/agents/{name}.md", entry.help) for name, entry in AGENTS.items()]


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's file, commands and script, in their order, with fewer steps."""
    code, script = blocks(TUTORIAL, "python")
    (tmp_path / "apples.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    steps = iter((1200, 1500))
    said = []
    for block in blocks(TUTORIAL, "text"):
        for line in block.splitlines():
            if line.startswith("gymnast "):
                fewer = re.sub(r"--steps \d+", lambda _: f"--steps {next(steps)}", line).replace(
                    "--episodes 100", "--episodes 2"
                )
                assert main(shlex.split(fewer)[1:]) == 0, line
                said.append(capsys.readouterr().out)
            else:  # printed by the command before
                assert line in said[-1]
    assert len(said) == 4
    assert (tmp_path / "apples.mp4").stat().st_size > 0
    exec(compile(script, TUTORIAL, "exec"), {"__name__": "__main__"})
    assert -10.0 <= float(capsys.readouterr().out) <= 10.0


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for token in tokens if token.type not in skipped for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_dqn_to_rainbow_is_read_in_1000_lines() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    sentence = page.split("To read DQN and Rainbow end to end: ")[1].split(", 1,000 lines")[0]
    files = re.findall(r"`([\w/]+\.py)`", sentence)
    assert len(files) == 8
    assert sum(code_lines(ROOT / file) for file in files) <= 1000


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
