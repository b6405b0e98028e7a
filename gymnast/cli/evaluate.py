"""`gymnast evaluate`: returns of a run or checkpoint, a video, and the distance from the optimum."""

from __future__ import annotations

import dataclasses
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnast.agents.base import Agent
from gymnast.atari import scores
from gymnast.envs.dreams.names import is_dream
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import environment, play, trained
from gymnast.evaluation.result import Evaluation
from gymnast.export.contract import about_of
from gymnast.export.policy import ExportedPolicy, is_exported
from gymnast.machine import pick_device
from gymnast.settings.options import EvaluateOptions
from gymnast.storage import checkpoint, folder, rebuild
from gymnast.storage.checkpoint import About
from gymnast.storage.encoder import same_kind
from gymnast.storage.world_model import REAL
from gymnast.tabular import picture
from gymnast.tabular.optimal import against_optimal, bandit_regret


@dataclass(frozen=True)
class Report:
    """An evaluation and the requested extras."""

    checkpoint: Path
    evaluation: Evaluation
    extras: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        values = {**self.evaluation.as_json(), "checkpoint": str(self.checkpoint), **self.extras}
        return {**values, **({"published": published} if (published := self._published()) else {})}

    def as_text(self) -> str:
        lines = [self.evaluation.as_text()]
        for name, value in self.extras.items():
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            lines.append(f"{name.replace('_', ' ')}: {shown}")
        return "\n".join([*lines, *self._published_lines()])

    def _published(self) -> dict[str, dict[str, Any]]:
        """Published scores of the game, each with its protocol; empty for other environments."""
        if self.evaluation.protocol is None or scores.game_of(self.evaluation.env) is None:
            return {}
        found = scores.published(self.evaluation.env)
        return {name: {"score": item.score, **dataclasses.asdict(item.column)} for name, item in found.items()}

    def _published_lines(self) -> list[str]:
        """Published scores under the same protocol; others are not comparable."""
        published, protocol = self._published(), self.evaluation.protocol
        if not published or protocol is None:
            return []
        same = [f"{name} {item['score']:g}" for name, item in published.items() if item["protocol"] == protocol.label]
        if not same:
            return ["published scores use other protocols; see gymnast list scores"]
        return [f"published under this protocol (papers and frames: see gymnast list scores): {', '.join(same)}"]


def evaluate_path(options: EvaluateOptions) -> Report:
    """Evaluate a run's best checkpoint (or a checkpoint file) on its own environment; UsageError in one line.

    An exported policy is played like the agent that it comes from.
    """
    exported = _exported(options)
    if exported is None:
        file, about, state = _read(options)
    else:
        file, about, state = Path(options.path), about_of(exported.contract), {}
    about = _placed(about, options)
    trained.check_trusted(about, file, trust=options.trust)
    try:
        device = pick_device(options.device)
        agent: Any = exported
        if exported is None:
            agent = rebuild.agent_of(file, about, state, device=device, trust=options.trust)
        settings = trained.settings_of(about, protocol=options.protocol, emulator=options.emulator)
        rows = min(options.num_envs, options.episodes)
        env = settings.make(about.env, rows, device=device, protocol=options.protocol)
        if options.env is not None:
            _check_spaces(agent, env)
    except (ValueError, OSError) as error:
        raise UsageError(trained.why(error, about)) from error
    try:
        extras = _extras(agent, env, about, options, device=device)
        result = play.evaluate(
            agent,
            env,
            episodes=options.episodes,
            seed=options.seed,
            name=about.agent,
            protocol=options.protocol,
            trained_frame_skip=None if about.protocol is None else about.protocol["frame_skip"],
        )
    except (ValueError, OSError) as error:
        raise UsageError(first_line(error)) from error
    finally:
        env.close()
    return Report(file, result, extras)


def _exported(options: EvaluateOptions) -> ExportedPolicy | None:
    """The exported policy that the path is of; None if it is not one."""
    if not is_exported(options.path):
        return None
    for name, value in (("member", options.member), ("picture", options.picture)):
        if value is not None:
            raise UsageError(f"{name} has no effect on {options.path}, an exported policy")
    return ExportedPolicy(options.path, trust=options.trust)


def _read(options: EvaluateOptions) -> tuple[Path, About, dict[str, Any]]:
    """The requested checkpoint: its path, description, and agent state."""
    if options.member is not None:
        from gymnast.populations.files import ALL, read_member  # a population's agents; other runs do not need them

        return Path(options.path) / ALL, *read_member(Path(options.path), options.member)
    file = checkpoint.find(options.path)
    return file, *checkpoint.read_agent(file)


def _placed(about: About, options: EvaluateOptions) -> About:
    """The description with the environment to play in: the given one, else the run's own (for a dream the real one).

    The run's options of its environment apply only in that one.
    """
    real = trained.outside(about)
    if options.env in (None, real.env):
        return real
    own = about.run if options.env == about.env else {}
    given = {**json.loads(own.get("env_options") or "{}"), **({"trust": True} if options.trust else {})}
    run = {name: value for name, value in about.run.items() if name not in REAL}
    if is_dream(options.env):
        return dataclasses.replace(about, env=options.env, run={**run, **own, "env_options": json.dumps(given)})
    return dataclasses.replace(about, env=options.env, run={**run, **own})


def _check_spaces(agent: Agent, env: Env) -> None:
    """ValueError if an environment has other observations or actions than the agent knows."""
    for kind, theirs, ours in (
        ("observations", env.single_observation_space, agent.observation_space),
        ("actions", env.single_action_space, agent.action_space),
    ):
        if not (same_kind(theirs, ours) if kind == "observations" else theirs == ours):
            raise ValueError(f"{env.id} has {kind} {theirs}, but the agent was trained with {ours}")


def _extras(agent: Agent, env: Env, about: About, options: EvaluateOptions, *, device: str) -> dict[str, Any]:
    """The requested extras; computed first, so that impossible requests fail before a long evaluation."""
    extras: dict[str, Any] = {}
    if about.protocol is not None:
        extras["trained_protocol"] = about.protocol["name"] or "custom"
    if options.against_optimal:
        horizon = about.run.get("max_episode_steps") or environment.time_limit(about.env)
        extras |= against_optimal(agent, env, horizon=horizon)
    extras |= {f"training_{name}": value for name, value in bandit_regret(agent, env).items()}
    if options.picture is not None:
        picture.draw(Path(options.picture), agent, env)
        extras["picture"] = options.picture
    if options.video is not None:
        try:
            extras["video"] = str(_film(agent, about, options, device=device))
        except EnvError as error:  # the score is worth more than its picture
            warnings.warn(f"no video: {error}", EnvWarning, stacklevel=2)
    return extras


def _film(agent: Agent, about: About, options: EvaluateOptions, *, device: str) -> Path:
    settings = trained.settings_of(about, protocol=options.protocol, emulator=options.emulator)
    env = settings.make(about.env, 1, device=device, render=True, protocol=options.protocol)
    target = Path(options.video or ".")
    if target.suffix.lower() != ".mp4":
        target /= f"{folder.folder_name(about.env)}-{folder.folder_name(about.agent)}-seed{options.seed}.mp4"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        play.record(agent, env, target, seed=options.seed, protocol=options.protocol)
    finally:
        env.close()
    return target
