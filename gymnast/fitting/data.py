"""The data of a fitting run, by name, and the agent that labels them."""

from __future__ import annotations

import torch

from gymnast.agents.base import Agent
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS
from gymnast.agents.supervised.task import Task
from gymnast.errors import nearest
from gymnast.replay.datasets.episodes import EpisodeData, read_dataset
from gymnast.replay.datasets.labelled import LABELLED, Labelled, labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import rebuild


def read(task: str, options: FitOptions) -> Labelled | EpisodeData:
    """The data set that the options name; ValueError if it does not exist, or is of a kind that the task cannot use."""
    needs = TASKS[task].needs
    if options.dataset in LABELLED:
        if needs != "labelled":
            raise ValueError(f"{task} needs recorded episodes, and {options.dataset} is a labelled data set")
        return labelled(options.dataset, seed=options.splits_by)
    if needs == "labelled":
        hint = nearest(options.dataset, LABELLED)
        raise ValueError(f"{task} needs a labelled data set, one of {', '.join(LABELLED)}; got {options.dataset}{hint}")
    return read_dataset(options.dataset)


def teacher_of(config: FitConfig, device: torch.device) -> Agent | None:
    """The agent that labels the data, if the config names one."""
    path = getattr(config, "teacher", "")
    return rebuild.load(path, device=str(device)) if path else None


def check(task: Task) -> None:
    """ValueError for an empty split."""
    for name in ("train", "validation", "test"):
        if len(getattr(task, name)) == 0:
            raise ValueError(f"the {name} split is empty; use another validation share")
