"""gymnast: reinforcement-learning agents on Gymnasium and PyTorch.

    from gymnast import TrainOptions, evaluate, load, train

    result = train("dqn", TrainOptions(env="CartPole-v1", steps=50_000))
    agent = load(result.path)  # agent.predict(obs) is an action
    print(evaluate(agent, "CartPole-v1").mean_return)

Importing gymnast registers its environments with Gymnasium (`gymnast/Catch-v0`, …); torch is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnast.envs.registration import register
from gymnast.version import __version__

if TYPE_CHECKING:
    from gymnast.evaluation.play import evaluate
    from gymnast.export.load import load
    from gymnast.populations.train import resume
    from gymnast.settings import presets
    from gymnast.settings.options import TrainOptions
    from gymnast.storage.rebuild import save
    from gymnast.storage.world_model import dream
    from gymnast.training.train import train
    from gymnast.tuning.options import TuneOptions
    from gymnast.tuning.tune import tune

__all__ = [
    "TrainOptions",
    "TuneOptions",
    "__version__",
    "dream",
    "evaluate",
    "load",
    "presets",
    "resume",
    "save",
    "train",
    "tune",
]

_HOMES = {
    "TrainOptions": "settings.options",
    "TuneOptions": "tuning.options",
    "dream": "storage.world_model",
    "evaluate": "evaluation.play",
    "load": "export.load",
    "resume": "populations.train",
    "save": "storage.rebuild",
    "train": "training.train",
    "tune": "tuning.tune",
}

register()


def __getattr__(name: str) -> Any:
    if name == "presets":  # a module
        globals()[name] = import_module("gymnast.settings.presets")
        return globals()[name]
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"gymnast.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
