"""One run of a benchmark: the words that start it, its folder, and the work that remains."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gymnast.agents.base import Planner
from gymnast.envs.factory import full_id
from gymnast.errors import UsageError, first_line
from gymnast.settings import agents, flags, under_protocol
from gymnast.settings.request import resolve, train_flags, with_backbone
from gymnast.storage import folder
from gymnast.storage.last import LastCheckpoint
from gymnast.storage.metrics_log import final_record
from gymnast.storage.mirror import Mirror
from gymnast.suites.jobs import Task
from gymnast.suites.options import SuiteOptions

SHOWN = ("track", "wandb_project", "wandb_mode", "wandb_entity", "wandb_group", "wandb_tags", "video", "profile")
FREE = frozenset(("seed", "out", "name", "steps", "device", "threads", "checkpoint_every", "keep_checkpoints", *SHOWN))
"""Options in which the run of a folder may differ from the requested one; seed and folder are in its name."""
PARTS = 20
"""Default number of evaluations and checkpoints of a run."""
CHECKPOINT_EVERY = 250_000
"""Maximum env steps between checkpoints of a run: minutes on Atari."""
LOCK_SECONDS = 10.0
"""Seconds to wait for a killed run to release its folder."""


@dataclass(frozen=True)
class Planned:
    """A requested run."""

    label: str
    agent: str
    env: str
    words: tuple[str, ...]
    """The words after `gymnast train AGENT`, except seed and folder."""
    steps: int
    chosen: frozenset[str]
    """Options chosen here because none were given."""
    seed: int = 0
    path: Path = Path()
    url: str | None = None
    """Where the folder is kept, if not at `path`, which is then a copy of what reports read."""

    def at(self, seed: int, out: str, name: str) -> Planned:
        """The same run with another seed, in its own folder."""
        return replace(self, seed=seed, path=folder.folder(out, env=self.env, agent=self.agent) / name)

    @property
    def title(self) -> str:
        return f"{self.env} {self.label} seed {self.seed}"


def plan(label: str, agent: str, words: Sequence[str], options: SuiteOptions) -> Planned:
    """The run that the words request; raises UsageError for everything that `gymnast train` would refuse."""
    if issubclass(agents.agent_class(agent), Planner):
        raise UsageError(f"{agent} plans without env steps, so it cannot be benchmarked")
    of = f"train {agent}"
    given = flags.parse(words, with_backbone(train_flags(agent), agent, words, of=of), of=of)
    reserved = given.keys() & {"steps", "stop_return", "out", "name", "seed"}
    if reserved:
        raise UsageError(f"--{min(reserved).replace('_', '-')} cannot be used after --")
    words = [*words, "--stop-return", "None"]  # all runs have the same length
    for name in ("steps", "eval_every", "checkpoint_every"):
        if (value := getattr(options, name)) is not None:
            words += ["--" + name.replace("_", "-"), str(value)]
    probe = [] if "checkpoint_every" in given or options.checkpoint_every else ["--checkpoint-every", "1"]
    asked = resolve(agent, [*words, *probe], of=of)
    steps, added = asked.options.steps, {}
    if "video" not in given:
        added["video"] = ["--no-video"]
    if probe:
        added["checkpoint_every"] = ["--checkpoint-every", str(min(max(steps // PARTS, 1), CHECKPOINT_EVERY))]
    if "eval_every" not in given and options.eval_every is None and not 0 < asked.options.eval_every <= steps:
        added["eval_every"] = ["--eval-every", str(max(steps // PARTS, 1))]
    words += [word for pair in added.values() for word in pair]
    if options.steps is None:
        words += ["--steps", str(steps)]
    try:
        env = full_id(asked.options.env)
        under_protocol.resolve(asked.options, asked.config)
    except ValueError as error:
        raise UsageError(first_line(error)) from None
    return Planned(label, agent, env, tuple(words), steps, frozenset(added))


def check(item: Planned) -> None:
    """Raise UsageError if the folder contains something that this run cannot continue."""
    path = item.path
    if not path.exists():
        return
    if not (path / "config.json").is_file():
        if all(entry.name.startswith(".") for entry in path.iterdir()):
            return  # killed before it started
        raise UsageError(f"{path} exists and is not a run; choose another --name")
    kept = folder.read_config(path)
    difference = _difference(item, kept)
    if difference:
        raise UsageError(f"{path} is a different run: {difference}; choose another --name")
    steps = kept["run"]["steps"]
    if steps > item.steps:
        raise UsageError(
            f"{path} is a run of {steps:,} env steps, but {item.steps:,} are requested; choose another --name"
        )
    if item.url is not None:
        return  # its checkpoint is not copied to here
    if steps < item.steps and not _last(item).is_file() and final_record(path / "metrics.jsonl") is not None:
        raise UsageError(f"{path} finished at {steps:,} env steps and has no checkpoint to resume from")


def is_finished(item: Planned) -> bool:
    """Whether the run has been trained for all requested steps, and evaluated."""
    final = final_record(item.path / "metrics.jsonl")
    return final is not None and final["env_step"] >= item.steps


def prepare(item: Planned) -> None:
    """Make way for a run that is not finished: without a checkpoint to resume from, its folder is removed.

    Raises UsageError if another process is training in it.
    """
    if item.url is not None:
        return  # who carries it out makes way in a copy of its own
    stale = item.path.with_name(f".{item.path.name}.replaced")
    shutil.rmtree(stale, ignore_errors=True)
    if not item.path.exists():
        return
    with ExitStack() as stack:
        _lock(item.path, stack)  # and released: Windows cannot rename a folder with an open file
    if not _last(item).is_file():
        item.path.rename(stale)  # atomically, so that a kill leaves nothing half-removed
        shutil.rmtree(stale)


def task(item: Planned) -> Task:
    """The process that starts or resumes the run."""
    if _last(item).is_file():
        words = ["resume", str(item.path), "--steps", str(item.steps), "--trust"]  # the user has just named it
    else:
        words = ["train", item.agent, *item.words, "--seed", str(item.seed)]
        words += ["--out", str(item.path.parents[2]), "--name", item.path.name]
    return Task(item.title, tuple(words), item.path, item.steps, again=partial(remaining, item), url=item.url)


def remaining(item: Planned, path: Path) -> Task | None:
    """What is left of the run in this folder, whoever was lost while working on it.

    Raises UsageError if another process trains in it, or if it cannot be continued.
    """
    item = replace(item, path=path, url=None)
    check(item)
    if is_finished(item):
        return None
    prepare(item)
    return task(item)


def discard(done: Planned | Task) -> None:
    """Remove the last checkpoint and replay memory of a finished run, which only more steps would need."""
    if done.url is not None:
        Mirror(done.url, done.path).discard()
    else:
        LastCheckpoint(done.path / "checkpoints").discard()


def _last(item: Planned) -> Path:
    return LastCheckpoint(item.path / "checkpoints").path


def _difference(item: Planned, kept: dict[str, Any]) -> str | None:
    """How the run in the folder differs from the requested one, in words; None if they are the same."""
    command = kept.get("command", [])
    known = with_backbone(train_flags(item.agent), item.agent, item.words, of="train")
    try:
        if list(command[:3]) != ["gymnast", "train", item.agent]:
            return f"it was not started by gymnast train {item.agent}"
        known |= with_backbone(train_flags(item.agent), item.agent, command[3:], of="train")
        there = flags.parse(command[3:], known, of="train")
    except UsageError as error:
        return f"its command is not valid: {first_line(error)}"
    here = flags.parse(item.words, known, of="train")
    for name in sorted((here.keys() | there.keys()) - FREE - item.chosen):
        if there.get(name) != here.get(name):
            values = [str(given[name]) if name in given else "not given" for given in (there, here)]
            return f"{known[name].name} is {values[0]} there, but {values[1]} here"
    return None


def _lock(path: Path, stack: ExitStack) -> None:
    """Lock the run's folder; a run that was killed with its benchmark may take a moment to end."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            stack.enter_context(folder.locked(path))
            return
        except UsageError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
