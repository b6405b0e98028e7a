"""What a discriminator of expert and policy learns, and the rewards that it gives. D is the sigmoid of its logit."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

RewardForm = Literal["positive", "negative", "airl"]
"""The names of `discriminator_reward`."""
SMALL = 1e-12
"""Added to squared norms, so that the norm has a gradient at 0."""
LARGEST = 20.0
"""Logits are clipped to this in rewards, which stay finite where a discriminator is certain."""


def discriminator_loss(expert: Tensor, policy: Tensor) -> Tensor:
    """Binary cross-entropy [] of logits [B] of an expert's and of a policy's transitions; log 2 for D = 1/2.

    It is half of Ho & Ermon 2016, eq. 17, with the roles of D and 1 - D exchanged: D is high for the expert. Both sides
    count the same.
    """
    return 0.5 * (functional.softplus(-expert).mean() + functional.softplus(policy).mean())


def with_absorbing(logit: Tensor, by_expert: Tensor, by_policy: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B] of transitions and that of the absorbing state [], if it counts among the transitions.

    An ended episode stays in an absorbing state (Kostrikov et al. 2019, section 4.2), which the expert and the policy
    visit `by_expert` and `by_policy` times for each of their transitions, [] each. So a share 1 / (1 + visits) of
    everything that they visit are transitions, and the rest is the absorbing state. The best discriminator of both is
    known from these shares and from one of the transitions only, whose logits are `logit`.
    """
    alive = torch.log1p(by_policy) - torch.log1p(by_expert)
    return logit + alive, (by_expert / by_policy).log() + alive


def discriminator_reward(logit: Tensor, form: RewardForm) -> Tensor:
    """The reward of logits, of any shape.

    `positive` is -log(1 - D) > 0, `negative` is log D < 0 (Ho & Ermon 2016), and `airl` is their sum, the logit
    log D - log(1 - D) (Fu et al. 2018).
    """
    logit = logit.clamp(-LARGEST, LARGEST)
    if form == "positive":
        return functional.softplus(logit)
    return -functional.softplus(-logit) if form == "negative" else logit


def accuracy(expert: Tensor, policy: Tensor) -> Tensor:
    """The share [] of logits [B] on the right side of 0, the mean of both kinds."""
    return 0.5 * ((expert > 0).float().mean() + (policy < 0).float().mean())


def gradient_penalty(squared: Tensor) -> Tensor:
    """Mean squared distance [] of gradient norms from 1, given their squares [B] (Gulrajani et al. 2017, eq. 3)."""
    return ((squared + SMALL).sqrt() - 1.0).square().mean()


def r1_penalty(squared: Tensor) -> Tensor:
    """Half the mean [] of squared gradient norms [B] at the expert's transitions (Mescheder et al. 2018, eq. 9)."""
    return 0.5 * squared.mean()
