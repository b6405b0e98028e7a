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
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.table import TASKS, task_class
from gymnast.agents.supervised.task import Task
from gymnast.errors import nearest
from gymnast.fitting import data
from gymnast.fitting.learner import restore
from gymnast.fitting.optimisation import Optimisation, total_updates
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
from gymnast.storage.network import load_network, network_state
from gymnast.version import __version__


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
    total: int
    """All updates of the run."""
    optimisations: tuple[Optimisation, ...]
    """Of each player of the task."""
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
        read = data.read(name, options, known=known)
        source = Source(
            read,
            validation=options.validation,
            split_seed=options.splits_by,
            seed=network_seed,
            epochs=options.epochs or TASKS[name].epochs,
            teacher=teacher,
            encoder=data.encoder_of(config, read),
        )
        task: Task = task_class(name)(source, config, device=device)
        data.check(task, options)
        epochs = options.epochs or TASKS[name].epochs
        total = total_updates(task, config, epochs=epochs, updates=options.updates)
        made = tuple(Optimisation.of(one, config, updates=total, largest=task.largest) for one in task.players())
        return Parts(name, options, config, task, device, order, noise, epochs, total, made, source.data)

    def restore(self, state: FitState) -> None:
        """Restore the network, its optimizers and schedules; ValueError if the state is of another network."""
        load_network(self.task, state.network)
        for made, learner in zip(self.optimisations, state.learners, strict=True):
            restore(made, learner)

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
            targets=self.data.about_targets() if isinstance(self.data, Labelled) else None,
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


def load_kept(task: Task, path: Path) -> None:
    """Load the network that `best.pt` keeps; UsageError or ValueError if it is another one's."""
    _, state = checkpoint.read_agent(path)
    load_network(task, state)
