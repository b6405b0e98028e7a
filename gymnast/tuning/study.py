"""What to try next, by Optuna, and what has been tried. Only this file calls it."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from gymnast.errors import UsageError, first_line
from gymnast.tuning.kept import STUDY, Kept
from gymnast.tuning.options import TuneOptions
from gymnast.tuning.space import Space

SETTINGS = "settings"
RUNS, DRIVER, LEFT = "runs", "driver", "left"
"""Attributes of a trial: the name of its runs, the process that carries it out, and whether that one died."""
WARM_UP = 0.25
"""Share of a trial's first run before which the median prunes nothing."""
REDUCTION = 3
"""Hyperband keeps one of this many trials at each of its steps."""


@dataclass(frozen=True)
class Budget:
    """Env steps of a trial."""

    first: int
    """Up to the first evaluation."""
    run: int
    """Of one run."""
    trial: int
    """Of all its runs."""


class Study:
    """The trials of one study, kept in a data base, so that it survives its process."""

    def __init__(
        self, options: TuneOptions, space: Space, *, folder: Path, budget: Budget, kept: Kept | None = None
    ) -> None:
        """Open the study, or make it; `kept` is where its folder is kept, if at a URL.

        Raises UsageError for a storage that does not open.
        """
        self._options, self._space, self.budget = options, space, budget
        self._driver = f"{platform.node()}:{folder.absolute()}" if kept is None else kept.url
        url = options.storage or f"sqlite:///{(folder / STUDY).absolute().as_posix()}"
        self._own = options.storage is None
        self._kept = kept if self._own else None
        with quiet():
            try:
                self.inner = optuna.create_study(
                    storage=url,
                    study_name=folder.name,  # hyperband draws from it
                    direction="maximize",
                    load_if_exists=True,
                    pruner=self._pruner(),
                )
            except Exception as error:  # of the data base's driver, which may be any
                raise UsageError(f"--storage {url} cannot be opened: {first_line(error)}") from error

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial, whatever its state."""
        return self.inner.get_trials(deepcopy=False)

    @property
    def counted(self) -> list[FrozenTrial]:
        """The trials that have been started and were not left by a process that died."""
        return [trial for trial in self.trials if trial.state != TrialState.WAITING and LEFT not in trial.user_attrs]

    @property
    def ended(self) -> list[FrozenTrial]:
        """The counted trials that are not running."""
        return [trial for trial in self.counted if trial.state.is_finished()]

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials with a score, the best first."""
        found = [(trial, trial.value) for trial in self.trials if trial.state == TrialState.COMPLETE]
        return [trial for trial, _ in sorted(found, key=lambda pair: (-float(pair[1] or 0.0), pair[0].number))]

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Note what the trials have in common; UsageError if the study was begun with something else."""
        kept = self.inner.user_attrs.get(SETTINGS)
        if kept is None:
            self.inner.set_user_attr(SETTINGS, dict(settings))
            return
        for name in dict.fromkeys((*settings, *kept)):
            if kept.get(name) != settings.get(name):
                values = [str(found[name]) if name in found else "not given" for found in (kept, settings)]
                raise UsageError(
                    f"the study {self.inner.study_name} is a different one: {name} is {values[0]} there, "
                    f"but {values[1]} here; choose another --name"
                )

    def revive(self) -> None:
        """Mark trials of this folder that a process left running as failed, and queue their settings again."""
        queued = {trial.user_attrs.get(RUNS) for trial in self.trials if trial.state == TrialState.WAITING}
        for trial in self.trials:
            if trial.state != TrialState.RUNNING or not (self._own or trial.user_attrs.get(DRIVER) == self._driver):
                continue
            runs = trial.user_attrs.get(RUNS)
            if trial.params and runs not in queued:  # killed between the two, it would be queued twice
                with quiet():
                    self.inner.enqueue_trial(trial.params, user_attrs={RUNS: runs})
            optuna.trial.Trial(self.inner, trial._trial_id).set_user_attr(LEFT, True)
            self.inner.tell(trial.number, state=TrialState.FAIL)

    def ask(self) -> optuna.Trial | None:
        """The next trial; None if there are enough."""
        counted = len(self.counted)
        if not any(trial.state == TrialState.WAITING for trial in self.trials):
            if self._options.sampler == "grid":
                point = next(self._untried(), None)
                if point is None:
                    return None
                self.inner.enqueue_trial(point)
            elif counted >= self.wanted:
                return None
        with quiet():
            self.inner.sampler = self._sampler(counted)
            trial = self.inner.ask(fixed_distributions=self._space.distributions())
        trial.set_user_attr(DRIVER, self._driver)
        if RUNS not in trial.user_attrs:
            trial.set_user_attr(RUNS, f"trial-{trial.number:04}")
        self._keep()  # before its runs begin, which carry its number
        return trial

    @property
    def wanted(self) -> int:
        """How many trials the study is to have."""
        assert self._options.trials is not None
        return self._options.trials

    def tell(self, trial: optuna.Trial, value: float | None, *, pruned: bool = False) -> None:
        """End a trial with its score; without one it was pruned or failed."""
        state = TrialState.PRUNED if pruned else TrialState.FAIL if value is None else TrialState.COMPLETE
        self.inner.tell(trial, value, state=state)
        self._keep()

    def _keep(self) -> None:
        """Send the data base to where the study is kept; between two of this process's writes it is complete."""
        if self._kept is not None:
            self._kept.send(STUDY)

    def importances(self) -> dict[str, float]:
        """Optuna's importance of each setting, the largest first; empty if the scores do not differ."""
        if len({trial.value for trial in self.complete}) < 2:
            return {}
        with quiet():
            found: dict[str, float] = optuna.importance.get_param_importances(self.inner)
        return found

    def _untried(self) -> Iterator[dict[str, Any]]:
        """Points of the grid, in its order, without those that were tried; a trial that failed is not repeated."""
        tried = [trial.params for trial in self.counted]
        return (point for point in self._space.grid() if point not in tried)

    def _sampler(self, counted: int) -> optuna.samplers.BaseSampler:
        """A sampler for one trial, seeded by the number of those before it: a restarted study repeats none of them."""
        samplers, sampler = optuna.samplers, self._options.sampler
        seed = int(np.random.SeedSequence([self._options.seed, counted]).generate_state(1)[0])
        if sampler == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=self._options.jobs > 1 or bool(self._options.ray))
        if sampler == "gp":
            return samplers.GPSampler(seed=seed)
        if sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return samplers.RandomSampler(seed=seed)  # points of a grid are queued, so it draws nothing for them

    def _pruner(self) -> optuna.pruners.BasePruner:
        pruners, budget = optuna.pruners, self.budget
        if self._options.pruner == "median":
            return pruners.MedianPruner(n_warmup_steps=int(WARM_UP * budget.run))
        if self._options.pruner == "hyperband":
            return pruners.HyperbandPruner(
                min_resource=min(budget.first, budget.trial), max_resource=budget.trial, reduction_factor=REDUCTION
            )
        return pruners.NopPruner()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and its notes on experimental parts from the terminal."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
