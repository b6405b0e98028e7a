"""What generated examples are judged by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gymnast.agents.supervised.frechet import frechet
from gymnast.agents.supervised.manifolds import manifolds, nearest
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.gans.features import RandomFeatures
from gymnast.networks.modes import acting
from gymnast.replay.datasets.points import Mixture

COMPARED = 5_000
"""Examples of each kind whose manifolds are compared, at most."""
NEAR = 3.0
"""Deviations from the centre of a mode within which a sample counts as near it (Srivastava et al. 2017)."""


class Features:
    """Values [B, *target.shape] as the features [B, F] by which generated examples are compared with real ones.

    They are those of a trained encoder if there is one, else fixed random ones of images, and vectors as they are.
    """

    def __init__(self, target: Target, encoder: nn.Module | None, *, device: torch.device) -> None:
        self.target = target
        self.encoder = None if encoder is None else acting(encoder.to(device))
        self.random = RandomFeatures(target.shape[0]).to(device) if target.layout is not None else None

    def __call__(self, values: Tensor) -> Tensor:
        if self.encoder is not None:
            features: Tensor = self.encoder(self.target.observed(values))
            return features.flatten(1)
        return values if self.random is None else self.random(values)


def compared(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Measures of as many generated as real examples by their features [N, F]; precision and recall of `some` of them.

    `f1` is the harmonic mean of precision and recall.
    """
    found = manifolds(some(real), some(fake))
    both = found.precision + found.recall
    f1 = 2 * found.precision * found.recall / both if both else 0.0
    distance = frechet(real, fake)
    return {"frechet": distance, "precision": found.precision, "recall": found.recall, "f1": f1}


def some(examples: Tensor) -> Tensor:
    """Examples [N, ...], at most `COMPARED`, evenly chosen."""
    return examples[:: -(-len(examples) // COMPARED)]


def coverage(points: Tensor, mixture: Mixture) -> dict[str, float]:
    """Of samples [N, K]: the number of modes that have one near them, and the share that is near a mode."""
    distance, mode = torch.cdist(points.double(), mixture.centres.double()).min(1)
    near = distance <= NEAR * mixture.deviation
    return {"modes": float(len(torch.unique(mode[near]))), "near": near.double().mean().item()}


def agreement(real: Tensor, fake: Tensor, label: Tensor) -> float:
    """Share of `some` generated examples whose nearest real one, by features [N, F], has their label [N, ...]."""
    label = some(label).reshape(-1, max(label[0].numel(), 1))
    return (label[nearest(some(fake), some(real))] == label).all(1).double().mean().item()
