"""The state of a fitted network in a checkpoint, and the network built from it without its data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gymnast.agents.supervised.blank import blank, blank_episodes, blank_labelled
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.fitted import FittedNetwork
from gymnast.agents.supervised.imitation import Imitation
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.table import TASKS, config_class, task_class
from gymnast.agents.supervised.task import FitNetwork, Task
from gymnast.errors import UsageError, first_line
from gymnast.settings import agents
from gymnast.storage import space_json
from gymnast.storage.checkpoint import About, tuples

PARTS = ("backbone", "heads")


def network_state(task: Task) -> dict[str, Any]:
    """A copy of the network's state, the backbone and the heads of a fitted network apart."""
    kept = {name: value.detach().clone() for name, value in task.network.state_dict().items()}
    if not isinstance(task.network, FitNetwork):
        return {"network": kept}
    return {
        part: {name.removeprefix(f"{part}."): kept[name] for name in kept if name.startswith(part)} for part in PARTS
    }


def load_network(task: Task, state: dict[str, Any]) -> None:
    """Load the state of a network; ValueError if it is of another one."""
    if "network" in state:
        kept = state["network"]
    else:
        kept = {f"{part}.{name}": value for part in PARTS for name, value in state[part].items()}
    try:
        task.network.load_state_dict(kept)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())) from error


def network_of(about: About, state: dict[str, Any], file: Path, *, device: str, trust: bool) -> FittedNetwork:
    """The network of a checkpoint as its task builds it, over a data set without information, with its weights.

    `trust` imports a backbone from outside gymnast. UsageError for what does not match this version, or cannot be
    built.
    """
    values = dict(about.config)
    name = str(values.pop("task", ""))
    if name not in TASKS:
        raise UsageError(f"{file} does not match this version of gymnast: it has no task {name!r}")
    if issubclass(task_class(name), Imitation):
        raise UsageError(f"{file} is of a run of {name}, which keeps its agent in best.pt after an evaluation")
    try:
        config: FitConfig = config_class(name)(**{key: tuples(value) for key, value in values.items()})
        if trust:
            agents.import_backbone(config)
        place = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from torch's own generator
            task: Task = task_class(name)(_source(about, name, file), config, device=place)
        load_network(task, state)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"{file} cannot be loaded: {first_line(error)}") from None
    return FittedNetwork(name, task, device=place)


def _source(about: About, name: str, file: Path) -> Source:
    """A source over examples of the checkpoint's spaces."""
    space = space_json.decode(about.observation_space)
    epochs = int(about.run.get("epochs") or TASKS[name].epochs)
    if about.action_space:
        return blank(blank_episodes(space, space_json.decode(about.action_space), about.env), epochs=epochs)
    targets = about.targets
    if targets is None:
        if TASKS[name].needs == "labelled":
            raise UsageError(f"{file} does not say what its targets are, as those of earlier versions; fit it again")
        targets = {"classes": ["0"], "shape": []}
    return blank(blank_labelled(space, tuple(targets["classes"]), tuple(targets["shape"])), epochs=epochs)
