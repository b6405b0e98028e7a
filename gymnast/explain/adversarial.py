"""Adversarial observations: how small a change makes the agent act otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.explain import view
from gymnast.explain.context import Context, Section, Shown
from gymnast.explain.played import BATCH
from gymnast.explain.scores import attack_loss, greedy
from gymnast.networks.insight.adversarial import Ball, fgsm, pgd, random_signs

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes of the change that are tried, as multiples of epsilon."""
KINDS = ("FGSM", "PGD", "random")
ROWS = 2 * BATCH
"""Observations that are attacked, at most."""


@dataclass(frozen=True)
class Example:
    """One observation that was changed."""

    step: int
    made: dict[str, Tensor]
    """[...] by kind of change."""


def ball_of(context: Context, factor: float = 1.0) -> Ball:
    """Where observations may go: within epsilon times the range of each number, and the bounds of the space."""
    limits = context.range
    radius = min(factor * context.options.epsilon, 1.0) * limits.span
    radius = torch.where(torch.as_tensor(limits.whole, device=radius.device), radius.floor(), radius)
    return Ball(radius, limits.bound_low, limits.bound_high, limits.whole)


def attacked(context: Context, steps: Tensor, ball: Ball, generator: torch.Generator) -> dict[str, Tensor]:
    """The observations of those steps after each kind of change, [B, ...]."""
    found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    for part in torch.split(steps, BATCH):
        x, loss = context.played.x[part], attack_loss(context, part)
        found["FGSM"].append(fgsm(loss, x, ball))
        found["PGD"].append(pgd(loss, x, ball, steps=context.options.pgd_steps, generator=generator))
        found["random"].append(random_signs(x, ball, generator=generator))
    return {kind: torch.cat(parts) for kind, parts in found.items()}


@torch.no_grad()
def preferences(context: Context, x: Tensor, steps: Tensor) -> Tensor:
    """The preferences [B, P] for changed observations of those steps."""
    played = context.played
    found = []
    for own, part in zip(torch.split(x, BATCH), torch.split(steps, BATCH), strict=True):
        memory = None if played.memory is None else played.memory[part]
        mask = None if played.mask is None else played.mask[part]
        found.append(context.subject.decide(own, memory, mask).preference)
    return torch.cat(found)


def changed(context: Context, before: Tensor, after: Tensor) -> Tensor:
    """For each row, whether the greedy action differs, float [B]; for a Box how far its mean moved (the norm)."""
    old, new = (greedy(context.action_space, preference) for preference in (before, after))
    if isinstance(context.action_space, spaces.Box):
        return (new - old).square().sum(1).sqrt()
    return torch.any(new != old, 1).float()


def adversarial(context: Context) -> Section:
    """The part `adversarial`."""
    played, generator = context.played, context.generator("adversarial")
    assert played.preference is not None
    count = min(ROWS, len(played.x))
    steps = torch.linspace(0, len(played.x) - 1, count).long().to(context.subject.device)
    before = preferences(context, played.x[steps], steps)
    sizes = [min(factor * context.options.epsilon, 1.0) for factor in FACTORS]
    effect: dict[str, list[float]] = {kind: [] for kind in KINDS}
    example = Example(0, {})
    for factor, size in zip(FACTORS, sizes, strict=True):
        context.told(f"adversarial observations, epsilon {size:g}")
        made = attacked(context, steps, ball_of(context, factor), generator)
        moved = {kind: changed(context, before, preferences(context, x, steps)) for kind, x in made.items()}
        for kind, values in moved.items():
            effect[kind].append(float(values.mean()))
        if factor == 1.0:
            row = int((moved["PGD"] * (1e-6 + context.spread(before))).argmax())
            example = Example(int(steps[row]), {kind: x[row] for kind, x in made.items()})
    continuous = isinstance(context.action_space, spaces.Box)
    measure = "mean distance of the action" if continuous else "share of changed actions"
    shown, one = _example(context, example)
    rows = [(f"{size:g}", *(f"{effect[kind][place]:.3g}" for kind in KINDS)) for place, size in enumerate(sizes)]
    numbers = {"epsilon": sizes, "observations": count, "measure": measure, **effect, "example": one}
    return Section(
        "Adversarial observations",
        _text(context, count),
        (*shown, _curve(context, sizes, effect, measure)),
        numbers,
        (("epsilon", *KINDS), *rows),
    )


def _text(context: Context, count: int) -> str:
    note = ""
    if bool(torch.as_tensor(context.range.whole).any()):
        note = " Whole numbers stay whole: changes are rounded towards 0."
    if not context.form.is_exact:
        what = "choices or truth values" if context.form.has_choices else "truth values"
        note += f" Some numbers are {what}, so that the environment could not give these observations itself."
    return (
        f"{count:,} observations. Each number changes by at most epsilon times its range, within the space's bounds: "
        "by one step along the sign of the gradient (FGSM), by several with projection (PGD), and by as much with "
        f"random signs, for comparison. A recurrent agent keeps its memory.{note}"
    )


def _example(context: Context, example: Example) -> tuple[list[Shown], dict[str, Any]]:
    """One observation before and after the changes at epsilon, and the preferences for it."""
    step, x = example.step, context.played.x[example.step]
    row = torch.tensor([step], device=context.subject.device)
    before = preferences(context, x.unsqueeze(0), row)[0]
    after = {kind: preferences(context, one.unsqueeze(0), row)[0] for kind, one in example.made.items()}
    figure, axes = _panels(context, x, example.made["PGD"])
    panel = axes[0, -1]
    choices = context.allowed(before).nonzero().flatten().cpu()
    width = 0.8 / (1 + len(after))
    for place, (name, values) in enumerate({"as played": before, **after}.items()):
        panel.bar(choices.numpy() + (place - 1.5) * width, values.cpu()[choices].numpy(), width, label=name)
    _close(panel, torch.stack([before, *after.values()]).cpu()[:, choices])
    panel.set_xticks(choices.tolist()[:20])
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=6)
    assert context.subject.agent is not None
    panel.set_title(f"{context.subject.agent.preferences} by choice", fontsize=9)
    best = {name: greedy(context.action_space, values.unsqueeze(0))[0].tolist() for name, values in after.items()}
    own = greedy(context.action_space, before.unsqueeze(0))[0].tolist()
    epsilon = context.options.epsilon
    outcome = "stays" if best["PGD"] == own else f"becomes {_said(best['PGD'])}"
    caption = f"Step {step}, epsilon {epsilon:g}: the greedy action {_said(own)} {outcome} under PGD."
    largest = float((example.made["PGD"] - x).abs().max())
    numbers = {"step": step, "epsilon": epsilon, "before": own, "after": best, "largest_change": largest}
    return [context.save(figure, "adversarial.png", caption), *_changed(context, x, example.made["PGD"])], numbers


def _panels(context: Context, x: Tensor, made: Tensor) -> tuple[Any, Any]:
    """A figure with the observation, the change and the changed observation, and one panel left."""
    parts = context.form.pictures
    if not parts:
        figure, axes = view.grid(1, 2, aspect=0.6, side=4.5)
        _shares(context, axes[0, 0], x, made)
        return figure, axes
    height, width = parts[0].view.size
    figure, axes = view.grid(len(parts), 4, aspect=height / width, side=2.3)
    for row, part in zip(axes, parts, strict=True):
        before, after = (context.form.of(one, part) for one in (x, made))
        picture, heat = part.view.image(before), part.view.heat(after - before)
        change = view.overlaid(np.zeros_like(picture), heat, float(np.abs(heat).max()), signed=True)
        panels = {"observation": picture, "change, enlarged": change, "PGD": part.view.image(after)}
        for panel, (name, shown) in zip(row, panels.items(), strict=False):
            view.show(panel, shown)
            panel.set_title(name, fontsize=9)
        row[0].set_ylabel(part.name, fontsize=9)
    for panel in axes[1:, -1]:
        panel.set_visible(False)
    return figure, axes


def _changed(context: Context, x: Tensor, made: Tensor) -> list[Shown]:
    """The parts that are no pictures before and after the change, beside those that are."""
    if not (context.form.pictures and context.form.vectors):
        return []
    figure, axes = view.grid(1, 1, aspect=0.35, side=8.0)
    _shares(context, axes[0, 0], x, made)
    caption = f"The parts that are no pictures.{context.form.components}"
    return [context.save(figure, "adversarial-components.png", caption)]


def _shares(context: Context, panel: Any, x: Tensor, made: Tensor) -> None:
    """The numbers that are not those of pictures, as bars."""
    limits, form = context.range, context.form
    for offset, one, name in ((-0.2, x, "as played"), (0.2, made, "PGD")):
        shares = form.numbers((one - limits.middle) / limits.span, form.vectors).cpu().numpy()
        panel.bar(np.arange(len(shares)) + offset, shares, 0.4, label=name)
    panel.legend(fontsize=7)
    panel.tick_params(labelsize=7)
    panel.set_yticks(np.linspace(-1, 1, 5))
    panel.set_title("components, as shares of their range from the median", fontsize=8)


def _close(panel: Any, values: Tensor) -> None:
    """Limits that show differences of values which are far from 0."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    margin = 0.15 * (high - low) or 1.0
    if low > high - low or high < low - high:
        panel.set_ylim(low - margin, high + margin)
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _said(choices: list[float]) -> str:
    return " ".join(f"{number:.2f}" if isinstance(number, float) else str(number) for number in choices)


def _curve(context: Context, sizes: list[float], effect: dict[str, list[float]], measure: str) -> Shown:
    figure, axes = view.grid(1, 1, aspect=0.4, side=7.0)
    panel = axes[0, 0]
    for kind, values in effect.items():
        panel.plot(sizes, values, "o-", markersize=4, label=kind)
    panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
    panel.minorticks_off()
    panel.set_yticks(np.linspace(0, 1, 6) if measure.startswith("share") else np.linspace(0, panel.get_ylim()[1], 5))
    panel.tick_params(labelsize=7)
    panel.set_xlabel("epsilon", fontsize=8)
    panel.set_ylabel(measure, fontsize=8)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    return context.save(figure, "adversarial-epsilon.png", f"The {measure}, by the size of the change.")
