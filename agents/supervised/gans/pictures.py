"""Pictures of a generator: samples, samples over the course of training, and walks through its latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.supervised.autoencoders.tiles import tiles
from gymnast.agents.supervised.shown import Clouds, Grid, Shown

COLUMNS = 12
"""Samples beside each other."""
POINTS = 2_000
"""Generated points in a picture, and real ones, at most."""


@torch.no_grad()
def shown(task: Any) -> dict[str, Shown]:
    """Pictures of the task's generator; the same for the same weights."""
    generator = torch.Generator(task.device).manual_seed(0)
    target = task.network.heads["target"]
    moments = {f"{number:,}": values for number, values in task.network.heads["history"].moments().items()}
    if target.images is None:
        return _of_vectors(task, target, moments, generator)
    found: dict[str, Shown] = {"samples": _grid(target, _made(task, task.rows(COLUMNS, generator)))}
    found["walk"] = _grid(target, _made(task, task.walks(COLUMNS, generator)))
    return found | ({"training": _grid(target, moments)} if moments else {})


def _of_vectors(task: Any, target: Any, moments: dict[str, Tensor], generator: torch.Generator) -> dict[str, Shown]:
    """Points of two numbers as they are, of more in the plane of the data's first two principal components."""
    step = -(-len(task.test) // POINTS)
    values = target(task.batch(task.test[::step]).obs)
    if values.shape[1] < 2:
        return {}
    project, axes = _plane(target, values)
    real = project(values)
    rows = {"samples": {"samples": task.drawn(POINTS, generator)}, "training": moments}
    return {
        name: Clouds(real, {label: project(row) for label, row in panels.items()}, *axes)
        for name, panels in rows.items()
        if panels
    }


def _plane(target: Any, values: Tensor) -> tuple[Callable[[Tensor], Tensor], tuple[str, str]]:
    """A map from values [N, K] to points [N, 2] of a picture, on the CPU, and the names of the axes."""
    if values.shape[1] == 2:
        return lambda row: target.back(row).flatten(1).cpu(), ("first number", "second number")
    mean = values.mean(0)
    _, _, components = torch.linalg.svd(values - mean, full_matrices=False)
    names = "first principal component", "second principal component"
    return lambda row: ((row - mean) @ components[:2].T).cpu(), names


def _made(task: Any, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {label: task.generated(latent) for label, latent in rows.items()}


def _grid(target: Any, rows: dict[str, Tensor]) -> Grid:
    """Rows of values [N, *shape] by label."""
    return Grid(torch.stack([tiles(target, values) for values in rows.values()]), tuple(rows))
