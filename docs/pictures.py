"""Makes the pictures of the site. Each curve is of the command on its page, with seeds 1, 2 and 3.

Usage: python docs/pictures.py [NAME ...]: names of agents, first-run, panel, apples or explain; all of them without a
name. It keeps its runs in runs/docs and trains only those that are missing.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from gymnast.output.gif import gif_of
from gymnast.output.panel import PanelState, Speed
from gymnast.storage import metrics_log

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"
RUNS = Path("runs/docs")
SEEDS = (1, 2, 3)
FIRST = shlex.split("gymnast train dqn --env CartPole-v1 --preset cartpole --seed 1")
FIELDS = {"ucb": "regret", "thompson": "regret", "value-iteration": "delta", "policy-iteration": "delta"}
"""The number that is drawn for agents whose returns say little."""


def main(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    agents = [page.stem for page in sorted((DOCS / "agents").glob("*.md")) if _command(page)]
    special = {"first-run": first_run, "panel": panel, "apples": apples, "explain": explained}
    for name in names or [*agents, *special]:
        special[name]() if name in special else curve(name)
        print(name, flush=True)


def _command(page: Path) -> list[str] | None:
    """The words of the training command of an agent's page."""
    found = re.search(rf"^```bash\n(gymnast train {page.stem} .*)\n```", page.read_text(encoding="utf-8"), re.MULTILINE)
    return None if found is None else shlex.split(found[1])


def run(words: list[str], name: str, *options: str) -> Path:
    """The folder of the run of a command, trained unless it exists."""
    path = next(RUNS.glob(f"*/*/{name}"), None)
    if path is None:
        command = [sys.executable, "-m", *words, "--out", str(RUNS), "--name", name, *options]
        subprocess.run(command, check=True, capture_output=True)
        path = next(RUNS.glob(f"*/*/{name}"))
    return path


def curve(name: str) -> None:
    """Draw an agent's learning curve, a colour for each seed: a line of training returns, points of evaluations."""
    words = _command(DOCS / "agents" / f"{name}.md")
    assert words is not None
    seeds = SEEDS[:1] if FIELDS.get(name) == "delta" else SEEDS
    paths = [run(words, f"{name}-{seed}", "--seed", str(seed), "--no-video") for seed in seeds]
    figure = Figure(figsize=(7, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for seed, path in zip(seeds, paths, strict=True):
        draw(axes, name, metrics_log.read(path / "metrics.jsonl"), seed)
    axes.grid(alpha=0.3)
    axes.set_title(" ".join(words[3:5])[6:], fontsize=10)
    if len(seeds) > 1:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(PICTURES / f"{name}.png", metadata={"Software": None})


def draw(axes: Any, name: str, rows: list[dict[str, Any]], seed: int) -> None:
    """Draw one run into matplotlib axes."""
    look, field = {"color": f"C{seed - 1}"}, FIELDS.get(name)
    if field == "delta":
        axes.semilogy(
            [row["sweep"] for row in rows if "sweep" in row], [row["delta"] for row in rows if "sweep" in row], **look
        )
        axes.set(xlabel="sweep", ylabel="largest change of a value")
        return
    train = [row for row in rows if row["kind"] == "train"]
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if field == "regret":
        axes.plot([row["env_step"] for row in train], [row["regret"] for row in train], label=f"seed {seed}", **look)
        axes.set(xlabel="pulls", ylabel="regret")
        return
    train = [row for row in train if row.get("return_mean") is not None]
    evals = [row for row in rows if row["kind"] == "eval" and row["mean_return"] is not None]
    axes.plot(
        [row["env_step"] for row in train], [row["return_mean"] for row in train], alpha=0.45, linewidth=1, **look
    )
    points = [row["env_step"] for row in evals], [row["mean_return"] for row in evals]
    axes.plot(*points, "o-", markersize=4, linewidth=1.6, label=f"seed {seed}", **look)
    axes.set(xlabel="env steps", ylabel="return")


def first_run() -> None:
    """The curve and the film of the first run."""
    path = run(FIRST, "first-run")
    shutil.copy(path / "curve.png", PICTURES / "first-run.png")
    film(path, "cartpole.gif", fps=50)


def film(path: Path, name: str, *, fps: float) -> None:
    """The first seconds of a run's video as a GIF."""
    (PICTURES / name).write_bytes(gif_of(path / "videos" / "best.mp4", fps=fps, max_frames=70).data)


def apples() -> None:
    """The tutorial's environment: its code is on the page."""
    page = (DOCS / "own-environment.md").read_text(encoding="utf-8")
    code = re.search(r'^```python\n("""apples\.py.*?)^```', page, re.MULTILINE | re.DOTALL)
    command = re.search(r"^gymnast train .*$", page, re.MULTILINE)
    assert code is not None
    assert command is not None
    RUNS.mkdir(parents=True, exist_ok=True)
    (RUNS / "apples.py").write_text(code[1], encoding="utf-8")
    words = [word.replace("./apples.py", f"./{RUNS.as_posix()}/apples.py") for word in shlex.split(command[0])]
    words = words[: words.index("--name")]
    path = run(words, "apples")
    shutil.copy(path / "curve.png", PICTURES / "apples.png")
    film(path, "apples.gif", fps=10)


def explained() -> None:
    """The pictures of the page on looking inside; its commands are there."""
    page = (DOCS / "explain.md").read_text(encoding="utf-8")
    found = re.search(r"^```bash\n(gymnast train .*)\n(gymnast explain .*)\n```", page, re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1])
    path = run(words[: words.index("--name")], "explained", "--no-video")
    command = [sys.executable, "-m", *shlex.split(found[2])]
    command[command.index("explain") + 1] = str(path)
    subprocess.run(command, check=True, capture_output=True)
    for name in ("saliency", "values", "features"):
        shutil.copy(path / "explain" / f"{name}.png", PICTURES / f"explain-{name}.png")


def panel() -> None:
    """The live panel in the middle of the first run, from its logs, as SVG."""
    path = run(FIRST, "first-run")
    rows = metrics_log.read(path / "metrics.jsonl")
    train = [row for row in rows if row["kind"] == "train" and row.get("return_mean") is not None]
    now = train[len(train) * 2 // 3]
    timing = [row for row in metrics_log.read(path / "timing.jsonl") if row["env_step"] <= now["env_step"]][-1]
    split = {name: timing[name] for name in ("act", "env", "learn")}
    evals = [row["mean_return"] for row in rows if row["kind"] == "eval" and row["env_step"] <= now["env_step"]]
    state = PanelState(
        env_step=now["env_step"],
        total_steps=50_000,
        episodes=now["episodes"],
        returns=[row["return_mean"] for row in train if row["env_step"] <= now["env_step"]],
        lengths=[now["length_mean"]],
        losses={name: now[name] for name in ("loss", "q_mean", "grad_norm") if name in now},
        scheduled={name: now[name] for name in ("epsilon", "learning_rate") if name in now},
        evaluation=evals[-1],
        best=max(evals),
    )
    rate = timing["steps_per_second"]
    speed = Speed(rate, {**split, "other": max(1 - sum(split.values()), 0.0)}, (50_000 - now["env_step"]) / rate)
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
    console.print(state.render("dqn on CartPole-v1", speed, width=96))
    svg = console.export_svg(title="gymnast train dqn --env CartPole-v1 --preset cartpole", unique_id="panel")
    (PICTURES / "panel.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
