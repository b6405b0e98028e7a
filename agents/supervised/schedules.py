"""Schedules of the learning rate over updates: torch's own, by name."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import lr_scheduler

SAME = {"plateau": "reduce-on-plateau"}
NOT_BY_NAME = ("LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
"""Schedules that need functions or other schedules."""
PERIODS = ("T_max", "total_steps", "total_iters", "T_0")
"""Arguments that mean the number of all updates, unless they are given."""
CHANGED = ("lr", "momentum", "betas")
"""Settings of an optimizer that a schedule may change."""
DEFAULTS: dict[str, dict[str, Any]] = {"step": {"step_size": 1_000}, "exponential": {"gamma": 0.999}}


def names() -> tuple[str, ...]:
    """Valid names of `schedule`."""
    return ("constant", *sorted({*_classes(), *SAME} - {"constant"}))


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for an unknown schedule, or an argument that it does not take or lacks."""
    if name not in names():
        raise ValueError(f"schedule must be one of {', '.join(names())}, got {name!r}")
    if name == "constant":
        if options:
            raise ValueError(f"schedule constant has no options, got {', '.join(options)}")
        return
    known = inspect.signature(_class(name).__init__).parameters
    taken = [key for key in known if key not in ("self", "optimizer", "last_epoch", "verbose")]
    for key in options:
        if key not in taken:
            raise ValueError(f"schedule {name} has no option {key}; its options are {', '.join(taken)}")
    given = {*options, *DEFAULTS.get(name, {}), *PERIODS, "max_lr", "base_lr", "mode"}
    for key in taken:
        if known[key].default is inspect.Parameter.empty and key not in given:
            raise ValueError(f"schedule {name} needs --schedule-options with {key}")


class Schedule:
    """Sets an optimizer's learning rate after every update, or after every evaluation (plateau).

    `updates` is the number of all updates, and `largest` whether a larger measure is better. Raises ValueError for an
    argument's value that torch refuses.
    """

    def __init__(
        self, name: str, optimizer: torch.optim.Optimizer, *, options: Mapping[str, Any], updates: int, largest: bool
    ) -> None:
        check(name, options)
        self._torch: Any = None
        self.spans_run = False
        """Whether it ends with the last update, so that more updates cannot follow."""
        self._per_evaluation = SAME.get(name, name) == "reduce-on-plateau"
        if name == "constant":
            return
        cls, rate = _class(name), optimizer.param_groups[0]["lr"]
        taken = inspect.signature(cls.__init__).parameters
        own: dict[str, Any] = {"mode": "max" if largest else "min", "max_lr": rate, "base_lr": rate / 10}
        own |= dict.fromkeys(PERIODS, max(updates, 1))
        periods = set(PERIODS) & set(taken)
        self.spans_run = bool(periods) and not periods & {*options}
        own |= DEFAULTS.get(name, {})
        arguments = {key: value for key, value in own.items() if key in taken and _fits(name, key)} | dict(options)
        if "cycle_momentum" in taken and not _has_momentum(optimizer):
            arguments.setdefault("cycle_momentum", False)
        try:
            self._torch = cls(optimizer, **arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"schedule {name}: {error}") from error
        self._steps, self._optimizer = float(getattr(self._torch, "total_steps", math.inf)), optimizer
        if self._steps < updates:
            raise ValueError(f"schedule {name} has {self._steps:,.0f} steps, and the run {updates:,} updates")
        optimizer._opt_called = True  # type: ignore[attr-defined] # torch looks at it only to warn at the first step

    def update(self, done: int) -> None:
        """After update number `done`."""
        # one-cycle refuses a step after its last one
        if self._torch is not None and not self._per_evaluation and done < self._steps:
            self._torch.step()

    def evaluation(self, measure: float) -> None:
        """After an evaluation."""
        if self._torch is not None and self._per_evaluation:
            self._torch.step(measure)

    def state_dict(self) -> dict[str, Any]:
        """torch's state, and the settings of the optimizer that it changes."""
        if self._torch is None:
            return {}
        own = {key: value for key, value in self._torch.state_dict().items() if _is_plain(value)}
        group = self._optimizer.param_groups[0]
        return {"schedule": own, "group": {key: group[key] for key in CHANGED if key in group}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._torch is not None:
            self._torch.load_state_dict(state["schedule"])
            self._optimizer.param_groups[0].update(state["group"])


def _classes() -> dict[str, Any]:
    """torch's schedules by name: CosineAnnealingLR is cosine-annealing."""
    found = {}
    for name, value in vars(lr_scheduler).items():
        public = isinstance(value, type) and issubclass(value, lr_scheduler.LRScheduler) and not name.startswith("_")
        if public and value is not lr_scheduler.LRScheduler and name not in NOT_BY_NAME:
            found[_kebab(name)] = value
    return found


def _kebab(name: str) -> str:
    plain = name.replace("LR", "")
    return re.sub(r"(?<!^)(?=[A-Z])", "-", plain).lower()


def _class(name: str) -> Any:
    return _classes()[SAME.get(name, name)]


def _fits(name: str, key: str) -> bool:
    """Whether the default of an argument is right for this schedule: `mode` means other things elsewhere."""
    return key != "mode" or SAME.get(name, name) == "reduce-on-plateau"


def _has_momentum(optimizer: torch.optim.Optimizer) -> bool:
    group = optimizer.param_groups[0]
    return "betas" in group or bool(group.get("momentum"))


def _is_plain(value: Any) -> bool:
    """Whether a checkpoint may hold it."""
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
