"""The figure of linear probes: bars for each target and representation, with their spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gymnast.fitting.probe_result import REPRESENTATIONS, ProbeResult

LOWEST = -0.1
"""Where bars of lower scores are cut off."""
COLOURS = dict(zip(REPRESENTATIONS, ("C0", "C1", "C7"), strict=True))


def draw(found: ProbeResult, path: Path) -> None:
    """Write the figure as PNG. Raises OSError."""
    from matplotlib.figure import Figure  # half a second to import

    names, count = found.representations, len(found.scores)
    figure: Any = Figure(figsize=(8, 1.6 + count * (0.16 + 0.16 * len(names))), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        rows = np.arange(count) + (index - (len(names) - 1) / 2) * height
        means = np.array([score.mean(name) for score in found.scores])
        spread = np.array([score.spread(name) for score in found.scores])
        axes.barh(rows, means.clip(min=LOWEST), height, color=COLOURS[name], label=name)
        shown = means > LOWEST
        axes.errorbar(
            means[shown], rows[shown], xerr=spread[shown], fmt="none", ecolor="black", elinewidth=1, capsize=2
        )
        for row, mean in zip(rows, means, strict=True):
            if mean <= LOWEST:
                axes.text(LOWEST, row, f" {mean:.2g}", va="center", fontsize=6, color="white")
    for row, score in enumerate(found.scores):
        if score.measure == "accuracy":
            label = None if axes.get_legend_handles_labels()[1].count("chance") else "chance"
            axes.plot([score.chance] * 2, [row - 0.45, row + 0.45], color="black", linestyle=":", label=label)
    axes.set_yticks(range(count), [f"{score.name} ({score.measure})" for score in found.scores])
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlim(LOWEST, 1.02)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(alpha=0.3, axis="x")
    axes.set_xlabel(f"score on test episodes, mean and standard deviation over {found.settings['repeats']} splits")
    axes.set_title(f"{found.network} on {found.env}", fontsize=11)
    figure.legend(loc="outside lower center", ncols=len(names) + 1, fontsize=9)
    figure.savefig(path)
