"""`gymnast ablate rainbow`: DQN with each part of Rainbow, and Rainbow without each (Hessel et al. 2018, figures 1, 3).

Every variant is the agent `dqn` or `rainbow` with its settings in the environment's presets, and one flag. Without
noisy layers Rainbow explores by its preset's epsilon schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnast.reports import figures
from gymnast.reports.comparison import Comparison
from gymnast.suites import suites
from gymnast.suites.benchmark import Variant, carry_out
from gymnast.suites.options import AblateOptions

PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "double": (("--double",), ("--no-double",)),
    "dueling": (("--dueling",), ("--no-dueling",)),
    "prioritized": (("--prioritized",), ("--no-prioritized",)),
    "noisy": (("--noisy",), ("--no-noisy",)),
    "n-step": (("--n-step", "3"), ("--n-step", "1")),
    "distributional": (("--values", "categorical"), ("--values", "scalar")),
}
"""Flags that switch each part of Rainbow on in DQN, and off in Rainbow."""
VARIANTS: tuple[Variant, ...] = (
    Variant("DQN", "dqn", folder="plain"),
    *(Variant(f"DQN + {part}", "dqn", words=on, folder=f"with-{part}") for part, (on, _) in PARTS.items()),
    *(Variant(f"Rainbow - {part}", "rainbow", words=off, folder=f"without-{part}") for part, (_, off) in PARTS.items()),
    Variant("Rainbow", "rainbow", folder="whole"),
)


def ablate(options: AblateOptions, extra: Sequence[str] = ()) -> int:
    """Run the missing ones of the 14 variants, write a report with one figure of all, and return the exit code.

    `extra` are options of `gymnast train` for every run. Raises UsageError before anything starts.
    """
    chosen = suites.choose(options.env)
    name = options.name or f"ablate-{options.agent}"
    return carry_out(options, chosen, VARIANTS, name=name, extra=extra, draw={"ablation.png": figure})


def figure(found: Comparison) -> Any:
    """For each game, a panel of learning curves per part, next to the final scores of all variants."""
    games = found.table.games
    looks = colours(found.table.agents)
    drawn = figures.new_figure(15.0, 6.4 * len(games) + 0.6)
    grid = drawn.add_gridspec(2 * len(games), 4, width_ratios=[1, 1, 1, 1.15])
    for row, game in enumerate(games):
        moments, bands = found.curves[game]
        axes = None
        for index, part in enumerate(PARTS):
            axes = drawn.add_subplot(grid[2 * row + index // 3, index % 3], sharey=axes)
            shown = ("DQN", f"DQN + {part}", f"Rainbow - {part}", "Rainbow")
            named = {agent: agent.replace(part, "the part") for agent in shown if agent in bands}
            figures.draw_curves(
                axes,
                moments,
                {named[agent]: bands[agent] for agent in named},
                looks={named[agent]: looks[agent] for agent in named},
            )
            axes.set_title(f"{game}: {part}", fontsize=10)
            if index % 3 == 0:
                axes.set_ylabel(figures.return_name(found))
        axes = drawn.add_subplot(grid[2 * row : 2 * row + 2, 3])
        scores = {agent: found.cells[agent, game] for agent in found.table.agents if (agent, game) in found.cells}
        figures.draw_points(axes, scores, looks=looks)
        axes.set_title(f"{game}: final return", fontsize=10)
        axes.set_xlabel("return")
    drawn.suptitle(f"Rainbow in parts: mean over seeds, with its {figures.BAND}", fontsize=12)
    figures.legend_below(drawn)
    return drawn


def colours(agents: Sequence[str]) -> dict[str, str]:
    """Colours of DQN, Rainbow, DQN with a part and Rainbow without one."""
    plain = {"DQN": "black", "Rainbow": "crimson"}
    return {agent: plain.get(agent, "tab:blue" if agent.startswith("DQN") else "tab:orange") for agent in agents}
