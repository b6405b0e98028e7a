"""`gymnast ablate rainbow`: DQN with each part of Rainbow, and Rainbow without each (Hessel et al. 2018, figures 1, 3).

Every variant is the agent `dqn` or `rainbow` with the settings that it has in the environment's presets, and one flag.
Without noisy layers Rainbow explores by its preset's schedule of epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnast import figures, suites
from gymnast.benchmark import Variant, carry_out
from gymnast.comparison import Comparison
from gymnast.suite_options import AblateOptions

PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "double": (("--double",), ("--no-double",)),
    "dueling": (("--dueling",), ("--no-dueling",)),
    "prioritized": (("--prioritized",), ("--no-prioritized",)),
    "noisy": (("--noisy",), ("--no-noisy",)),
    "n-step": (("--n-step", "3"), ("--n-step", "1")),
    "distributional": (("--values", "categorical"), ("--values", "scalar")),
}
"""The flags that switch each part of Rainbow on in DQN, and off in Rainbow."""
VARIANTS: tuple[Variant, ...] = (
    Variant("DQN", "dqn", folder="plain"),
    *(Variant(f"DQN + {part}", "dqn", words=on, folder=f"with-{part}") for part, (on, _) in PARTS.items()),
    *(Variant(f"Rainbow - {part}", "rainbow", words=off, folder=f"without-{part}") for part, (_, off) in PARTS.items()),
    Variant("Rainbow", "rainbow", folder="whole"),
)


def ablate(options: AblateOptions, extra: Sequence[str] = ()) -> int:
    """Run what is missing of the 14 variants, and write a report with one figure of them all; the exit code.

    `extra` are words of `gymnast train` for every run. Raises UsageError before anything starts.
    """
    chosen = suites.choose(options.env)
    name = options.name or f"ablate-{options.agent}"
    return carry_out(options, chosen, VARIANTS, name=name, extra=extra, draw={"ablation.png": figure})


def figure(found: Comparison) -> Any:
    """A row for each game: learning curves of all variants, and beside them their final scores."""
    games = found.table.games
    looks = colours(found.table.agents)
    drawn = figures.new_figure(12.0, 4.6 * len(games) + 0.6)
    panels = drawn.subplots(len(games), 2, squeeze=False, width_ratios=[1.4, 1.0])
    for (left, right), game in zip(panels, games, strict=True):
        moments, bands = found.curves[game]
        figures.draw_curves(left, moments, bands, looks=looks)
        for line, agent in zip(left.lines, bands, strict=True):
            line.set_linestyle("--" if "+" in agent else "-")
            line.set_linewidth(2.6 if agent in ("DQN", "Rainbow") else 1.3)
        left.set_title(f"{game}: {figures.return_name(found)}, mean over seeds", fontsize=10)
        left.set_ylabel("return")
        left.legend(fontsize=7, ncols=2)
        scores = {agent: found.cells[agent, game] for agent in found.table.agents if (agent, game) in found.cells}
        figures.draw_points(right, scores, looks=looks)
        right.set_title(f"{game}: final return, mean over seeds", fontsize=10)
        right.set_xlabel("return")
    drawn.suptitle(f"Rainbow in parts, with {figures.BAND}s over seeds", fontsize=11)
    return drawn


def colours(agents: Sequence[str]) -> dict[str, Any]:
    """One hue for each part: dark where Rainbow lacks it, light where DQN has it."""
    from matplotlib import colormaps

    pairs = colormaps["tab20"]
    looks: dict[str, Any] = {"DQN": "black", "Rainbow": "crimson"}
    for index, part in enumerate(PARTS):
        looks[f"Rainbow - {part}"], looks[f"DQN + {part}"] = pairs(2 * index), pairs(2 * index + 1)
    return {agent: looks[agent] for agent in agents}
