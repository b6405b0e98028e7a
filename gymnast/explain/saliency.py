"""Saliency: what in an observation the decision depends on, by four methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.scores import score_of, scores_of
from gymnast.networks.insight import attribution
from gymnast.networks.insight.attribution import Integrated
from gymnast.output.video import VideoWriter

METHODS = ("gradient", "smoothgrad", "integrated gradients", "occlusion")
SIGNED = ("integrated gradients", "occlusion")
"""Methods whose numbers have the units of what is explained, and a sign."""
TOLERANCE, MOST = 0.01, 1_024
"""Error of integrated gradients that is good enough, as a share of the difference; and steps, at most."""
TARGETS = {
    "action": "the {} of the action taken",
    "margin": "the {} of the action taken, less the mean over all actions",
    "value": "the value of the state",
}


@dataclass(frozen=True)
class Explained:
    """One observation and what the methods attribute to its numbers."""

    step: int
    score: float
    maps: dict[str, Tensor]
    """[...] by method; gradients are times each number's deviation if the observations are vectors."""
    integrated: Integrated


def target_name(context: Context) -> str:
    """What is explained, in words."""
    assert context.subject.agent is not None
    return TARGETS[context.options.target].format(context.subject.agent.preferences)


def explained(context: Context, step: int, generator: torch.Generator) -> Explained:
    """All methods on the observation of one step."""
    options, limits = context.options, context.range
    x, score = context.played.x[step], score_of(context, step)
    sigma = options.smooth_sigma * limits.span
    integrated = attribution.complete(
        score, x, context.baseline, steps=options.integrated_steps, tolerance=TOLERANCE, most=MOST
    )
    scale = 1.0 if context.view.layout is not None else limits.deviation
    maps = {
        "gradient": attribution.gradient(score, x.unsqueeze(0))[0] * scale,
        "smoothgrad": attribution.smooth_gradient(
            score, x, sigma=sigma, samples=options.smooth_samples, generator=generator
        )
        * scale,
        "integrated gradients": integrated.attribution,
        "occlusion": attribution.occlusion(score, x, context.baseline, covers(context)),
    }
    with torch.no_grad():
        return Explained(step, float(score(x.unsqueeze(0))[0]), maps, integrated)


def covers(context: Context) -> Tensor:
    """The parts that occlusion covers: squares of a picture in all its planes, or single numbers of a vector."""
    shape = context.played.x.shape[1:]
    if context.view.layout is None:
        count = int(np.prod(shape))
        return torch.eye(count, dtype=torch.bool, device=context.subject.device).view(count, *shape)
    size = patch_size(context)
    grid = attribution.patches(*context.view.size, size=size, stride=max(1, size // 2))
    return context.view.spread(grid).to(context.subject.device)


def patch_size(context: Context) -> int:
    """Side of the squares of occlusion, in pixels."""
    side = min(context.view.size)
    return min(context.options.patch or max(1, round(side / 10)), side)


def saliency(context: Context) -> Section:
    """The part `saliency`."""
    generator = context.generator("saliency")
    found = []
    for step in context.frames:
        context.told(f"saliency of step {step}")
        found.append(explained(context, step, generator))
    picture = context.view.layout is not None
    shown = [_pictures(context, found) if picture else _bars(context, found)]
    if not picture:
        shown.append(_over_time(context))
    against = "the median of the observations" if context.options.baseline == "median" else "an observation of zeros"
    text = (
        f"What is explained is {target_name(context)}. The gradient says how much a small change of a number would "
        "change it; SmoothGrad is its mean over noisy copies. Integrated gradients share out the difference from "
        f"{against}, and occlusion replaces parts by it: positive numbers raised the score."
    )
    return Section("Saliency", text, tuple(shown), _numbers(context, found), _table(found))


def _pictures(context: Context, found: list[Explained]) -> Shown:
    columns = ["observation", *METHODS]
    height, width = context.view.size
    figure, axes = view.grid(len(found), len(columns), aspect=height / width)
    for row, one in zip(axes, found, strict=True):
        picture = context.view.image(context.played.x[one.step])
        view.show(row[0], picture)
        row[0].set_ylabel(f"step {one.step}\n{context.action_name(one.step)}", fontsize=8)
        for panel, method in zip(row[1:], METHODS, strict=True):
            heat = heat_of(context, one.maps[method], signed=method in SIGNED)
            view.show(panel, view.overlaid(picture, heat, view.largest(heat), signed=method in SIGNED))
    for panel, name in zip(axes[0], columns, strict=True):
        panel.set_title(name, fontsize=9)
    caption = (
        "Yellow: the score is sensitive to this pixel. Red: it raised the score; blue: it lowered it. "
        "Each panel has its own scale, and sums over the frames and channels of an observation."
    )
    return context.save(figure, "saliency.png", caption)


def heat_of(context: Context, values: Tensor, *, signed: bool) -> Any:
    """[H, W]: signed attributions are added up over frames and channels, and gradients by their size."""
    return context.view.heat(values if signed else values.abs())


def _bars(context: Context, found: list[Explained]) -> Shown:
    figure, axes = view.grid(len(found), len(METHODS), aspect=0.7, side=2.4)
    for row, one in zip(axes, found, strict=True):
        row[0].set_ylabel(f"step {one.step}\n{context.action_name(one.step)}", fontsize=8)
        for panel, method in zip(row, METHODS, strict=True):
            view.bars(panel, one.maps[method], colour="C3" if method in SIGNED else "C1")
            panel.yaxis.set_major_locator(_few())
            panel.xaxis.set_major_locator(_few(integer=True))
    for panel, name in zip(axes[0], METHODS, strict=True):
        panel.set_title(name, fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("component", fontsize=8)
    caption = (
        "One bar per component of the observation. Gradients are multiplied by the component's standard deviation over "
        "the steps played, so that components of different units compare."
    )
    return context.save(figure, "saliency.png", caption)


def _few(*, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=integer)


def _over_time(context: Context) -> Shown:
    """Gradients of all components over the longest episode."""
    values = episode_gradients(context) * context.range.deviation
    figure, axes = view.grid(1, 1, aspect=0.35, side=8.0)
    panel, flat = axes[0, 0], values.flatten(1).T.cpu().numpy()
    size = view.largest(flat) or 1.0
    image = panel.imshow(flat, aspect="auto", cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
    figure.colorbar(image, ax=panel)
    panel.set_xlabel("step", fontsize=8)
    panel.set_ylabel("component", fontsize=8)
    panel.xaxis.set_major_locator(_few(integer=True))
    panel.yaxis.set_major_locator(_few(integer=True))
    return context.save(figure, "saliency-episode.png", "Gradients times deviation over the longest episode.")


def episode_gradients(context: Context) -> Tensor:
    """The gradient of every step of the longest episode, [T, ...]."""
    parts, episode = [], context.played.longest
    for low in range(episode.start, episode.stop, attribution.BATCH):
        steps = slice(low, min(low + attribution.BATCH, episode.stop))
        parts.append(attribution.gradient(scores_of(context, steps), context.played.x[steps]))
    return torch.cat(parts)


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
            **({} if context.view.layout is not None else {"attribution": _vectors(one)}),
        }
        for one in found
    ]
    numbers: dict[str, Any] = {"target": context.options.target, "frames": frames}
    if context.view.layout is not None:
        numbers["patch"] = patch_size(context)
        numbers["share_by_plane"] = _shares(context, found)
    return numbers


def _vectors(one: Explained) -> dict[str, list[float]]:
    return {method: values.flatten().tolist() for method, values in one.maps.items()}


def _shares(context: Context, found: list[Explained]) -> list[float]:
    """The share of each plane (a frame, or a channel) in the size of SmoothGrad's gradients."""
    sizes = sum(np.abs(context.view.planes(one.maps["smoothgrad"])).sum((2, 3)).flatten() for one in found)
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
    """The part `video`: the gradient over the longest episode, beside the observations."""
    observations = context.played.x[context.played.longest]
    context.told(f"video of {len(observations):,} steps")
    heats = np.stack([heat_of(context, one, signed=False) for one in episode_gradients(context)])
    scale, path = view.largest(heats), context.file("saliency.mp4")
    with VideoWriter(path, context.fps) as film:
        for x, heat in zip(observations, heats, strict=True):
            picture = context.view.image(x)
            beside = np.concatenate([picture, view.overlaid(picture, heat, scale, signed=False)], 1)
            film.add(view.enlarged(beside, 240))
    text = (
        f"The longest episode played, and the gradient of {target_name(context)} by each pixel. "
        "All frames share one scale, so that a dark frame is one whose details matter little."
    )
    numbers = {"steps": len(heats), "mean_gradient": float(np.abs(heats).mean())}
    return Section(
        "Saliency over an episode", text, (Shown(path, "Left the observation, right its saliency."),), numbers
    )
