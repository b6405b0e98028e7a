"""The parts of a run that fits a network: data, device and task, built and checked before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gymnast.agents.base import ConfiguredAgent
from gymnast.agents.optim import optimizers
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.table import TASKS, task_class
from gymnast.agents.supervised.task import FitNetwork, Task
from gymnast.errors import first_line, nearest
from gymnast.fitting import data
from gymnast.fitting.optimisation import Optimisation
from gymnast.fitting.state import FitState
from gymnast.machine import limit_threads, pick_device
from gymnast.replay.datasets.digest import digest
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.labelled import Labelled
from gymnast.settings import agents
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint, folder, space_json
from gymnast.storage.checkpoint import About
from gymnast.storage.fitted import FIT
from gymnast.version import __version__

PARTS = ("backbone", "heads")


@dataclass
class Parts:
    """The parts of a run."""

    name: str
    """Of the task."""
    options: FitOptions
    config: FitConfig
    task: Task
    device: torch.device
    order: np.random.SeedSequence
    """Of the order of the examples."""
    noise: np.random.SeedSequence
    """Of augmentation and of torch's own generator."""
    epochs: int
    """Passes over the training data."""
    optimisation: Optimisation
    data: Labelled | EpisodeData

    @staticmethod
    def make(name: str, options: FitOptions, config: FitConfig, *, known: str | None = None) -> Parts:
        """Build all parts; ValueError (one line) for anything that does not match.

        `known` is the name of what an earlier part of the run recorded.
        """
        if name not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}{nearest(name, TASKS)}")
        limit_threads(options.threads)
        device = torch.device(pick_device(options.device))
        network_seed, order, noise = np.random.SeedSequence(options.seed).spawn(3)
        torch.manual_seed(int(noise.generate_state(1)[0]))
        teacher = data.teacher_of(config, device, trust=options.trust)
        source = Source(
            data.read(name, options, known=known),
            validation=options.validation,
            split_seed=options.splits_by,
            seed=network_seed,
            teacher=teacher,
        )
        task: Task = task_class(name)(source, config, device=device)
        data.check(task, options)
        epochs = options.epochs or TASKS[name].epochs
        optimisation = Optimisation.of(task, config, epochs=epochs, updates=options.updates)
        return Parts(name, options, config, task, device, order, noise, epochs, optimisation, source.data)

    def restore(self, state: FitState) -> None:
        """Restore the network, its optimizer and schedule; ValueError if the state is of another network."""
        load_network(self.task, state.network)
        made = self.optimisation
        try:
            optimizers.load_state(made.optimizer, state.optimizer, made.weights)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the checkpoint's optimizer does not fit the network: {first_line(error)}") from error
        if state.schedule:
            made.schedule.load_state_dict(state.schedule)

    @property
    def about_data(self) -> str:
        """What the data are called in the run's folder and title."""
        return self.options.dataset or self.options.env

    @property
    def env(self) -> str:
        """The environment of the data; a file as the user named it, because data know it without its folder."""
        return self.options.env if ":" in self.options.env else self.task.env or ""

    def describe(self, updates: int) -> About:
        """The description of a checkpoint of the network."""
        task = self.task
        return About(
            agent=FIT,
            config={"task": self.name, **dataclasses.asdict(self.config)},
            env=self.env,
            env_step=updates,
            observation_space=space_json.encode(task.observation_space),
            action_space={} if task.action_space is None else space_json.encode(task.action_space),
            run=dataclasses.asdict(self.options),
            versions=folder.versions(),
        )

    def describe_kept(self, updates: int) -> tuple[About, dict[str, Any]]:
        """The description and the state of what `best.pt` keeps: an agent, if the task fits one, else the network."""
        agent = self.task.agent()
        if agent is None:
            return self.describe(updates), {"agent": network_state(self.task)}
        assert isinstance(agent, ConfiguredAgent)
        about = checkpoint.describe(
            agent,
            name=agents.name_of(type(agent)),
            config=agent.config,
            env=self.env,
            run={"num_envs": 1, **self.task.env_settings},
            versions=folder.versions(),
        )
        return about, {"agent": {key: value for key, value in agent.state_dict().items() if key != "replay"}}

    def config_json(self, command: Sequence[str]) -> dict[str, Any]:
        """The content of config.json."""
        return {
            **folder.config_json(FIT, self.config, options=self.options, presets=(), command=command),
            "task": self.name,
            "data": {"name": self.data.name, "digest": digest(self.data)},
            "gymnast": __version__,
        }


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


def load_kept(task: Task, path: Path) -> None:
    """Load the network that `best.pt` keeps; UsageError or ValueError if it is another one's."""
    _, state = checkpoint.read_agent(path)
    load_network(task, state)
