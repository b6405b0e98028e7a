"""Saliency: what in an observation the decision depends on, by four methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.form import Part
from gymnast.explain.methods import (
    METHODS,
    SIGNED,
    Explained,
    explained,
    falls,
    heat_of,
    over_episode,
    patch_size,
    target_name,
)
from gymnast.output.video import VideoWriter


def saliency(context: Context) -> Section:
    """The part `saliency`."""
    generator = context.generator("saliency")
    found = []
    for step in context.frames:
        context.told(f"saliency of step {step}")
        found.append(explained(context, step, generator))
    shown = [_pictures(context, part, file, found) for part, file in context.form.files("saliency")]
    if context.form.vectors:
        shown.append(_bars(context, found))
        shown.append(_over_time(context, over_episode(context, "gradient", generator)))
    against = "the median of the observations" if context.options.baseline == "median" else "an observation of zeros"
    text = (
        f"What is explained is {target_name(context)}. The gradient says how much a small change of a number would "
        "change it; SmoothGrad is its mean over noisy copies. Integrated gradients share out the difference from "
        f"{against}, and occlusion replaces parts by it: positive numbers raised the score."
    )
    return Section("Saliency", text + _limits(context), tuple(shown), _numbers(context, found), _table(found))


def _limits(context: Context) -> str:
    """What the methods leave out of a network with a memory, or with discrete latents."""
    text = ""
    if context.subject.memory_size:
        text += " What the agent remembers of the steps before is held fixed."
    if context.subject.discrete:
        text += (
            f" The decision goes through discrete {context.subject.discrete}, so that it changes in steps. Gradients "
            "pass straight through them and are estimates: integrated gradients need not add up. Occlusion needs none."
        )
    return text


def _pictures(context: Context, part: Part, file: str, found: list[Explained]) -> Shown:
    columns = ["observation", *METHODS.values()]
    height, width = part.view.size
    figure, axes = view.grid(len(found), len(columns), aspect=height / width)
    for row, one in zip(axes, found, strict=True):
        picture = part.view.image(context.form.of(context.played.x[one.step], part))
        view.show(row[0], picture)
        row[0].set_ylabel(f"step {one.step}\n{context.action_name(one.step)}", fontsize=8)
        for panel, method in zip(row[1:], METHODS, strict=True):
            heat = heat_of(context, part, one.maps[method], method)
            view.show(panel, view.overlaid(picture, heat, view.largest(heat), signed=method in SIGNED))
    for panel, name in zip(axes[0], columns, strict=True):
        panel.set_title(name, fontsize=9)
    caption = (
        f"{part.title}Yellow: the score is sensitive to this pixel. Red: it raised the score; blue: it lowered it. "
        "Each panel has its own scale, and sums over the frames and channels of an observation."
    )
    return context.save(figure, file, caption)


def _bars(context: Context, found: list[Explained]) -> Shown:
    figure, axes = view.grid(len(found), len(METHODS), aspect=0.7, side=2.4)
    for row, one in zip(axes, found, strict=True):
        row[0].set_ylabel(f"step {one.step}\n{context.action_name(one.step)}", fontsize=8)
        for panel, method in zip(row, METHODS, strict=True):
            values = context.form.numbers(one.maps[method], context.form.vectors)
            view.bars(panel, values, colour="C3" if method in SIGNED else "C1")
            panel.yaxis.set_major_locator(_few())
            panel.xaxis.set_major_locator(_few(integer=True))
    for panel, name in zip(axes[0], METHODS.values(), strict=True):
        panel.set_title(name, fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("component", fontsize=8)
    caption = (
        "One bar per component of the observation. Gradients are multiplied by the component's standard deviation over "
        f"the steps played, so that components of different units compare.{context.form.components}"
    )
    return context.save(figure, "saliency.png", caption)


def _few(*, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=integer)


def _over_time(context: Context, values: Tensor) -> Shown:
    """Gradients [T, ...] of all components over the longest episode."""
    figure, axes = view.grid(1, 1, aspect=0.35, side=8.0)
    panel, flat = axes[0, 0], context.form.numbers(values, context.form.vectors).T.cpu().numpy()
    size = view.largest(flat) or 1.0
    image = panel.imshow(flat, aspect="auto", cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
    figure.colorbar(image, ax=panel)
    panel.set_xlabel("step", fontsize=8)
    panel.set_ylabel("component", fontsize=8)
    panel.xaxis.set_major_locator(_few(integer=True))
    panel.yaxis.set_major_locator(_few(integer=True))
    return context.save(figure, "saliency-episode.png", "Gradients times deviation over the longest episode.")


def _numbers(context: Context, found: list[Explained]) -> dict[str, Any]:
    frames = [
        {
            "step": one.step,
            "action": context.played.action[one.step].tolist(),
            "score": one.score,
            "baseline_score": one.score - one.integrated.difference,
            "integrated_sum": one.integrated.difference + one.integrated.error,
            "integrated_error": one.integrated.error,
            "integrated_steps": one.integrated.steps,
            "occlusion_largest_fall": float(one.maps["occlusion"].max()),
            **_attributed(context, one),
        }
        for one in found
    ]
    numbers: dict[str, Any] = {"target": context.options.target, "frames": frames}
    by_part = {
        part.name: {"patch": patch_size(context, part), "share_by_plane": _shares(context, part, found)}
        for part in context.form.pictures
    }
    return numbers | by_part.get("", {"parts": by_part} if by_part else {})


def _attributed(context: Context, one: Explained) -> dict[str, Any]:
    """What the methods attribute to numbers that are not those of pictures; of several parts, also to each of them."""
    form = context.form
    found: dict[str, Any] = {}
    if form.vectors:
        values = {method: form.numbers(values, form.vectors).tolist() for method, values in one.maps.items()}
        found["attribution"] = values
    if len(form.parts) > 1:
        integrated = {part.name: float(form.of(one.integrated.attribution, part).sum()) for part in form.parts}
        found["parts"] = {"integrated": integrated, "occlusion": falls(context, one.step)}
    return found


def _shares(context: Context, part: Part, found: list[Explained]) -> list[float]:
    """The share of each plane (a frame, or a channel) of a picture in the size of SmoothGrad's gradients."""
    maps = [context.form.of(one.maps["smoothgrad"], part) for one in found]
    sizes = sum(np.abs(part.view.planes(own)).sum((2, 3)).flatten() for own in maps)
    return [float(size) for size in sizes / max(float(np.sum(sizes)), 1e-300)]


def _table(found: list[Explained]) -> tuple[tuple[str, ...], ...]:
    heading = ("step", "score", "of the baseline", "difference", "sum of integrated gradients", "error", "steps")
    rows = [
        (
            str(one.step),
            f"{one.score:.4g}",
            f"{one.score - one.integrated.difference:.4g}",
            f"{one.integrated.difference:.4g}",
            f"{one.integrated.difference + one.integrated.error:.4g}",
            f"{one.integrated.error:.1e}",
            f"{one.integrated.steps:,}",
        )
        for one in found
    ]
    return (heading, *rows)


def video(context: Context) -> Section:
    """The part `video`: one method over the longest episode, beside the observations."""
    observations, method = context.played.x[context.played.longest], context.options.video_method
    context.told(f"video of {len(observations):,} steps")
    maps = over_episode(context, method, context.generator("video"))
    path, parts = context.file("saliency.mp4"), context.form.pictures
    heats = [np.stack([heat_of(context, part, one, method) for one in maps]) for part in parts]
    scales = [view.largest(heat) for heat in heats]
    with VideoWriter(path, context.fps) as film:
        for step, x in enumerate(observations):
            frames = []
            for part, heat, scale in zip(parts, heats, scales, strict=True):
                picture = part.view.image(context.form.of(x, part))
                shown = view.overlaid(picture, heat[step], scale, signed=method in SIGNED)
                frames.append(view.enlarged(np.concatenate([picture, shown], 1), 240))
            film.add(view.beside(frames))
    text = (
        f"The longest episode played, and what {target_name(context)} depends on, by {METHODS[method]}. "
        "All frames share one scale, so that a dark frame is one whose details matter little."
    )
    mean = float(np.mean([np.abs(heat).mean() for heat in heats]))
    numbers = {"steps": len(observations), "method": method, "mean_size": mean}
    names = f" Pictures: {', '.join(part.name for part in parts)}." if len(parts) > 1 else ""
    shown_there = Shown(path, f"The observation on the left, its saliency on the right.{names}")
    return Section("Saliency over an episode", text, (shown_there,), numbers)
