"""Steps in the geometry of distributions: the Fisher matrix by its products, and a search within a trust region.

P are the parameters of a policy as one flat tensor, B rows of observations, K the outputs that describe a distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd import grad

from gymnast.agents.maths.means import weighted_mean

Product: TypeAlias = Callable[[Tensor], Tensor]
"""A symmetric matrix times a vector, [P] to [P]."""
Flatten: TypeAlias = Callable[[Iterable[Tensor]], Tensor]
"""One tensor for each parameter to one flat tensor [P]."""


def surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """Mean advantage by the ratio of probabilities, r * A, to be maximised; [B] to [] (Schulman et al. 2015, eq. 14).

    Rows of weight 0 may hold any finite number; the weights sum to 1.
    """
    ratio = torch.where(weight > 0, log_prob - old_log_prob, 0.0).exp()  # 0 times infinity is NaN
    return weighted_mean(ratio * advantage, weight)


def fisher_product(
    output: Tensor,
    parameters: Sequence[Tensor],
    divergence: Callable[[Tensor], Tensor],
    *,
    flatten: Flatten,
    damping: float = 0.0,
) -> Product:
    """Products with the Fisher matrix F of outputs [B, K] by their parameters, plus `damping` times the identity.

    `divergence` maps outputs to their mean KL divergence [] from the current ones. There its slope is 0, so that its
    Hessian by the parameters is F = J' M J without a further term, J the Jacobian of the outputs and M the Hessian by
    the outputs alone (Schulman et al. 2015, appendix C.1; Martens 2020, section 9). J v is the slope of J' u by u.

    Ten products take 1.2 to 1.5 times less CPU time than by the second derivative of the divergence
    (`python benchmarks/fast.py`).
    """
    now = output.detach().requires_grad_()
    (slope,) = grad(divergence(now), now, create_graph=True)
    along = torch.zeros_like(output, requires_grad=True)
    pulled = flatten(grad(output, parameters, along, create_graph=True, materialize_grads=True))  # J' u, [P]

    def product(vector: Tensor) -> Tensor:
        (moved,) = grad(pulled, along, vector, retain_graph=True)  # J v, [B, K]
        (curved,) = grad(slope, now, moved, retain_graph=True)
        back = grad(output, parameters, curved, retain_graph=True, materialize_grads=True)
        return flatten(back).add_(vector, alpha=damping)

    return product


def conjugate_gradients(product: Product, target: Tensor, *, steps: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Approximate solution x [P] of A x = b, and the norm of the residual beside that of b, [].

    At most `steps` products with A, which is symmetric and positive, fewer once the residual is within `tolerance`
    (Hestenes & Stiefel 1952; Nocedal & Wright 2006, algorithm 5.2). The host reads a number in each step. For b = 0
    both are 0.
    """
    solution, residual = torch.zeros_like(target), target.clone()
    direction, size = residual.clone(), torch.dot(target, target)
    left = size
    for _ in range(steps):
        if left <= tolerance**2 * size:
            break
        image = product(direction)
        stride = left / torch.dot(direction, image)
        solution.add_(direction * stride)
        residual.sub_(image * stride)
        before, left = left, torch.dot(residual, residual)
        direction.mul_(left / before).add_(residual)
    return solution, torch.where(size > 0, (left / size).sqrt(), left)


class Found(NamedTuple):
    """The end of a search along a step."""

    scale: float
    """The accepted fraction of the step; 0 if none is."""
    gain: Tensor
    """By how much the objective has grown, []; 0 without a step."""
    kl: Tensor
    """Mean KL divergence from the policy before, []; 0 without a step."""
    tries: int
    """Fractions measured."""


def backtrack(measure: Callable[[float], tuple[Tensor, Tensor]], *, max_kl: float, steps: int, shrink: float) -> Found:
    """The first of the fractions 1, shrink, shrink^2 … that improves the objective within the trust region.

    `measure` gives a fraction's gain [] and mean KL divergence [] (Schulman et al. 2015, appendix C). One whose numbers
    are not finite is too long.
    """
    for tried in range(steps):
        scale = shrink**tried
        gain, kl = measure(scale)
        if 0.0 < gain < math.inf and kl <= max_kl:
            return Found(scale, gain, kl, tried + 1)
    return Found(0.0, torch.zeros_like(gain), torch.zeros_like(kl), steps)
