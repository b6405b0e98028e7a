"""Features of the steps played as points of a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from gymnast.errors import UsageError
from gymnast.explain import view
from gymnast.explain.context import Context, Section
from gymnast.explain.scores import greedy
from gymnast.networks.insight.projection import principal_components

POINTS = 2_000
"""Steps that become points, at most."""
PERPLEXITY = 30
"""Neighbours of t-SNE (van der Maaten & Hinton 2008); a third of the points if there are few."""


def embedding(context: Context) -> Section:
    """The part `embedding`."""
    kind = context.options.projection
    steps = torch.linspace(0, len(context.played.x) - 1, min(POINTS, len(context.played.x))).long()
    points = context.played.features[steps.to(context.subject.device)].cpu()
    context.told(f"{kind} of {len(points):,} points")
    components = principal_components(points)
    numbers: dict[str, Any] = {
        "projection": kind,
        "points": len(points),
        "features": points.shape[1],
        "pca_variance_shares": components.shares.tolist(),
    }
    if kind == "pca":
        places = components.places.numpy()
        how = (
            f"the first two principal components, which have {components.shares[0]:.1%} and "
            f"{components.shares[1]:.1%} of the variance"
        )
    else:
        places, numbers["kl_divergence"] = _tsne(points.numpy(), context.options.seed)
        how = "t-SNE: neighbours stay near each other, while distances between groups say little"
    colours = _colours(context, steps)
    figure, axes = view.grid(1, len(colours), aspect=0.9, side=9.0 / len(colours))
    for panel, (name, values, few) in zip(axes[0], colours, strict=True):
        map_ = "tab10" if few else "viridis"
        limits = {"vmin": -0.5, "vmax": 9.5} if few else {}
        drawn = panel.scatter(*places.T, c=values, cmap=map_, s=6, linewidths=0, **limits)
        bar = figure.colorbar(drawn, ax=panel, shrink=0.8)
        if few:
            bar.set_ticks(np.unique(values))
            bar.ax.set_ylim(-0.5, max(values) + 0.5)
        bar.ax.tick_params(labelsize=7)
        panel.set_title(name, fontsize=9)
    shown = context.save(figure, "embedding.png", f"One point per step: {how}.")
    what = "What the last layers read" if context.subject.agent is not None else "The encoder's output"
    text = f"{what}, {points.shape[1]:,} numbers per observation, in two dimensions."
    return Section("Embedding", text, (shown,), numbers)


def _colours(context: Context, steps: torch.Tensor) -> list[tuple[str, np.ndarray, bool]]:
    """What points are coloured by: a name, a number for each, and whether these are a few whole ones."""
    played, found = context.played, []
    on_device = steps.to(context.subject.device)
    if played.value is not None:
        found.append(("value of the state", played.value[on_device].cpu().numpy(), False))
    if played.preference is not None and isinstance(context.action_space, spaces.Discrete):
        best = greedy(context.action_space, played.preference[on_device])[:, 0].cpu().numpy()
        found.append(("greedy action", best, int(context.action_space.n) <= 10))
    if played.preference is None:
        found.append(("reward of the step", played.reward[steps].numpy(), False))
    if len(found) < 2:
        found.append(("step of the episode", _since_start(played.episode)[steps].numpy(), False))
    return found


def _since_start(episode: torch.Tensor) -> torch.Tensor:
    """int64 [N], the number of steps before each one in its episode."""
    first = torch.ones(len(episode), dtype=torch.bool)
    first[1:] = episode[1:] != episode[:-1]
    place = torch.arange(len(episode))
    return place - torch.where(first, place, 0).cummax(0).values


def check_projection(projection: str) -> None:
    """UsageError if the projection needs a package that is not installed."""
    if projection == "tsne":
        try:
            import sklearn.manifold  # noqa: F401
        except ImportError:
            raise UsageError("projection tsne needs scikit-learn: pip install 'gymnast[data]'") from None


def _tsne(points: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Points [N, D] as [N, 2], and the divergence that is left; the same on every run."""
    from sklearn.manifold import TSNE

    found = TSNE(
        perplexity=min(PERPLEXITY, max(1.0, (len(points) - 1) / 3)),
        init="pca" if points.shape[1] > 1 else "random",
        random_state=seed % 2**32,
        n_jobs=1,
    )
    places = found.fit_transform(points.astype(np.float64))
    return places, float(found.kl_divergence_)
