"""The data of a fitting run, by name, and the agent that labels them."""

from __future__ import annotations

import re
import signal
import zlib
from pathlib import Path

import torch
from torch import nn

from gymnast.agents.base import Agent
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS
from gymnast.agents.supervised.task import Task
from gymnast.errors import nearest
from gymnast.fitting import representations
from gymnast.fitting.record import record
from gymnast.replay.datasets.episodes import EpisodeData, local_datasets, read_dataset
from gymnast.replay.datasets.labelled import LABELLED, Labelled, labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.record_options import RANDOM, RecordOptions
from gymnast.storage import checkpoint, rebuild


def read(task: str, options: FitOptions, *, known: str | None = None) -> Labelled | EpisodeData:
    """The data set that the options name, or what they ask to be recorded; `known` is the name of an earlier recording.

    ValueError if it does not exist, or is of a kind that the task cannot use.
    """
    needs = TASKS[task].needs
    if options.env:
        if needs == "labelled":
            raise ValueError(f"{task} needs a labelled data set, one of {', '.join(LABELLED)}; got env {options.env}")
        return read_dataset(known) if known in local_datasets() else recorded(options)
    if options.dataset in LABELLED:
        if needs == "episodes":
            raise ValueError(f"{task} needs recorded episodes, and {options.dataset} is a labelled data set")
        return with_splits(labelled(options.dataset, seed=options.splits_by), options)
    if needs == "labelled":
        hint = nearest(options.dataset, LABELLED)
        raise ValueError(f"{task} needs a labelled data set, one of {', '.join(LABELLED)}; got {options.dataset}{hint}")
    return read_dataset(options.dataset)


def with_splits(data: Labelled, options: FitOptions) -> Labelled:
    """The data set; ValueError if its splits are fixed and the options ask for others."""
    for name, standard in (("validation", FitOptions.validation), ("split_seed", None)):
        if data.splits is not None and getattr(options, name) != standard:
            raise ValueError(f"{name} {getattr(options, name)} has no effect: the splits of {data.name} are fixed")
    return data


def recorded(options: FitOptions) -> EpisodeData:
    """The data set of `env`, `policy`, `env_steps` and `seed`: recorded now, or before under the same name."""
    name = name_of(options)
    if name not in local_datasets():
        asked = RecordOptions(
            policy=options.policy,
            dataset=name,
            env=options.env,
            steps=options.env_steps,
            explore=options.policy != RANDOM,
            seed=options.seed,
            threads=options.threads,
            trust=options.trust,
        )
        done = record(asked)
        if done.exit_code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if done.exit_code:
            raise SystemExit(done.exit_code)  # SIGTERM
    return read_dataset(name)


def name_of(options: FitOptions) -> str:
    """The name of a recording, the same for the same settings.

    A run's part is a digest of its checkpoint, and that of an environment in a file has a digest of the file, so that a
    recording of other code is not used again.
    """
    policy = options.policy
    if policy != RANDOM:
        policy = f"{zlib.crc32(checkpoint.find(policy).read_bytes()):08x}"
    env = re.sub("[^A-Za-z0-9]+", "-", options.env).strip("-")
    file = Path(options.env.rpartition(":")[0])
    if file.suffix == ".py" and file.is_file():
        env += f"-{zlib.crc32(file.read_bytes()):08x}"
    return f"recorded/{env}-{policy}-{options.env_steps}-seed{options.seed}-v0"


def teacher_of(config: FitConfig, device: torch.device, *, trust: bool) -> Agent | None:
    """The agent that labels the data, if the config names one."""
    path = getattr(config, "teacher", "")
    return rebuild.load_trained(path, device=str(device), trust=trust) if path else None


def encoder_of(config: FitConfig, data: Labelled | EpisodeData) -> nn.Module | None:
    """The trained encoder whose features the task's measures compare, if the config names one; UsageError."""
    path = getattr(config, "features", "")
    if not path:
        return None
    space = data.space if isinstance(data, Labelled) else data.observation_space
    encoder = representations.encoder_of(path, space, env=data.name)
    return representations.normalised(encoder.build(), encoder)


def check(task: Task, options: FitOptions) -> None:
    """ValueError for an empty split, or options that have no effect on the task."""
    task.check_samples()
    if task.agent() is None and options.eval_episodes != FitOptions.eval_episodes:
        raise ValueError(f"eval_episodes {options.eval_episodes} has no effect on {task.name}, which fits no policy")
    for name in ("train", "validation", "test"):
        if (found := len(getattr(task, name))) < task.least:
            raise ValueError(
                f"{task.name} needs {task.least} examples in the {name} split, got {found}; "
                "use another validation share or more data"
            )
