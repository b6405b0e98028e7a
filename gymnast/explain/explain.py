"""`explain`: plays a trained agent or shows observations to an encoder, and looks at what its network does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gymnast.errors import RunError, UsageError, first_line
from gymnast.explain.context import Context, Section
from gymnast.explain.page import page
from gymnast.explain.parts import PARTS, check, layer_of
from gymnast.explain.played import play
from gymnast.explain.subject import home_of, subject_of
from gymnast.fitting.probe_parts import made_env
from gymnast.machine import limit_threads, pick_device
from gymnast.settings.explain_options import ExplainOptions
from gymnast.storage import folder
from gymnast.storage.metrics_log import finite
from gymnast.training.resumed import usage_errors

SETTINGS = (
    *("seed", "steps", "frames", "target", "baseline", "integrated_steps", "smooth_samples", "smooth_sigma", "patch"),
    *("video_method", "ascent_steps", "texture_steps", "projection", "epsilon", "pgd_steps"),
)
"""Options that decide the numbers, beside the environment's."""


@dataclass(frozen=True)
class Explanation:
    """What `gymnast explain` made."""

    what: str
    env: str
    kind: str
    """The agent or the encoder."""
    steps: int
    episodes: int
    settings: dict[str, Any]
    sections: dict[str, Section]
    left_out: dict[str, str]
    """Parts that do not apply, with the reason."""
    out: Path
    files: dict[str, Path] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.what,
            "env": self.env,
            "kind": self.kind,
            "steps": self.steps,
            "episodes": self.episodes,
            "settings": self.settings,
            "parts": {name: section.numbers for name, section in self.sections.items()},
            "left_out": self.left_out,
            "files": {
                **{name: str(path) for name, path in self.files.items()},
                **{one.file.name: str(one.file) for section in self.sections.values() for one in section.shown},
            },
        }

    def as_text(self) -> str:
        """Where the files are."""
        lines = [f"{self.kind} in {self.env}: {self.steps:,} steps, {self.episodes:,} episodes"]
        for name, section in self.sections.items():
            lines.append(f"{name:<12}{'  '.join(str(one.file) for one in section.shown)}")
        lines += [f"{name:<12}left out: {reason}" for name, reason in self.left_out.items()]
        lines += [f"{name:<12}{path}" for name, path in self.files.items()]
        return "\n".join(lines)


def explain(options: ExplainOptions, *, told: Callable[[str], None] = lambda _: None) -> Explanation:
    """Look inside a run and write pictures, explain.json and explain.html.

    `told` gets a line before each part. Raises UsageError (one line) for invalid options, a network of other
    observations, and parts that do not apply to it; RunError if a file cannot be written.
    """
    limit_threads(options.threads)
    with usage_errors():
        device = pick_device(options.device)
        env = made_env(options, options.run, device, rows=1)
    try:
        with usage_errors():
            subject = subject_of(options.run, env, device, trust=options.trust)
            layer = layer_of(options, subject)
            left_out = check(options, subject, env.single_action_space)
        out = _out(options)
        told(f"playing {options.steps:,} steps of {env.id}")
        of_play = np.random.SeedSequence(options.seed).spawn(1)[0]
        played = play(subject, env, options.steps, of_play)
    finally:
        env.close()
    context = Context(options, subject, env.single_action_space, env.render_fps, layer, played, out, told)
    names = [name for name in PARTS if name not in left_out and (not options.only or name in options.only)]
    try:
        with torch.random.fork_rng(devices=[]):
            sections = {name: PARTS[name](context) for name in names}
        made = Explanation(
            what=options.run,
            env=env.id,
            kind=subject.kind,
            steps=len(played.x),
            episodes=len(set(played.episode.tolist())),
            settings={**{name: getattr(options, name) for name in SETTINGS}, "layer": layer},
            sections=sections,
            left_out=left_out,
            out=out,
        )
        return _written(made)
    except OSError as error:
        raise RunError(f"out {out}: {first_line(error)}") from error


def _out(options: ExplainOptions) -> Path:
    """The folder of the results: the given one, or explain/ in the run's folder, or one below runs/explain/."""
    home = home_of(options.run)
    if options.out:
        path = Path(options.out)
    elif home is not None:
        path = home / "explain"
    else:
        path = Path("runs") / "explain" / folder.folder_name(Path(options.run).stem)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"out {path}: {first_line(error)}") from None
    return path


def _written(made: Explanation) -> Explanation:
    made.files.update(numbers=made.out / "explain.json", page=made.out / "explain.html")
    about = [
        ("run", made.what),
        ("network", made.kind),
        ("environment", made.env),
        ("steps", f"{made.steps:,} in {made.episodes:,} episodes"),
        ("seed", str(made.settings["seed"])),
    ]
    text = page(f"{made.kind} in {made.env}", about, made.sections, made.left_out)
    made.files["page"].write_text(text, encoding="utf-8", newline="\n")
    numbers = json.dumps(finite(made.as_json()), indent=2) + "\n"
    made.files["numbers"].write_text(numbers, encoding="utf-8", newline="\n")
    return made
