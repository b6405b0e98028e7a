"""The tasks of `gymnast fit` by name. None of them is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from gymnast.agents.supervised.config import FitConfig


class TaskEntry(NamedTuple):
    """Where a task's class is, and what it does."""

    path: str
    """`module:Class`, in this folder."""
    help: str
    epochs: int
    """Passes over the data by default."""
    needs: str
    """Kind of data: labelled, episodes, or either."""


TASKS: dict[str, TaskEntry] = {
    "classify": TaskEntry("labelled:Classify", "classes of examples, or of every step of sequences", 40, "labelled"),
    "regress": TaskEntry("labelled:Regress", "numbers that belong to examples", 40, "labelled"),
    "behaviour-cloning": TaskEntry(
        "imitation:BehaviourCloning", "a policy that acts as the data do, or as a teacher would", 20, "episodes"
    ),
    "distillation": TaskEntry(
        "imitation:Distillation", "a policy with a teacher's whole distribution over actions", 20, "episodes"
    ),
    "dynamics": TaskEntry(
        "models:Dynamics", "next observation (or its features), reward and end, after an action", 20, "episodes"
    ),
    "inverse-dynamics": TaskEntry(
        "models:InverseDynamics", "the action between an observation and the next", 20, "episodes"
    ),
    "value": TaskEntry("models:Value", "the discounted return from an observation", 20, "episodes"),
    "reward": TaskEntry("models:Reward", "the reward of an action after an observation", 20, "episodes"),
    "contrastive": TaskEntry(
        "representation:Contrastive", "features that tell an observation from others", 20, "episodes"
    ),
    "skip-gram": TaskEntry(
        "representation:SkipGram", "embeddings of Discrete states by what is visited near them", 20, "episodes"
    ),
    "boltzmann": TaskEntry(
        "boltzmann:BoltzmannMachine", "a Boltzmann machine of at most 16 units over zeros and ones", 40, "either"
    ),
    "rbm": TaskEntry("energy:Machine", "restricted Boltzmann machines over observations, or a stack", 40, "either"),
}


def task_class(name: str) -> Any:
    """The class of a task."""
    module, _, cls = TASKS[name].path.partition(":")
    return getattr(import_module(f"gymnast.agents.supervised.{module}"), cls)


def config_class(name: str) -> type[FitConfig]:
    """The config of a task."""
    found: type[FitConfig] = task_class(name).Config
    return found
