"""Where observations are made by gradient descent: one canvas, or one for each part of an observation."""

from __future__ import annotations

import torch
from torch import Tensor

from gymnast.explain.context import Context
from gymnast.networks.insight.canvas import Canvas, Collage


def canvas_of(
    context: Context,
    count: int,
    *,
    middle: Tensor,
    amplitude: float,
    generator: torch.Generator,
    pictures_only: bool = False,
) -> Canvas | Collage:
    """A canvas of `count` observations around the middle [...]; with `pictures_only` the other parts stay there."""
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
        if part.view.axes is not None or not pictures_only
        else None
        for part in form.parts
    ]
    if not form.is_flat:
        assert canvases[0] is not None
        return canvases[0]
    shapes = [part.view.space.shape for part in form.parts]
    parts = list(zip(shapes, canvases, strict=True))
    return Collage(parts, low=limits.low, high=limits.high, middle=middle, count=count)
