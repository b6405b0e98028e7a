"""Soft policies over action values, and the bonus of Munchausen reinforcement learning."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over(output: Tensor, policy: Tensor) -> Tensor:
    """The mean of outputs [B, A, K] over actions with probabilities [B, A]; [B, K]."""
    mean: Tensor = policy.unsqueeze(1) @ output
    return mean.squeeze(1)


def log_softmax_policy(q: Tensor, temperature: float) -> Tensor:
    """log pi of the policy softmax(q / temperature); [B, A]."""
    log_policy: Tensor = (q / temperature).log_softmax(1)
    return log_policy


def entropy(policy: Tensor) -> Tensor:
    """-sum_a pi(a) log pi(a) of probabilities [B, A]; [B]."""
    terms: Tensor = torch.special.entr(policy)
    return terms.sum(1)


def munchausen_bonus(log_policy: Tensor, action: Tensor, alpha: float, temperature: float, clip: float) -> Tensor:
    """alpha * temperature * log pi(a|s), with temperature * log pi clipped to [clip, 0] (Vieillard et al. 2020, eq. 2).

    Log-probabilities [B, A] and int64 actions [B] to [B].
    """
    taken = log_policy.gather(1, action.unsqueeze(1)).squeeze(1)
    return alpha * (temperature * taken).clamp(clip, 0.0)
