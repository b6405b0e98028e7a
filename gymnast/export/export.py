"""`gymnast export`: a run's greedy policy as a folder that works without gymnast."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gymnast.agents.base import Agent
from gymnast.agents.prediction import ExportableAgent, GreedyPolicy, SamplingAgent
from gymnast.envs.env import Env
from gymnast.errors import UsageError, first_line, require
from gymnast.evaluation import trained
from gymnast.export import card, contract, formats, standalone
from gymnast.export.module import PolicyModule
from gymnast.export.parity import ROWS, Parity, compare
from gymnast.settings.export_options import ExportOptions
from gymnast.storage import checkpoint, folder, rebuild
from gymnast.storage.checkpoint import About
from gymnast.storage.metrics_log import final_record, finite


class Source(NamedTuple):
    """A checkpoint that was read: its file, description, and agent state."""

    file: Path
    about: About
    state: dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    format: str
    parity: Parity | None

    def as_text(self) -> str:
        compared = "not compared with the agent" if self.parity is None else self.parity.as_text()
        return f"{compared}\n{self.path}: {', '.join(sorted(item.name for item in self.path.iterdir()))}"


def export(options: ExportOptions, source: Source | None = None) -> Exported:
    """Write the folder; UsageError (one line) before anything starts, RunError if it does not act like the agent.

    `source` is the checkpoint, by default the run's.
    """
    require(*contract.PACKAGES[options.to], of=f"export --to {options.to}", extra="export")
    if source is None:
        file = checkpoint.find(options.run)
        source = Source(file, *checkpoint.read_agent(file))
    file, about, state = source
    target = _target(options, about)
    about = trained.outside(about)
    trained.check_trusted(about, file, trust=options.trust)
    agent = rebuild.agent_of(file, about, state, device="cpu", trust=options.trust)
    if not isinstance(agent, ExportableAgent):
        raise UsageError(
            f"{about.agent} cannot be exported: its decision is not a function of the observation and a memory alone"
        )
    policy = _policy(agent, about, sample=options.sample)
    try:
        env = trained.settings_of(about).make(about.env, ROWS, device="cpu")
    except (ValueError, OSError) as error:
        raise UsageError(trained.why(error, about)) from error
    try:
        env.reset()
        masked = env.action_mask is not None
        module = PolicyModule(policy, agent.observation_space, agent.action_space, masked=masked)
        home = _home(options.run)
        return _written(options, target, agent, about, module, env, home)
    finally:
        env.close()


def _policy(agent: ExportableAgent, about: About, *, sample: bool) -> GreedyPolicy:
    """The policy to export; UsageError if there is none."""
    try:
        if not sample:
            return agent.greedy_policy()
        if not isinstance(agent, SamplingAgent):
            raise ValueError("it has no distribution to draw from; leave --sample out")
        return agent.sampled_policy()
    except ValueError as error:
        raise UsageError(f"{about.agent} cannot be exported: {first_line(error)}") from None


def _target(options: ExportOptions, about: About) -> Path:
    """The folder to write; UsageError if it exists."""
    named = f"{folder.folder_name(about.env)}-{folder.folder_name(about.agent)}-{options.to}"
    target = Path(options.out or named)
    if target.exists():
        raise UsageError(f"out {target} already exists; choose another folder")
    return target


def _home(run: str) -> Path | None:
    """The run's folder, if the path is or lies in one."""
    home = Path(run) if Path(run).is_dir() else Path(run).parent.parent
    return home if (home / "config.json").is_file() else None


def _written(
    options: ExportOptions,
    target: Path,
    agent: Any,
    about: About,
    module: PolicyModule,
    env: Env,
    home: Path | None,
) -> Exported:
    """Write into a temporary folder beside the target, compare, and rename it: nothing is left of a failure."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UsageError(f"out {target}: cannot make the folder: {error.strerror}") from None
    try:
        opset = _write_policy(options.to, module, temporary)
        parity = _compared(options, agent, module, env, temporary)
        made = contract.contract_of(
            agent, about, module, kind=options.to, file=temporary / formats.FILES[options.to], opset=opset
        )
        made["scores"] = _scores(about, home, agent)
        made["parity"] = None if parity is None else {**parity.as_json(), "tolerance": options.tolerance}
        made = finite(made)
        contract.write(temporary, made)
        card.write(temporary, made, run=home)
        if options.to == "onnx":
            shutil.copyfile(standalone.__file__, temporary / "policy.py")
        os.chmod(temporary, 0o755)  # mkdtemp keeps others out
        os.rename(temporary, target)
    except OSError as error:
        raise UsageError(f"out {target}: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(target, options.to, parity)


def _write_policy(kind: formats.Format, module: PolicyModule, place: Path) -> int | None:
    """Write the policy's file; returns the opset of ONNX."""
    file = place / formats.FILES[kind]
    if kind == "safetensors":
        formats.write_weights(module, file)
        return None
    program = formats.program_of(module)
    if kind == "onnx":
        return formats.write_onnx(program, module, file)
    formats.write_program(program, file)
    return None


def _compared(options: ExportOptions, agent: Agent, module: PolicyModule, env: Env, place: Path) -> Parity | None:
    """The comparison with the agent, if one is asked for; RunError beyond the tolerance."""
    run = formats.runner(options.to, place, module)
    if not options.observations:
        return None
    asked = {"observations": options.observations, "seed": options.seed}
    found = compare(agent, env, module, run, tolerance=options.tolerance, **asked)
    found.check(options.tolerance)
    return found


def _scores(about: About, home: Path | None, agent: Any) -> dict[str, Any]:
    """The evaluation that chose these weights, and the run's final one if it was of them."""
    scores: dict[str, Any] = {}
    if about.score is not None:
        scores["best"] = {"mean_return": about.score, "seed": about.score_seed}
    last = None if home is None else final_record(home / "metrics.jsonl")
    if last is not None and last.get("mean_return") is not None and last.get("trained_env_steps") == agent.env_step:
        names = ("mean_return", "std_return", "episodes", "seed")
        scores["final"] = {name: last[name] for name in names if name in last}
    return scores
