"""Every reference of `gymnast list references` for some seeds, as one table; a later call continues.

A finished run is a file OUT/NAME-SEED.json. One that was made with other settings is made again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from gymnast import load
from gymnast.agents.tabular.dynamic_programming import evaluate_policy
from gymnast.envs import make
from gymnast.settings.agents import AGENTS
from gymnast.settings.reference import Reference
from gymnast.settings.references import REFERENCES, find
from gymnast.storage.folder import read_config
from gymnast.storage.metrics_log import read

TABULAR = "gymnast.agents.tabular."
HEADINGS = ("agent", "environment", "env steps", "seeds: final returns", "mean", "published", "seconds")


def run_all(names: list[str], *, seeds: int, out: Path, steps: int | None) -> dict[str, list[dict[str, Any]]]:
    """The records of each reference's runs, one run after another; those that are finished already are read."""
    for name in names:
        find(name)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names or REFERENCES:
        found[name] = [record(name, seed=seed, out=out, steps=steps) for seed in range(seeds)]
    return found


def record(name: str, *, seed: int, out: Path, steps: int | None) -> dict[str, Any]:
    """A finished run's record, of an earlier call or this one, or a failed run's, which is tried again next time."""
    file, settings = out / f"{name}-{seed}.json", settings_of(REFERENCES[name], steps)
    if file.is_file():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known["settings"] == settings:
            print(f"{name}, seed {seed}: finished before", flush=True)
            return known
    made = {"seed": seed, "settings": settings, **run(name, seed=seed, out=out, steps=steps)}
    if "failed" not in made:
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8", newline="\n")
        temporary.replace(file)
    print(f"{name}, seed {seed}: {shown(made)}, {made['seconds']} s", flush=True)
    return made


def settings_of(row: Reference, steps: int | None) -> dict[str, Any]:
    """Everything that a run's result depends on, as JSON keeps it."""
    values = row.values | ({} if steps is None else {"steps": steps})
    settings: dict[str, Any] = json.loads(json.dumps({"agent": row.agent, "measure": row.measure, **values}))
    return settings


def run(name: str, *, seed: int, out: Path, steps: int | None) -> dict[str, Any]:
    """`gymnast train AGENT --reference NAME --seed SEED` as a process, and what it reached or why it failed."""
    folder, row = out / "runs" / f"{name}-{seed}", REFERENCES[name]
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was interrupted, or of other settings
    words = ["train", row.agent, "--reference", name, "--seed", str(seed), "--no-video", "--out", str(folder)]
    words += ["--name", "run"] + ([] if steps is None else ["--steps", str(steps)])
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], capture_output=True, encoding="utf-8")
    seconds = round(time.perf_counter() - began, 1)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"exit code {done.returncode}", "seconds": seconds}
    (path,) = folder.glob("*/*/run")
    return {**measured(row, path), "seconds": seconds}


def measured(row: Reference, path: Path) -> dict[str, Any]:
    """The measure of a finished run, its final evaluation, and the exact return of a greedy policy in a known table."""
    final = next(line for line in read(path / "metrics.jsonl") if line["kind"] == "final")
    found = {name: final[name] for name in ("mean_return", "std_return", "mean_length", "episodes")}
    found["env_steps"], found["commit"] = final["env_step"], read_config(path)["commit"]
    found["value"] = final["mean_length" if row.measure == "length" else "mean_return"]
    if not AGENTS[row.agent].path.startswith(TABULAR):
        return found
    table = make(row.env, options=json.loads(row.values.get("env_options", "{}"))).transition_table()
    if table is None:
        return found
    learner: Any = load(path)
    if row.measure == "value error":
        truth = evaluate_policy(table, learner.policy, gamma=learner.config.gamma)
        found["value"] = float(np.abs(learner.value_table() - truth).max())
    else:
        found["exact_return"] = exact_return(table, learner.q_table().argmax(1))
    return found


def exact_return(table: Any, policy: np.ndarray) -> float:
    """The expected undiscounted return of a policy [S] in a known table, under its time limit."""
    horizon = table.max_episode_steps or 1_000
    return float(table.initial @ evaluate_policy(table, policy, gamma=1.0, horizon=horizon))


def markdown(found: dict[str, list[dict[str, Any]]]) -> str:
    """One row for each reference."""
    rows = [HEADINGS, ("---",) * len(HEADINGS)]
    for name, records in found.items():
        row, values = REFERENCES[name], [made["value"] for made in records if "value" in made]
        steps = sorted({made["env_steps"] for made in records if "env_steps" in made})
        seconds = [made["seconds"] for made in records]
        rows.append(
            (
                row.agent,
                row.env,
                _between([f"{number:,}" for number in steps]),
                "; ".join(f"{made['seed']}: {shown(made)}" for made in records),
                f"{np.mean(values):.4g}" if len(values) == len(records) else "-",
                row.goal,
                _between([f"{number:g}" for number in sorted(seconds)]),
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def shown(made: dict[str, Any]) -> str:
    """What a run reached, in words; with the exact return of a policy in a table."""
    if "failed" in made:
        return f"failed: {made['failed']}".replace("|", "/")
    exact = f" (exact return {made['exact_return']:.4g})" if "exact_return" in made else ""
    return f"{made['value']:.4g}{exact}"


def _between(ordered: list[str]) -> str:
    """The lowest and the highest number."""
    return " to ".join(dict.fromkeys([ordered[0], ordered[-1]])) if ordered else "-"
