"""Resolves and checks the words after `gymnast fit TASK` or `gymnast pretrain MODEL`, without starting anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import MODELS, config_class, kinds_of, of_fit
from gymnast.errors import UsageError, nearest
from gymnast.settings import flags
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.request import with_network_flags


@dataclass(frozen=True)
class FitRequest:
    """A requested run."""

    task: str
    options: FitOptions
    config: FitConfig


@dataclass(frozen=True)
class KindOptions:
    """The kind of a model of `gymnast pretrain`."""

    kind: str = field(metadata={"metavar": "KIND"})
    """Kind of the model: a name from gymnast pretrain MODEL --help, which lists the options of a kind given with it."""


def fit_flags(task: str) -> dict[str, flags.Flag]:
    """Every flag of `gymnast fit TASK`; UsageError for an unknown task."""
    names = of_fit()
    if task not in names:
        for model in MODELS:
            kind = task.removeprefix(f"{model}-")
            if kind in kinds_of(model):
                raise UsageError(f"{task} is a model without labels: gymnast pretrain {model} --kind {kind}")
        raise UsageError(f"unknown task {task!r}; choose from {', '.join(names)}{nearest(task, names)}")
    return _flags(task)


def kind_of(model: str, words: Sequence[str]) -> str | None:
    """The kind of a model that the words name, if they do; UsageError for an unknown model or kind."""
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}; choose from {', '.join(MODELS)}{nearest(model, MODELS)}")
    found = [number for number, word in enumerate(words) if word == "--kind" or word.startswith("--kind=")]
    if not found:
        return None
    if len(found) > 1:
        raise UsageError("--kind is given twice")
    word, rest = words[found[0]], words[found[0] + 1 :]
    kind = word.partition("=")[2] if "=" in word else next(iter(rest), "")
    kinds = kinds_of(model)
    if kind not in kinds:
        raise UsageError(f"--kind must be one of {', '.join(kinds)}, got {kind or 'nothing'}{nearest(kind, kinds)}")
    return kind


def pretraining(model: str, words: Sequence[str]) -> FitRequest:
    """The run that the words after `gymnast pretrain MODEL` request; UsageError in one line."""
    of = f"pretrain {model}"
    kind = kind_of(model, words)
    if kind is None:
        raise UsageError(f"{of} needs --kind; choose from {', '.join(kinds_of(model))}")
    task = f"{model}-{kind}"
    return _resolved(task, words, flags.flags_of(KindOptions) | _flags(task), of=of)


def _flags(task: str) -> dict[str, flags.Flag]:
    return flags.flags_of(FitOptions, config_class(task))


def resolve(task: str, words: Sequence[str]) -> FitRequest:
    """The run that the words after `gymnast fit TASK` request; UsageError in one line."""
    return _resolved(task, words, fit_flags(task), of=f"fit {task}")


def _resolved(task: str, words: Sequence[str], known: dict[str, flags.Flag], *, of: str) -> FitRequest:
    known = with_network_flags(known, words, default=lambda _: str(config_class(task)().network), of=of)
    given = flags.parse(words, known, of=of)
    own: dict[str, Any] = {name: value for name, value in given.items() if "." not in name}
    options = {name.partition(".")[2]: value for name, value in given.items() if "." in name}
    if options:
        own["network_options"] = options
    return FitRequest(task, flags.build(FitOptions, own, of=of), flags.build(config_class(task), own, of=of))
