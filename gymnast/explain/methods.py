"""The methods of saliency, each a map of what an observation's numbers do to the score of one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.explain.context import Context
from gymnast.explain.form import Part
from gymnast.explain.scores import score_of, scores_of
from gymnast.networks.insight import attribution
from gymnast.networks.insight.attribution import Integrated

METHODS = {
    "gradient": "gradient",
    "smoothgrad": "SmoothGrad",
    "integrated": "integrated gradients",
    "occlusion": "occlusion",
}
"""Their names, as options and in words."""
SIGNED = ("integrated", "occlusion")
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
    """[...] by method; gradients of numbers that are not those of pictures are times each number's deviation."""
    integrated: Integrated


def target_name(context: Context) -> str:
    """What is explained, in words."""
    assert context.subject.agent is not None
    return TARGETS[context.options.target].format(context.subject.agent.preferences)


def explained(context: Context, step: int, generator: torch.Generator) -> Explained:
    """All methods on the observation of one step."""
    integrated = integrate(context, step)
    maps = {
        "gradient": gradients(context, slice(step, step + 1))[0],
        "smoothgrad": smooth(context, step, generator),
        "integrated": integrated.attribution,
        "occlusion": occlude(context, step),
    }
    with torch.no_grad():
        score = float(score_of(context, step)(context.played.x[step : step + 1])[0])
    return Explained(step, score, maps, integrated)


def over_episode(context: Context, method: str, generator: torch.Generator) -> Tensor:
    """The map of every step of the longest episode, [T, ...]."""
    episode = context.played.longest
    if method == "gradient":
        starts = range(episode.start, episode.stop, attribution.BATCH)
        return torch.cat([gradients(context, slice(low, min(low + attribution.BATCH, episode.stop))) for low in starts])
    of_step: dict[str, Callable[[Context, int], Tensor]] = {
        "smoothgrad": partial(smooth, generator=generator),
        "integrated": lambda context, step: integrate(context, step).attribution,
        "occlusion": occlude,
    }
    found = []
    for step in range(episode.start, episode.stop):
        context.told(f"{METHODS[method]} of step {step - episode.start + 1:,} of {episode.stop - episode.start:,}")
        found.append(of_step[method](context, step))
    return torch.stack(found)


def gradients(context: Context, steps: slice) -> Tensor:
    """The gradients of several steps, [N, ...]."""
    return attribution.gradient(scores_of(context, steps), context.played.x[steps]) * _scale(context)


def smooth(context: Context, step: int, generator: torch.Generator) -> Tensor:
    """SmoothGrad of one step, [...]."""
    found = attribution.smooth_gradient(
        score_of(context, step),
        context.played.x[step],
        sigma=context.options.smooth_sigma * context.range.span,
        samples=context.options.smooth_samples,
        generator=generator,
    )
    return found * _scale(context)


def integrate(context: Context, step: int) -> Integrated:
    """Integrated gradients of one step; where gradients are estimates, more steps would not make them complete."""
    return attribution.complete(
        score_of(context, step),
        context.played.x[step],
        context.baseline,
        steps=context.options.integrated_steps,
        tolerance=TOLERANCE,
        most=context.options.integrated_steps if context.subject.discrete else MOST,
    )


def occlude(context: Context, step: int) -> Tensor:
    """Occlusion of one step, [...]."""
    return attribution.occlusion(score_of(context, step), context.played.x[step], context.baseline, covers(context))


def _scale(context: Context) -> Tensor:
    """What gradients [...] are multiplied by, so that components of different units compare: 1 for pictures."""
    scale = context.range.deviation.flatten().clone()
    for part in context.form.pictures:
        scale[part.place] = 1.0
    return scale.view(context.form.shape)


def covers(context: Context) -> Tensor:
    """What occlusion covers, bool [K, ...]: squares of a picture in all its planes, choices, single other numbers."""
    total = int(np.prod(context.form.shape))
    found = []
    for part in context.form.parts:
        own = _covers(context, part)
        mask = torch.zeros(len(own), total, dtype=torch.bool)
        mask[:, part.place] = own
        found.append(mask)
    return torch.cat(found).view(-1, *context.form.shape).to(context.subject.device)


def _covers(context: Context, part: Part) -> Tensor:
    """Those of one part, bool [K, n]."""
    count = part.place.stop - part.place.start
    if part.view.layout is not None:
        size = patch_size(context, part)
        grid = attribution.patches(*part.view.size, size=size, stride=max(1, size // 2))
        return part.view.spread(grid).flatten(1)
    numbers = torch.arange(part.place.start, part.place.stop)
    if part.choices:
        return torch.stack([(numbers >= choice.start) & (numbers < choice.stop) for choice in part.choices])
    return torch.eye(count, dtype=torch.bool)


def patch_size(context: Context, part: Part) -> int:
    """Side of the squares of occlusion of a picture, in pixels."""
    side = min(part.view.size)
    return min(context.options.patch or max(1, round(side / 10)), side)


def heat_of(context: Context, part: Part, values: Tensor, method: str) -> Any:
    """[H, W] of a picture: signed attributions are added up over frames and channels, and gradients by their size."""
    own = context.form.of(values, part)
    return part.view.heat(own if method in SIGNED else own.abs())


@torch.no_grad()
def falls(context: Context, step: int) -> dict[str, float]:
    """How far the score of a step falls when a whole part of the observation is replaced by the baseline, by name."""
    x, baseline, score = context.played.x[step], context.baseline, score_of(context, step)
    replaced = []
    for part in context.form.parts:
        other = x.clone()
        other[part.place] = baseline[part.place]
        replaced.append(other)
    whole, *others = score(torch.stack([x, *replaced])).tolist()
    return {part.name: whole - other for part, other in zip(context.form.parts, others, strict=True)}
