"""What `gymnast evaluate` says of a run or a checkpoint: returns, a video, and how far from optimal it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnast import checkpoint, evaluation
from gymnast.agents.base import Agent
from gymnast.checkpoint import About
from gymnast.envs.env import Env
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import Evaluation
from gymnast.options import EvaluateOptions
from gymnast.parts import pick_device


@dataclass(frozen=True)
class Report:
    """An evaluation and what was asked for beside it."""

    checkpoint: Path
    evaluation: Evaluation
    extras: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**self.evaluation.as_json(), "checkpoint": str(self.checkpoint), **self.extras}

    def as_text(self) -> str:
        lines = [self.evaluation.as_text()]
        for name, value in self.extras.items():
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            lines.append(f"{name.replace('_', ' ')}: {shown}")
        return "\n".join(lines)


def evaluate_path(options: EvaluateOptions) -> Report:
    """Evaluate a run's best checkpoint (or a checkpoint file) on its own environment; UsageError in one line."""
    file = checkpoint.find(options.path)
    about, content = checkpoint.read(file)
    if ":" in about.env and not options.trust:
        raise UsageError(f"the env {about.env} is code outside gymnast, which is not run unasked: give --trust")
    try:
        device = pick_device(options.device)
        cls = checkpoint.agent_class(about, trust=options.trust)
        agent = checkpoint.build(about, cls, device=device)
        checkpoint.load_agent(agent, content, file)
        env = _env(about, device, rows=min(options.num_envs, options.episodes), render=False)
    except (ValueError, OSError) as error:
        raise UsageError(first_line(error)) from error
    try:
        result = evaluation.evaluate(agent, env, episodes=options.episodes, seed=options.seed, name=about.agent)
        extras = _extras(agent, env, about, options, device)
    finally:
        env.close()
    return Report(file, result, extras)


def _env(about: About, device: str, *, rows: int, render: bool) -> Env:
    given = about.run.get("env_options")
    return evaluation.make_env(
        about.env,
        rows,
        device=device,
        options=json.loads(given) if given else None,
        max_episode_steps=about.run.get("max_episode_steps"),
        render=render,
    )
