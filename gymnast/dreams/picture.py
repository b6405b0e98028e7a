"""The figure of a world model's errors against the horizon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gymnast.dreams.result import Curve, DreamResult


def draw(found: DreamResult, path: Path) -> None:
    """Write the figure as PNG: means, and bands from quartile to quartile. Raises OSError."""
    from matplotlib.figure import Figure  # half a second to import

    count = len(found.quantities)
    figure: Any = Figure(figsize=(4.2 * count, 3.8), dpi=120, layout="constrained")
    for axes, quantity in zip(figure.subplots(1, count), found.quantities, strict=True):
        _curve(axes, quantity.baseline, "C7", quantity.baseline_name)
        _curve(axes, quantity.model, "C0", "world model")
        axes.set_title(quantity.name, fontsize=10)
        axes.set_xlabel("steps ahead")
        axes.set_ylabel(f"error ({quantity.unit})", fontsize=9)
        axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"{found.agent} on {found.env}: predictions after watching {found.settings['context']} steps")
    figure.savefig(path)


def _curve(axes: Any, curve: Curve, colour: str, label: str) -> None:
    steps = np.arange(1, len(curve.mean) + 1)
    marker = "o" if len(steps) == 1 else None
    axes.fill_between(steps, curve.lower_quartile, curve.upper_quartile, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, curve.mean, color=colour, label=label, marker=marker)
