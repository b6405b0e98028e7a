"""What a policy's outputs prefer, differentiable, as `Decision` has it."""

from __future__ import annotations

from torch import Tensor

from gymnast.networks.distributions.bounded import BoundedNormal
from gymnast.networks.distributions.distributions import Distribution


def preferred(distribution: Distribution, output: Tensor) -> Tensor:
    """Logits [N, P] of outputs, or the means [N, P] of a Box's numbers in the environment's units."""
    if not isinstance(distribution, BoundedNormal):
        return output
    return distribution.to_env(distribution.mode(output)).flatten(1).float()


def meaning(distribution: Distribution) -> str:
    """What a preference is, in words."""
    return "mean of the action" if isinstance(distribution, BoundedNormal) else "logit"
