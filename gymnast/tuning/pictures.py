"""The pictures of a study, as PNG. A bare Figure needs no display and no global state."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

from gymnast.tuning.study import Study

HISTORY, IMPORTANCE = "history.png", "importance.png"


def draw(study: Study, folder: Path) -> list[Path]:
    """Draw what the trials allow, and return the files; a picture that they no longer allow is removed."""
    figures = {HISTORY: history(study), IMPORTANCE: importance(study)}
    for name, figure in figures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
        else:
            figure.savefig(folder / name)
    return [folder / name for name, figure in figures.items() if figure is not None]


def history(study: Study) -> Any:
    """The matplotlib figure of each trial's score, of a pruned one when it was pruned, and of the best so far."""
    figure = _new(8.0, 4.5)
    axes = figure.add_subplot()
    complete = sorted((trial.number, float(trial.value or 0.0)) for trial in study.complete)
    numbers, values = zip(*complete, strict=True)
    pruned = [
        (trial.number, trial.intermediate_values[trial.last_step])
        for trial in study.ended
        if trial.state.name == "PRUNED" and trial.last_step is not None
    ]
    axes.plot(numbers, values, "o", color="C0", label="complete")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color="C7", label="pruned")
    ends, best = [*numbers, study.ended[-1].number], [*accumulate(values, max), max(values)]
    axes.step(ends, best, where="post", color="C1", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("score")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def importance(study: Study) -> Any:
    """The matplotlib figure of Optuna's importance of each setting; None if the trials do not tell them apart."""
    found = study.importances()
    if not found:
        return None
    names, values = list(found)[::-1], list(found.values())[::-1]
    figure = _new(8.0, 1.2 + 0.35 * len(names))
    axes = figure.add_subplot()
    axes.barh(names, values, color="C0")
    axes.set_xlabel("importance for a high score (PED-ANOVA)")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _new(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # half a second, and needed once at the end

    return Figure(figsize=(width, height), dpi=120, layout="constrained")
