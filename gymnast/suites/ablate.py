"""`gymnast ablate AGENT`: an agent without each of its parts; for Rainbow, DQN with each of them too.

Every variant is the agent with its settings in the environment's presets, and one change (Hessel et al. 2018, figures 1
and 3; Clark et al. 2025; Schwarzer et al. 2023). Without noisy layers Rainbow explores by its preset's schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gymnast.reports import figures
from gymnast.reports.comparison import Comparison
from gymnast.suites import suites
from gymnast.suites.benchmark import Variant, carry_out
from gymnast.suites.options import AblateOptions

COLUMNS = 3
"""Panels of parts next to each other in the figure."""
RAINBOW: dict[str, tuple[str, ...]] = {
    "double": ("--no-double",),
    "dueling": ("--no-dueling",),
    "prioritized": ("--no-prioritized",),
    "noisy": ("--no-noisy",),
    "n-step": ("--n-step", "1"),
    "distributional": ("--values", "scalar"),
}
"""Flags that switch each part of Rainbow off."""
ADDED: dict[str, tuple[str, ...]] = {
    "double": ("--double",),
    "dueling": ("--dueling",),
    "prioritized": ("--prioritized",),
    "noisy": ("--noisy",),
    "n-step": ("--n-step", "3"),
    "distributional": ("--values", "categorical"),
}
"""Flags that switch each part of Rainbow on in DQN."""


class Ablation(NamedTuple):
    """What `gymnast ablate` compares for one agent."""

    label: str
    """The agent's name in tables and figures."""
    without: Mapping[str, tuple[str, ...]]
    """Flags that switch each part off."""
    added: Mapping[str, tuple[str, ...]] = {}
    """Flags that switch the same parts on in DQN, if DQN is compared too."""

    def variants(self, agent: str) -> tuple[Variant, ...]:
        """DQN alone and with each part, the agent without each part, and the agent."""
        parts = self.added.items()
        plain = (Variant("DQN", "dqn", folder="plain"),) if parts else ()
        return (
            *plain,
            *(Variant(f"DQN + {part}", "dqn", words=on, folder=f"with-{part}") for part, on in parts),
            *(
                Variant(f"{self.label} - {part}", agent, words=off, folder=f"without-{part}")
                for part, off in self.without.items()
            ),
            Variant(self.label, agent, folder="whole"),
        )


SPR: dict[str, tuple[str, ...]] = {
    "self-prediction": ("--auxiliary", "none"),
    "augmentation": ("--augment", "none"),
    "prioritized": ("--no-prioritized",),
    "double": ("--no-double",),
    "dueling": ("--no-dueling",),
    "distributional": ("--values", "scalar"),
}
"""Flags that switch off each part that SPR and BBF share."""
ABLATIONS: dict[str, Ablation] = {
    "rainbow": Ablation("Rainbow", RAINBOW, ADDED),
    "spr": Ablation("SPR", SPR | {"noisy": ("--no-noisy",), "n-step": ("--n-step", "1")}),
    "bbf": Ablation(
        "BBF",
        {
            "resets": ("--reset-period", "0"),
            "annealing": ("--anneal-steps", "0", "--n-step", "3", "--gamma", "0.997"),
            "weight decay": ("--weight-decay", "0"),
            "target acting": ("--no-act-by-target",),
            **SPR,
        },
    ),
    "btr": Ablation(
        "BTR",
        {
            "Munchausen": ("--no-munchausen",),
            "distributional": ("--values", "scalar"),
            "prioritized": ("--no-prioritized",),
            "noisy": ("--no-noisy",),
            "dueling": ("--no-dueling",),
            "n-step": ("--n-step", "1"),
        },
    ),
}
"""What is compared, by agent; `AblateOptions` knows the names."""


def ablate(options: AblateOptions, extra: Sequence[str] = ()) -> int:
    """Run the variants that are missing, write a report with one figure of all, and return the exit code.

    `extra` are options of `gymnast train` for every run. Raises UsageError before anything starts.
    """
    chosen = suites.choose(options.env)
    name = options.name or f"ablate-{options.agent}"
    ablation = ABLATIONS[options.agent]
    draw = {"ablation.png": partial(figure, ablation=ablation)}
    return carry_out(options, chosen, ablation.variants(options.agent), name=name, extra=extra, draw=draw)


def figure(found: Comparison, ablation: Ablation) -> Any:
    """For each game, a panel of learning curves per part, next to the final scores of all variants."""
    games, label = found.table.games, ablation.label
    looks = colours(found.table.agents, label)
    rows = -(-len(ablation.without) // COLUMNS)
    drawn = figures.new_figure(15.0, 3.2 * rows * len(games) + 0.6)
    grid = drawn.add_gridspec(rows * len(games), COLUMNS + 1, width_ratios=[1] * COLUMNS + [1.15])
    for place, game in enumerate(games):
        moments, bands = found.curves[game]
        axes = None
        for index, part in enumerate(ablation.without):
            axes = drawn.add_subplot(grid[rows * place + index // COLUMNS, index % COLUMNS], sharey=axes)
            shown = ("DQN", f"DQN + {part}", f"{label} - {part}", label)
            named = {agent: agent.replace(part, "the part") for agent in shown if agent in bands}
            figures.draw_curves(
                axes,
                moments,
                {named[agent]: bands[agent] for agent in named},
                looks={named[agent]: looks[agent] for agent in named},
            )
            axes.set_title(f"{game}: {part}", fontsize=10)
            if index % COLUMNS == 0:
                axes.set_ylabel(figures.return_name(found))
        axes = drawn.add_subplot(grid[rows * place : rows * (place + 1), COLUMNS])
        scores = {agent: found.cells[agent, game] for agent in found.table.agents if (agent, game) in found.cells}
        figures.draw_points(axes, scores, looks=looks)
        axes.set_title(f"{game}: final return", fontsize=10)
        axes.set_xlabel("return")
    drawn.suptitle(f"{label} in parts: mean over seeds, with its {figures.BAND}", fontsize=12)
    figures.legend_below(drawn)
    return drawn


def colours(agents: Sequence[str], label: str) -> dict[str, str]:
    """Colours of DQN, the agent of this label, DQN with a part and the agent without one."""
    plain = {"DQN": "black", label: "crimson"}
    return {agent: plain.get(agent, "tab:blue" if agent.startswith("DQN") else "tab:orange") for agent in agents}
