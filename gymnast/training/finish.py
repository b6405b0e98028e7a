"""The end of a run: final evaluation, curve and video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gymnast.agents.base import Planner
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import play
from gymnast.evaluation.result import Evaluation
from gymnast.reports import learning_curve
from gymnast.storage import checkpoint, rebuild
from gymnast.training.parts import Parts
from gymnast.training.profile_result import Profile
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
    outside: Evaluation | None = None
    """After training in a dream: the same in the real environment."""
    profile: Profile | None = None
    """Where the time went, with the option `profile`."""

    def as_text(self) -> str:
        """The profile, the final evaluation, and the paths of all files."""
        lines = [] if self.final is None else [self.final.as_text()]
        if self.final is not None and self.outside is not None:
            lines += [self.outside.as_text(), against_dream(self.final, self.outside)]
        if self.profile is not None:
            lines = [self.profile.as_text(), "", *lines]
        return "\n".join([*lines, *(f"{name:<12}{path}" for name, path in self.files.items())])


def against_dream(inside: Evaluation, outside: Evaluation) -> str:
    """The mean returns inside and outside a dream, in a line."""
    text = f"return inside the dream {inside.mean_return:.2f}, outside {outside.mean_return:.2f}"
    if inside.mean_return > 0.0:
        text += f": {outside.mean_return / inside.mean_return:.0%} of it"
    return text


def evaluate_kept(parts: Parts, path: Path, session: Session) -> tuple[Evaluation, Evaluation | None]:
    """Evaluate the kept agent on seeds that had no part in choosing it; after a dream in the real environment too."""
    if session.best is None:  # no evaluation was scheduled: keep the current agent
        session.evaluate()
    best = path / "checkpoints" / "best.pt"
    if best.is_file():
        rebuild.load_agent(parts.agent, checkpoint.read_agent(best)[1], best)
    final, outside = _evaluate(parts, parts.eval_env(), session), None
    if is_dream(parts.env_like):
        try:
            outside = _evaluate(parts, parts.outside_env(), session)
        except (EnvError, UsageError, ValueError) as error:  # it may be missing where its dream is not
            session.panel.message(f"not evaluated outside the dream: {first_line(error)}")
    session.records.final(final, outside)
    return final, outside


def _evaluate(parts: Parts, env: Env, session: Session) -> Evaluation:
    """Evaluate in an environment, which is then closed."""
    try:
        return play.evaluate(
            parts.agent,
            env,
            episodes=parts.options.eval_episodes,
            seed=parts.seeds.test,
            name=parts.name,
            interrupted=lambda: session.interrupts.received is not None,
        )
    finally:
        env.close()


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
    is_inside = is_dream(parts.env_like)  # a dream has no frames
    env = parts.outside_env(rows=1, render=True) if is_inside else parts.eval_env(rows=1, render=True)
    try:
        target.parent.mkdir(exist_ok=True)
        play.record(parts.agent, env, target, seed=parts.seeds.test)
    finally:
        env.close()
    session.records.writers.video(parts.agent.env_step, target, env.render_fps)
    return target
