"""The end of a run: final evaluation, curve and video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gymnast.agents.base import Planner
from gymnast.errors import first_line
from gymnast.evaluation import play
from gymnast.evaluation.result import Evaluation
from gymnast.reports import learning_curve
from gymnast.storage import checkpoint, rebuild
from gymnast.training.parts import Parts
from gymnast.training.session import Session


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    path: Path
    exit_code: int
    env_step: int
    final: Evaluation | None
    """The kept agent's result on its own evaluation seeds; None after an interruption."""
    files: dict[str, Path] = field(default_factory=dict)
    """Files of the run by name: checkpoint, curve, video."""

    def as_text(self) -> str:
        """The final evaluation, and the paths of all files."""
        lines = [] if self.final is None else [self.final.as_text()]
        return "\n".join([*lines, *(f"{name:<12}{path}" for name, path in self.files.items())])


def evaluate_kept(parts: Parts, path: Path, session: Session) -> Evaluation:
    """Evaluate the kept agent on seeds that had no part in choosing it."""
    if session.best is None:  # no evaluation was scheduled: keep the current agent
        session.evaluate()
    best = path / "checkpoints" / "best.pt"
    if best.is_file():
        rebuild.load_agent(parts.agent, checkpoint.read_agent(best)[1], best)
    env = parts.eval_env()
    try:
        final = play.evaluate(
            parts.agent,
            env,
            episodes=parts.options.eval_episodes,
            seed=parts.seeds.test,
            name=parts.name,
            interrupted=lambda: session.interrupts.received is not None,
        )
    finally:
        env.close()
    session.records.final(final)
    return final


def leave_files(parts: Parts, path: Path, session: Session) -> dict[str, Path]:
    """Write the files of a finished run; a failed picture or video is only reported."""
    files = {"checkpoint": path / "checkpoints" / "best.pt"}
    makers: dict[str, Callable[[], Path]] = {}
    if not isinstance(parts.agent, Planner):  # planning takes no env step
        makers["curve"] = lambda: _draw(path)
    if parts.options.video:
        makers["video"] = lambda: _film(parts, path, session)
    for name, make in makers.items():
        try:
            files[name] = make()
        except Exception as error:  # an environment's render raises anything; the trained agent is saved already
            session.panel.message(f"no {name}: {first_line(error)}")
    return files


def _draw(path: Path) -> Path:
    learning_curve.learning_curve([path], path / "curve.png")
    return path / "curve.png"


def _film(parts: Parts, path: Path, session: Session) -> Path:
    target = path / "videos" / "best.mp4"
    env = parts.eval_env(rows=1, render=True)
    try:
        target.parent.mkdir(exist_ok=True)
        play.record(parts.agent, env, target, seed=parts.seeds.test)
    finally:
        env.close()
    session.records.writers.video(parts.agent.env_step, target, env.render_fps)
    return target
