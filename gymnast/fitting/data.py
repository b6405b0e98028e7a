"""The data of a fitting run, by name, and the agent that labels them."""

from __future__ import annotations

import re
import zlib

import torch

from gymnast.agents.base import Agent
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS
from gymnast.agents.supervised.task import Task
from gymnast.errors import nearest
from gymnast.fitting.record import record
from gymnast.replay.datasets.episodes import EpisodeData, local_datasets, read_dataset
from gymnast.replay.datasets.labelled import LABELLED, Labelled, labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.record_options import RANDOM, RecordOptions
from gymnast.storage import checkpoint, rebuild


def read(task: str, options: FitOptions) -> Labelled | EpisodeData:
    """The data set that the options name, or what they ask to be recorded.

    ValueError if it does not exist, or is of a kind that the task cannot use.
    """
    needs = TASKS[task].needs
    if options.env:
        if needs == "labelled":
            raise ValueError(f"{task} needs a labelled data set, one of {', '.join(LABELLED)}; got env {options.env}")
        return recorded(options)
    if options.dataset in LABELLED:
        if needs == "episodes":
            raise ValueError(f"{task} needs recorded episodes, and {options.dataset} is a labelled data set")
        return labelled(options.dataset, seed=options.splits_by)
    if needs == "labelled":
        hint = nearest(options.dataset, LABELLED)
        raise ValueError(f"{task} needs a labelled data set, one of {', '.join(LABELLED)}; got {options.dataset}{hint}")
    return read_dataset(options.dataset)


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
        )
        done = record(asked)
        if done.exit_code:
            raise KeyboardInterrupt
    return read_dataset(name)


def name_of(options: FitOptions) -> str:
    """The name of what is recorded, the same for the same settings; a run's part is a digest of its checkpoint."""
    policy = options.policy
    if policy != RANDOM:
        policy = f"{zlib.crc32(checkpoint.find(policy).read_bytes()):08x}"
    env = re.sub("[^A-Za-z0-9]+", "-", options.env).strip("-")
    return f"recorded/{env}-{policy}-{options.env_steps}-seed{options.seed}-v0"


def teacher_of(config: FitConfig, device: torch.device) -> Agent | None:
    """The agent that labels the data, if the config names one."""
    path = getattr(config, "teacher", "")
    return rebuild.load(path, device=str(device)) if path else None


def check(task: Task) -> None:
    """ValueError for an empty split."""
    for name in ("train", "validation", "test"):
        if len(getattr(task, name)) == 0:
            raise ValueError(f"the {name} split is empty; use another validation share")
