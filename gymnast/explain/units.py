"""Dead and dormant units of every layer, and weights as Hinton diagrams."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.played import BATCH
from gymnast.networks.insight.units import Activity

TAU = 0.025
"""Share of the layer's mean activation at or below which a unit is dormant (Sokar et al. 2023, section 3)."""
ROWS, COLUMNS = 32, 64
"""Rows and columns of a Hinton diagram, at most."""


@torch.no_grad()
def activities(context: Context) -> dict[str, Activity]:
    """What the units of each layer did over all steps played."""
    found: dict[str, Activity] = {}
    memory = context.played.memory
    for low in range(0, len(context.played.x), BATCH):
        part = slice(low, low + BATCH)
        before = None if memory is None else memory[part]
        for name, layer in context.subject.layers(context.played.x[part], before).items():
            own = Activity.of(layer)
            found[name] = own if name not in found else found[name].plus(own)
    return found


def units(context: Context) -> Section:
    """The part `units`."""
    context.told("dead and dormant units")
    found = activities(context)
    hidden = {name: one for name, one in found.items() if one.activated}
    numbers = {
        name: {
            "units": len(one.mean),
            "activated": one.activated,
            **({"dead": int(one.dead.sum()), "dormant": int(one.dormant(TAU).sum())} if one.activated else {}),
            "mean_activation": float(one.mean.mean()),
        }
        for name, one in found.items()
    }
    rows = [
        (
            name,
            *(f"{one[key]:,}" if key in one else "–" for key in ("units", "dead", "dormant")),
            f"{one['mean_activation']:.3g}",
        )
        for name, one in numbers.items()
    ]
    shown = (_curves(context, hidden),) if hidden else ()
    text = (
        f"Over {len(context.played.x):,} steps, a dead unit's activation was always 0; a dormant one's was at most "
        f"{TAU:g} of its layer's mean (Sokar et al. 2023), dead ones included. A channel counts over all its "
        "positions. Layers without an activation have neither."
    )
    heading = ("layer", "units", "dead", "dormant", "mean activation")
    total = {
        "dead": sum(int(one.dead.sum()) for one in hidden.values()),
        "dormant": sum(int(one.dormant(TAU).sum()) for one in hidden.values()),
        "units": sum(len(one.mean) for one in hidden.values()),
    }
    return Section("Units", text, shown, {"tau": TAU, "hidden": total, "layers": numbers}, (heading, *rows))


def _curves(context: Context, hidden: dict[str, Activity]) -> Shown:
    """The units of each layer by their activation, largest first."""
    figure, axes = view.grid(1, 1, aspect=0.4, side=8.0)
    panel = axes[0, 0]
    for name, one in hidden.items():
        share = one.mean.sort(descending=True).values / one.mean.mean().clamp(min=1e-300)
        place = (np.arange(len(share)) + 0.5) / len(share)
        panel.plot(place, np.maximum(share.cpu().numpy(), 1e-4), label=name, drawstyle="steps-mid")
    panel.axhline(TAU, color="black", linestyle=":", label="dormant below")
    panel.set_yscale("log")
    panel.set_ylim(8e-5, None)
    panel.set_xticks(np.linspace(0, 1, 5), [f"{share:.0%}" for share in np.linspace(0, 1, 5)])
    panel.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1, 10])
    panel.set_xlabel("units of the layer, the most active first", fontsize=8)
    panel.set_ylabel("mean activation / layer's mean", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=7)
    panel.grid(alpha=0.3)
    return context.save(figure, "units.png", "Dead units are on the lower edge.")


def weights(context: Context) -> Section:
    """The part `weights`."""
    context.told("weights")
    modules = dict(context.subject.network.named_modules())
    found = list(context.subject.deciding(context.subject.layers(context.played.x[:1])))
    names = list(dict.fromkeys([found[0], context.layer, found[-1]]))
    shown, numbers, rows = [], {}, []
    for name in names:
        weight = modules[name].weight.detach().cpu()
        table, cut = matrix(weight)
        shown.append(hinton(context, name, table, cut))
        flat = weight.flatten(1)
        singular = torch.linalg.svdvals(flat.double())
        numbers[name] = {
            "shape": list(weight.shape),
            "mean": float(weight.mean()),
            "std": float(weight.std(correction=0)),
            "largest": float(weight.abs().max()),
            "spectral_norm": float(singular[0]),
            "stable_rank": float(singular.square().sum() / singular[0].square().clamp(min=1e-300)),
        }
        one: Any = numbers[name]
        rows.append((name, "x".join(map(str, one["shape"])), *(f"{one[key]:.3g}" for key in _KEYS)))
    text = (
        "The first layer, the chosen one and the last one, as Hinton diagrams: the area of a square is the size "
        "of a weight, light ones are positive and dark ones negative. Of large layers the rows and columns with the "
        "largest norms are shown, in their order."
    )
    heading = ("layer", "shape", "deviation", "largest", "spectral norm", "stable rank")
    return Section("Weights", text, tuple(shown), numbers, (heading, *rows))


_KEYS = ("std", "largest", "spectral_norm", "stable_rank")


def matrix(weight: Tensor) -> tuple[Tensor, str]:
    """A layer's weights as a table [R, C] of at most `ROWS` x `COLUMNS`, and in words what was left out.

    A filter [O, I, h, w] is a row of its kernels, each with its lines one after the other.
    """
    flat = weight.flatten(1)
    rows, columns = flat.shape
    if rows > ROWS:
        flat = flat[flat.norm(dim=1).topk(ROWS).indices.sort().values]
    if columns > COLUMNS:
        flat = flat[:, flat.norm(dim=0).topk(COLUMNS).indices.sort().values]
    if flat.shape == (rows, columns):
        return flat, ""
    return flat, f", {flat.shape[0]} of {rows:,} units and {flat.shape[1]} of {columns:,} inputs"


def hinton(context: Context, name: str, table: Tensor, cut: str) -> Shown:
    """Draw a Hinton diagram, lying if the table stands."""
    stands = table.shape[0] > table.shape[1]
    rows, columns = (table.T if stands else table).shape
    cell = max(min(0.16, 10.0 / columns), 2.0 / columns)
    figure, axes = view.grid(1, 1, aspect=rows / columns, side=cell * columns)
    panel = axes[0, 0]
    panel.set_facecolor("0.5")
    panel.add_collection(_squares((table.T if stands else table).numpy()))
    panel.set_xlim(-0.6, columns - 0.4)
    panel.set_ylim(rows - 0.4, -0.6)
    panel.set_aspect("equal")
    order = "a column for each unit, a row for each input" if stands else "a row for each unit, a column for each input"
    return context.save(figure, f"weights-{name.replace('.', '-')}.png", f"{name}{cut}: {order}.")


def _squares(table: NDArray[np.float32]) -> Any:
    """A square for each weight, whose area is its size."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    largest = float(np.abs(table).max()) or 1.0
    sides = np.sqrt(np.abs(table) / largest)
    patches = [
        Rectangle((column - side / 2, row - side / 2), side, side) for (row, column), side in np.ndenumerate(sides)
    ]
    colours = ["white" if weight > 0 else "black" for weight in table.flat]
    return PatchCollection(patches, facecolors=colours, linewidths=0)
