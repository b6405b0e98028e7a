"""Where observations are made by gradient descent: one canvas, or one for each part that a network reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gymnast.explain.context import Context
from gymnast.explain.form import Part
from gymnast.networks.insight.attribution import gradient
from gymnast.networks.insight.canvas import Canvas, Collage


def canvas_of(
    context: Context,
    count: int,
    *,
    middle: Tensor,
    amplitude: float,
    generator: torch.Generator,
    parts: Sequence[Part],
) -> Canvas | Collage:
    """A canvas of `count` observations around the middle [...]; all but some parts stay there."""
    form, limits = context.form, context.range
    canvases = [
        Canvas(
            count,
            low=form.of(limits.low, part),
            high=form.of(limits.high, part),
            middle=form.of(middle, part),
            axes=part.view.axes,
            amplitude=amplitude,
            generator=generator,
        )
        if part in parts
        else None
        for part in form.parts
    ]
    if not form.is_flat:
        assert canvases[0] is not None
        return canvases[0]
    shapes = [part.view.space.shape for part in form.parts]
    made = list(zip(shapes, canvases, strict=True))
    return Collage(made, low=limits.low, high=limits.high, middle=middle, count=count)


def read_by(context: Context, outputs: Callable[[Tensor], Tensor]) -> list[Part]:
    """The parts of an observation that outputs [B, ...] of a layer depend on; all if it seems to be none."""
    form = context.form
    if not form.is_flat:
        return form.parts
    slopes = gradient(lambda x: outputs(x).flatten(1).square().sum(1), context.played.x[context.frames])
    return [part for part in form.parts if bool(slopes[:, part.place].any())] or form.parts


def unread(context: Context, parts: Sequence[Part]) -> str:
    """A sentence on the parts that are not among these; empty if all are."""
    names = [part.name for part in context.form.parts if part not in parts]
    return f" Not shown, since the layers do not read them: {', '.join(names)}." if names else ""
