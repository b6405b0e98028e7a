"""Textures and styles of observations, by the Gram matrices of the convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.canvases import canvas_of, read_by
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.form import Part
from gymnast.networks.insight.canvas import descend
from gymnast.networks.insight.gram import content_distance, gram, style_distance

LAYERS = 5
"""Convolutions that are used, at most: of more, as many spread over the depth."""
STYLE = 10.0
"""Weight of the style beside the content."""
AMPLITUDE = 0.2
"""Of the smooth noise that textures begin with."""


def texture(context: Context) -> Section:
    """The part `texture`."""
    names = convolutions(context)
    content, style = _pair(context, names)
    x, other = (context.played.x[step : step + 1] for step in (content, style))
    with torch.no_grad():
        targets = [gram(maps) for maps in read(context, names)(other)]
    generator = context.generator("texture")
    parts = _parts(context, names)
    panels, distances = [("observation", other[0])], {}
    for depth in range(1, len(names) + 1):
        context.told(f"texture of {depth} of {len(names)} layers")
        of_layers = _style(context, names[:depth], targets[:depth])
        made, course = _made(context, of_layers, _plain(context, other[0]), AMPLITUDE, generator, parts)
        panels.append((f"texture, {depth} layer{'s' if depth > 1 else ''}", made[0]))
        distances[names[depth - 1]] = {"before": course[0], "after": course[-1]}
    context.told("style of another observation")
    mixed = _mixed(context, names, targets, x)
    made, course = _made(context, mixed, x[0], 0.01, generator, parts)
    panels += [("content", x[0]), ("content in that style", made[0])]
    files = [(part, file) for part, file in context.form.files("texture") if part in parts]
    shown = [_pictures(context, part, file, panels, names) for part, file in files]
    rows = tuple((name, f"{one['before']:.3g}", f"{one['after']:.3g}") for name, one in distances.items())
    numbers = {
        "layers": distances,
        "texture_step": style,
        "content_step": content,
        "style": {"before": course[0], "after": course[-1]},
    }
    table = (("Gram matrices up to", "distance of noise", "of the texture"), *rows)
    return Section("Textures and style", _text(context, style, content, parts), tuple(shown), numbers, table)


def _text(context: Context, style: int, content: int, parts: Sequence[Part]) -> str:
    text = (
        f"Smooth noise, changed until its channels vary together as they do for the observation of step {style} "
        "(equal Gram matrices), with one layer more in each picture: what the layers keep of it without places. Last, "
        f"the observation of step {content}, changed to have that style while the deepest layer still sees its content."
    )
    if len(parts) == len(context.form.parts):
        return text
    return text + " All other parts of the observation stay as they were."


def _pictures(context: Context, part: Part, file: str, panels: list[tuple[str, Tensor]], names: Sequence[str]) -> Shown:
    height, width = part.view.size
    figure, axes = view.grid(1, len(panels), aspect=height / width)
    for panel, (name, one) in zip(axes[0], panels, strict=True):
        view.show(panel, part.view.image(context.form.of(one, part)))
        panel.set_title(name, fontsize=8)
    newest = " The newest frame of each stack is shown." if part.view.frames > 1 else ""
    return context.save(figure, file, f"{part.title}Layers: {', '.join(names)}.{newest}")


def _made(
    context: Context,
    distance: Callable[[Tensor], Tensor],
    middle: Tensor,
    amplitude: float,
    generator: torch.Generator,
    parts: Sequence[Part],
) -> tuple[Tensor, list[float]]:
    """A picture [1, ...] of a small distance, from smooth noise around the middle [...], and the course of descent."""
    limits = context.range
    canvas = canvas_of(context, 1, middle=middle, amplitude=amplitude, generator=generator, parts=parts)
    return descend(
        canvas, lambda shares: distance(limits.low + limits.span * shares), steps=context.options.texture_steps
    )


def _parts(context: Context, names: Sequence[str]) -> list[Part]:
    """The pictures that these layers read."""
    read_there = read(context, names)
    found = read_by(context, lambda x: torch.cat([maps.flatten(1) for maps in read_there(x)], 1))
    return [part for part in found if part.view.layout is not None]


def _plain(context: Context, x: Tensor) -> Tensor:
    """An observation [...] with each plane of its pictures in one colour: its mean."""
    plain = x.flatten().clone()
    for part in context.form.pictures:
        assert part.view.axes is not None
        own = context.form.of(x, part)
        mean = own.mean(tuple(axis - 1 for axis in part.view.axes), keepdim=True)
        plain[part.place] = mean.expand_as(own).flatten()
    return plain.view_as(x)


def convolutions(context: Context) -> list[str]:
    """The names of the layers whose outputs are maps [B, C, H, W] of several positions, in their order."""
    found = [
        name
        for name, layer in context.subject.reading(context.subject.layers(context.played.x[:1])).items()
        if layer.active.dim() == 4
    ]
    if len(found) <= LAYERS:
        return found
    return [found[round(place * (len(found) - 1) / (LAYERS - 1))] for place in range(LAYERS)]


def read(context: Context, names: Sequence[str]) -> Callable[[Tensor], list[Tensor]]:
    """The activations [B, C, H, W] of layers, of observations [B, ...]."""

    def of(x: Tensor) -> list[Tensor]:
        layers = context.subject.layers(x)
        return [layers[name].active for name in names]

    return of


def _style(context: Context, names: Sequence[str], targets: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    activations = read(context, names)
    return lambda x: style_distance(activations(x), targets)


def _mixed(
    context: Context, names: Sequence[str], targets: Sequence[Tensor], content: Tensor
) -> Callable[[Tensor], Tensor]:
    """The distance from the content in the deepest layer, and from the style in all of them."""
    activations = read(context, names)
    with torch.no_grad():
        deepest = activations(content)[-1]

    def distance(x: Tensor) -> Tensor:
        maps = activations(x)
        return content_distance(maps[-1], deepest) + STYLE * style_distance(maps, targets)

    return distance


@torch.no_grad()
def _pair(context: Context, names: Sequence[str]) -> tuple[int, int]:
    """The steps of content and style: the first explained one, and the explained one of the most different style."""
    frames, activations = context.frames, read(context, names)
    targets = [gram(maps) for maps in activations(context.played.x[frames[:1]])]
    distances = style_distance(activations(context.played.x[frames]), targets)
    return frames[0], frames[int(distances.argmax())]
