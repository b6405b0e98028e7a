"""Losses that teach a backbone about its environment, beside an agent's own: pure functions of tensors.

`weight` [B] are the rows' shares, which sum to 1; a row of weight 0 does not count, neither as a sample nor as a
negative example.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gymnast.agents.maths.means import weighted_mean


def contrastive_loss(similarity: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [] and accuracy [] of finding each query's own key among all, from similarities [B, B] (InfoNCE).

    Row i is query i, whose key is column i; the others are its negative examples (van den Oord et al. 2018, eq. 4;
    CURL, Laskin et al. 2020, eq. 1). Chance is log B.
    """
    similarity = torch.where(weight.unsqueeze(0) > 0, similarity, torch.finfo(similarity.dtype).min)
    own = torch.arange(len(similarity), device=similarity.device)
    return classification_loss(similarity, own, weight)


def classification_loss(logits: Tensor, label: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy [] and accuracy [] of logits [B, C] and labels int64 [B]."""
    loss = functional.cross_entropy(logits, label, reduction="none")
    right = (logits.detach().argmax(1) == label).float()
    return weighted_mean(torch.where(weight > 0, loss, 0.0), weight), weighted_mean(right, weight)


def choices_loss(logits: Tensor, label: Tensor, sizes: Sequence[int], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy [], summed over parts, and mean accuracy [] of parts of `sizes` choices each.

    `logits` [B, sum of sizes] follow each other, labels are int64 [B, parts] (inverse dynamics, Pathak et al. 2017,
    eq. 3).
    """
    parts = zip(torch.split(logits, list(sizes), 1), label.unbind(1), strict=True)
    found = [classification_loss(part, own, weight) for part, own in parts]
    loss, accuracy = (torch.stack(numbers) for numbers in zip(*found, strict=True))
    return loss.sum(), accuracy.mean()


def bits_loss(logits: Tensor, bits: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy [], summed over bits, and mean accuracy [] of the logits of bits, float [B, D]."""
    loss = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(1)
    right = ((logits.detach() > 0) == (bits > 0.5)).float().mean(1)
    return weighted_mean(torch.where(weight > 0, loss, 0.0), weight), weighted_mean(right, weight)


def regression_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error [] of predictions [B] or [B, D], averaged over D."""
    error = (prediction - target).square()
    error = error if error.dim() == 1 else error.mean(1)
    return weighted_mean(torch.where(weight > 0, error, 0.0), weight)


def self_prediction_loss(prediction: Tensor, target: Tensor, valid: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [] and mean cosine [] of predictions and targets [B, K, C] (SPR, Schwarzer et al. 2021, eq. 6).

    The squared distance of both, normalised to length 1, is 2 - 2 cosine; each row's is the mean over K, to which steps
    that are not `valid`, bool [B, K], add nothing, as in the authors' code.
    """
    cosine = functional.cosine_similarity(prediction, target, dim=2)
    distance = torch.where(valid, 2.0 - 2.0 * cosine, 0.0).mean(1)
    seen = torch.where(valid, cosine.detach(), 0.0).sum() / valid.sum().clamp(min=1)
    return weighted_mean(torch.where(weight > 0, distance, 0.0), weight), seen
