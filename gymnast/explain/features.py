"""Feature visualisation: the observation that excites a unit most, beside the one played that does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.canvases import canvas_of, read_by, unread
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.form import Part
from gymnast.explain.played import BATCH
from gymnast.networks.insight.ascent import Ascent, climb

UNITS = 6
"""Units that are shown unless some are asked for: those whose activations vary most over the steps played."""


AMPLITUDE = 0.1
"""Of the noise that ascent begins with."""


def features(context: Context) -> Section:
    """The part `features`."""
    excited, active = responses(context)
    units = list(context.options.unit) or most_varied(active, excited.shape[1])
    context.told(f"gradient ascent for {len(units)} units of {context.layer}")
    parts = read_by(context, outputs(context))
    made = visualised(context, units, parts)
    with torch.no_grad():
        reached = outputs(context)(made)[range(len(units)), units]
    best = excited[:, units].argmax(0)
    shown = [
        _pictures(context, part, file, units, made, best)
        for part, file in context.form.files("features")
        if part in parts
    ]
    if any(part in parts for part in context.form.vectors):
        shown.append(_bars(context, units, made, best))
    found: list[dict[str, Any]] = [
        {
            "unit": unit,
            "reached": float(reached[place]),
            "played_largest": float(excited[best[place], unit]),
            "played_largest_step": int(best[place]),
            "played_mean": float(excited[:, unit].mean()),
        }
        for place, unit in enumerate(units)
    ]
    keys = ("reached", "played_largest", "played_mean")
    rows = [(str(one["unit"]), *(f"{one[key]:.3g}" for key in keys)) for one in found]
    text = (
        f"Gradient ascent made an observation that excites a unit of the layer {context.layer}; regularisation keeps "
        "it smooth and near the median. Beside it is the observation played that excites the unit most. The numbers "
        "are outputs before the activation; a channel's is the mean over its positions."
    )
    if context.subject.memory_size:
        text += " The memory is empty for all of them."
    text += unread(context, parts)
    if any(part.choices for part in parts):
        text += " In an observation that was made, a choice may be a mixture of its alternatives."
    heading = ("unit", "by ascent", "largest played", "mean played")
    return Section("Features", text, tuple(shown), {"layer": context.layer, "units": found}, (heading, *rows))


def outputs(context: Context) -> Callable[[Tensor], Tensor]:
    """The layer's outputs before the activation, of observations [B, ...]: [B, U], a channel's mean over positions."""

    return lambda x: _means(context.subject.layers(x)[context.layer].output)


@torch.no_grad()
def responses(context: Context) -> tuple[Tensor, Tensor]:
    """The layer's outputs [N, U] for all observations played, before the activation and after it.

    The memory of a recurrent agent is empty, as it is in ascent, so that both compare.
    """
    before, after = [], []
    for part in torch.split(context.played.x, BATCH):
        layer = context.subject.layers(part)[context.layer]
        before.append(_means(layer.output))
        after.append(_means(layer.active))
    return torch.cat(before), torch.cat(after)


def most_varied(active: Tensor, count: int) -> list[int]:
    """The units, of the first `count`, whose activations [N, U] vary most, the most varied first."""
    return active[:, :count].std(0, correction=0).topk(min(UNITS, count)).indices.tolist()


def _means(output: Tensor) -> Tensor:
    """[B, U], or [B, C, ...] as the means [B, C] over the positions."""
    return output.flatten(2).mean(2) if output.dim() > 2 else output


def visualised(context: Context, units: list[int], parts: Sequence[Part]) -> Tensor:
    """An observation for each unit, [K, ...], of which these parts are made and the others are at the median."""
    limits, read, generator = context.range, outputs(context), context.generator("features")
    rows = torch.arange(len(units), device=context.subject.device)
    index = torch.tensor(units, device=context.subject.device)
    canvas = canvas_of(context, len(units), middle=limits.middle, amplitude=AMPLITUDE, generator=generator, parts=parts)
    settings = Ascent(steps=context.options.ascent_steps)
    if sizes := [min(part.view.size) for part in context.form.pictures]:
        settings = dataclasses.replace(settings, jitter=min(sizes) // 20)
    shifts = torch.Generator().manual_seed(generator.initial_seed())
    return climb(lambda x: read(x)[rows, index], canvas, settings=settings, generator=shifts)


def _pictures(context: Context, part: Part, file: str, units: list[int], made: Tensor, best: Tensor) -> Shown:
    own, form = part.view, context.form
    first = own.strip(form.of(made[0], part))
    wide = own.frames > 1
    columns = 2 if wide else len(units)
    rows = len(units) if wide else 2
    side = 4.6 if wide else 1.9
    figure, axes = view.grid(rows, columns, aspect=first.shape[0] / first.shape[1], side=side)
    for place, unit in enumerate(units):
        panels = axes[place] if wide else axes[:, place]
        view.show(panels[0], own.strip(form.of(made[place], part)))
        view.show(panels[1], own.strip(form.of(context.played.x[best[place]], part)))
        (panels[0].set_ylabel if wide else panels[0].set_title)(f"unit {unit}", fontsize=9)
    if wide:
        axes[0, 0].set_title("gradient ascent", fontsize=9)
        axes[0, 1].set_title("most exciting observation played", fontsize=9)
    else:
        axes[0, 0].set_ylabel("ascent", fontsize=9)
        axes[1, 0].set_ylabel("played", fontsize=9)
    frames = " All frames of the stack, the oldest first." if wide else ""
    return context.save(figure, file, f"{part.title}Units of {context.layer}.{frames}")


def _bars(context: Context, units: list[int], made: Tensor, best: Tensor) -> Shown:
    figure, axes = view.grid(2, len(units), aspect=0.8)
    for place, unit in enumerate(units):
        for panel, x in zip(axes[:, place], (made[place], context.played.x[best[place]]), strict=True):
            shares = (x - context.range.middle) / context.range.span
            view.bars(panel, context.form.numbers(shares, context.form.vectors))
            panel.set_ylim(-1.05, 1.05)
        axes[0, place].set_title(f"unit {unit}", fontsize=9)
    axes[0, 0].set_ylabel("ascent", fontsize=9)
    axes[1, 0].set_ylabel("played", fontsize=9)
    caption = f"Units of {context.layer}: each component less its median, as a share of its range."
    return context.save(figure, "features.png", caption + context.form.components)
