"""Losses of supervised learning: pure functions of tensors, a loss for each example."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The class of a step whose prediction is not asked for."""


def cross_entropy(logits: Tensor, target: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """-sum_c q(c) log p(c) of [B, C] and int64 [B] to [B]; q is 1 - smoothing on the target, and smoothing / C on each.

    Label smoothing: Szegedy et al. 2016, section 7.
    """
    return functional.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p of the target's probability p, [B] (Lin et al. 2017, eq. 4)."""
    log_p = logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    # of a probability that rounds to 1 the slope of the power has no limit for gamma < 1
    return -((-torch.expm1(log_p)).clamp(min=1e-12) ** gamma) * log_p


def hinge(logits: Tensor, target: Tensor) -> Tensor:
    """max(0, 1 - (target's logit - the largest other one)), [B] (Crammer & Singer 2001)."""
    own = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    others = logits.scatter(-1, target.unsqueeze(-1), -math.inf).amax(-1)
    return (1 - own + others).clamp(min=0)


def log_cosh(output: Tensor, target: Tensor) -> Tensor:
    """log cosh of the error, each [B, K]; without overflow."""
    error = (output - target).abs()
    return error + functional.softplus(-2 * error) - math.log(2.0)


def cosine(output: Tensor, target: Tensor) -> Tensor:
    """1 - the cosine of the angle between output and target, [B, K] to [B]."""
    return 1 - functional.cosine_similarity(output, target, dim=-1)


ELEMENTWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda output, target: (output - target).square(),
    "l1": lambda output, target: (output - target).abs(),
    "huber": lambda output, target: functional.huber_loss(output, target, reduction="none"),
    "log-cosh": log_cosh,
}
Elementwise = Literal["auto", "mse", "l1", "huber", "log-cosh"]
Regression = Literal["auto", "mse", "l1", "huber", "log-cosh", "cosine"]
REGRESSION = (*ELEMENTWISE, "cosine")
CLASSIFICATION = ("cross-entropy", "focal", "hinge")


def regression(name: str, output: Tensor, target: Tensor) -> Tensor:
    """The loss of each example: [B, K] and [B, K] to [B], the mean over K (`cosine`: over the vectors)."""
    if name == "cosine":
        return cosine(output, target)
    return ELEMENTWISE[name](output, target).flatten(1).mean(1)


def classification(name: str, logits: Tensor, target: Tensor, *, smoothing: float = 0.0, gamma: float = 2.0) -> Tensor:
    """The loss of each example: logits [B, C] and classes int64 [B] to [B]."""
    if name == "cross-entropy":
        return cross_entropy(logits, target, smoothing=smoothing)
    return focal(logits, target, gamma=gamma) if name == "focal" else hinge(logits, target)


def weighted(loss: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of losses [B], each with its weight [B]."""
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum().clamp(min=1e-12)


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """Contrast each query [B, F] with its own key and the others' keys, by cosine similarity; [B].

    InfoNCE (van den Oord et al. 2018, eq. 4; Chen et al. 2020).
    """
    logits = functional.normalize(queries, dim=-1) @ functional.normalize(keys, dim=-1).T / temperature
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device), reduction="none")


def triplet(queries: Tensor, keys: Tensor, *, margin: float) -> Tensor:
    """max(0, margin + d(query, own key) - d(query, nearest other key)), [B]: the hardest negative of the batch.

    d is the Euclidean distance of normalised vectors (Schroff et al. 2015; Hermans et al. 2017).
    """
    distance = torch.cdist(functional.normalize(queries, dim=-1), functional.normalize(keys, dim=-1))  # [B, B]
    own = distance.diagonal()
    other = distance + torch.diag(torch.full_like(own, math.inf))
    return (margin + own - other.amin(1)).clamp(min=0)
