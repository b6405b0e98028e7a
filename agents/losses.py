"""Losses and targets: tensors in, tensors out; they run eagerly, compiled and in a captured graph alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def td_target(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """Target r + discount * v'; all [B]. `discount` is gamma**n, or 0 after a terminal state (Sutton 1988)."""
    return torch.addcmul(reward, discount, next_value)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error (y - x)**2, elementwise."""
    return functional.mse_loss(prediction, target, reduction="none")


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """e**2 / 2 for an error |e| <= 1 and |e| - 1/2 beyond, elementwise: a gradient of at most 1 (Huber 1964).

    It is the error clipping of Mnih et al. 2015 (Methods).
    """
    return functional.huber_loss(prediction, target, reduction="none")


def chosen(output: Tensor, action: Tensor) -> Tensor:
    """The outputs of one action per row: [B, A, K] and int64 [B] to [B, K]."""
    return output.gather(1, action.view(-1, 1, 1).expand(-1, 1, output.shape[2])).squeeze(1)


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of weight * loss; both [B]."""
    return loss.dot(weight / len(weight))
