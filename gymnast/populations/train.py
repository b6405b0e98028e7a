"""Training a population: many agents at once on one device, each as in its own single run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnast.agents.population.base import Population
from gymnast.agents.population.kinds import KINDS
from gymnast.envs.native.adapter import NativeEnv
from gymnast.errors import RunError, UsageError, first_line
from gymnast.machine import limit_threads, pick_device
from gymnast.output.panel import Panel
from gymnast.populations.environment import noise_of, training_env
from gymnast.populations.files import Members
from gymnast.populations.session import PopulationSession, plain, summary
from gymnast.settings import agents
from gymnast.settings.options import PopulationOptions, TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.storage import folder
from gymnast.training import tracking
from gymnast.training.loop import Loop


@dataclass(frozen=True)
class PopulationResult:
    """How the run of a population ended."""

    path: Path
    exit_code: int
    env_step: int
    """Of each member."""
    returns: tuple[float, ...] = ()
    """Mean return of each member's kept policy on its own test seeds; empty after an interruption."""
    lines: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

    def as_text(self) -> str:
        """The table over the members, and the paths of all files."""
        return "\n".join([*self.lines, *(f"{name:<12}{path}" for name, path in self.files.items())])


@dataclass(frozen=True)
class _Parts:
    agent: str
    options: TrainOptions
    seeds: Sequence[int]
    streams: Sequence[Seeds]
    env: NativeEnv
    population: Population
    loop: Loop


def train(
    agent: str,
    options: TrainOptions,
    config: Any = None,
    *,
    seeds: Sequence[int],
    vary: Mapping[str, Sequence[float]] | None = None,
    given: PopulationOptions | None = None,
    command: Sequence[str] = (),
    presets: Sequence[str] = (),
    started: Callable[[], None] = lambda: None,
) -> PopulationResult:
    """Train an agent for each seed, all at once, and leave one run folder, as `gymnast train --seeds` does.

    `options.steps`, `num_envs` and every period are those of each member; `vary` gives the numbers of settings that
    differ, and `given` is how seeds and settings were written. Raises UsageError (one line) for invalid options before
    anything starts; `exit_code` is like that of `gymnast.train`.
    """
    with ExitStack() as stack:
        try:
            parts = _parts(agent, options, config, seeds=seeds, vary=vary or {}, stack=stack)
            # Twice, and the optimizer is not kept: new weights are written beside the old ones.
            folder.check_space(options.out, 2 * parts.population.parameters.nbytes)
            name = options.name or f"seeds{seeds[0]}-{seeds[-1] + 1}-{time.strftime('%Y%m%d-%H%M%S')}"
            path = folder.create(options.out, env=parts.env.id, agent=agent, name=name, seed=seeds[0])
            stack.enter_context(folder.locked(path))
            written = given or PopulationOptions(seeds=f"{seeds[0]}:{seeds[-1] + 1}")
            config_json = folder.config_json(
                agent,
                parts.population.config,
                options=options,
                population={"seeds": written.seeds, "vary": list(written.vary), "vary_zip": list(written.vary_zip)},
                presets=presets,
                command=command,
            )
            folder.write_config(path, config_json)
        except (ValueError, OSError) as error:
            raise UsageError(first_line(error)) from error
        started()
        return _run(parts, path, stack)


def _parts(
    agent: str,
    options: TrainOptions,
    config: Any,
    *,
    seeds: Sequence[int],
    vary: Mapping[str, Sequence[float]],
    stack: ExitStack,
) -> _Parts:
    config = agents.default_config(agent) if config is None else config
    device = pick_device(options.device)
    limit_threads(options.threads)
    streams = [Seeds.of(seed) for seed in seeds]
    env = training_env(options, streams, device=device, compile=config.compile)
    stack.callback(env.close)
    population = KINDS[type(config)](
        env.single_observation_space,
        env.single_action_space,
        config,
        seeds=[stream.agent for stream in streams],
        num_envs=options.rows,
        vary=vary,
        device=device,
        noise=noise_of(device),
    )
    actor = population.actor(env.num_envs, explore=True, seed=[stream.actor for stream in streams])
    return _Parts(agent, options, seeds, streams, env, population, Loop(population, actor, env))


def _run(parts: _Parts, path: Path, stack: ExitStack) -> PopulationResult:
    population, options = parts.population, parts.options
    title = f"{population.members:,} x {parts.agent} on {parts.env.id}  ({path})"
    panel = stack.enter_context(Panel(title))
    members = Members(path, parts.agent, parts.env.id, options, population, parts.seeds)
    more = {"seeds": f"{parts.seeds[0]}:{parts.seeds[-1] + 1}", "vary": dict(population.vary)}
    writers = tracking.writers(path, parts.agent, options, population.config, more=more)
    session = PopulationSession(members, options, parts.loop, seeds=parts.streams, writers=writers, panel=panel)
    stack.callback(session.close)
    exit_code, returns, lines = 1, tuple[float, ...](), tuple[str, ...]()
    files = {"run": path, "members": path / "members.csv", "checkpoint": path / "checkpoints" / "best.pt"}
    try:
        with session.interrupts:
            session.go()
            exit_code = session.interrupts.exit_code
            if not exit_code:
                returns, lines = _test(parts, session)
            else:
                panel.message(f"stopped at env step {population.member_step:,} of each member")
    except RunError as error:
        panel.message(str(error))
    except KeyboardInterrupt:
        if session.interrupts.received is None:
            raise
        exit_code = session.interrupts.exit_code
        panel.message(f"stopped immediately, after env step {population.member_step:,} of each member")
    finally:
        writers.close(exit_code)
    there = {name: file for name, file in files.items() if file.exists()}
    return PopulationResult(path, exit_code, population.member_step, returns, lines, there)


def _test(parts: _Parts, session: PopulationSession) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Evaluate each member's kept weights on seeds that had no part in choosing them: mean returns, and the table."""
    if not session.evaluated:
        session.evaluate()
    returns, lengths = session.played(session.kept, [stream.test for stream in parts.streams])
    means, spread, length = returns.mean(1), returns.std(1, correction=0), lengths.double().mean(1)
    best = int(session.scores.argmax())
    numbers = summary(means.numpy())
    columns = {"mean_return": means, "std_return": spread, "mean_length": length}
    session.save(**{name: plain(column.numpy()) for name, column in columns.items()})
    session.record_final(
        {
            "env": parts.env.id,
            "agent": parts.agent,
            "members": len(parts.seeds),
            "episodes": returns.shape[1],
            **{f"{name}_return": value for name, value in numbers.items()},
            "best_seed": parts.seeds[best],
        }
    )
    return tuple(means.tolist()), _table(parts, numbers, best=best, score=float(means[best]), episodes=returns.shape[1])


def _table(parts: _Parts, numbers: Mapping[str, float], *, best: int, score: float, episodes: int) -> tuple[str, ...]:
    population = parts.population
    own = "".join(f", {name} {values[best]:.4g}" for name, values in population.vary.items())
    return (
        f"{parts.agent} on {parts.env.id}, {population.members:,} members after {population.member_step:,} env steps "
        f"each: return of a member, the mean over {episodes} episodes",
        *(f"  {'IQM' if name == 'iqm' else name:<8}{value:>10.2f}" for name, value in numbers.items()),
        f"the one that was best in evaluations: seed {parts.seeds[best]}{own}, here {score:.2f}",
    )
