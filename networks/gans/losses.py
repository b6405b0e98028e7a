"""Adversarial losses: of the scores that a discriminator gives to real and to generated examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class Adversarial(NamedTuple):
    """A pair of losses; scores are [B], losses []."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Of the scores of real and of generated examples."""
    generator: Callable[[Tensor], Tensor]
    """Of the scores of generated examples."""


LOSSES = {
    "non-saturating": Adversarial(
        lambda real, fake: functional.softplus(-real).mean() + functional.softplus(fake).mean(),
        lambda fake: functional.softplus(-fake).mean(),
    ),
    "wasserstein": Adversarial(lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
    "least-squares": Adversarial(
        lambda real, fake: 0.5 * ((real - 1).square().mean() + fake.square().mean()),
        lambda fake: 0.5 * (fake - 1).square().mean(),
    ),
    "hinge": Adversarial(
        lambda real, fake: functional.relu(1 - real).mean() + functional.relu(1 + fake).mean(),
        lambda fake: -fake.mean(),
    ),
}
"""By name: Goodfellow et al. 2014 (section 3), Arjovsky et al. 2017, Mao et al. 2017 (eq. 9), Lim & Ye 2017."""
