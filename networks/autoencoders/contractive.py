"""The size of an encoder's Jacobian (Rifai et al. 2011)."""

from __future__ import annotations

import torch
from torch import Tensor


def contraction(latent: Tensor, inputs: Tensor, probes: int, generator: torch.Generator) -> Tensor:
    """The squared Frobenius norm of d latent / d inputs, each example's, mean over the batch; it has a gradient.

    `latent` [B, L] is computed from `inputs` [B, ...], which require a gradient, each example's from its own. With
    `probes` the norm is estimated by so many random signs (Hutchinson 1990), at one backward pass each; with 0 it is
    exact, at one pass for each of the L numbers.
    """
    if probes:
        shape = (probes, *latent.shape)
        signs = torch.randint(0, 2, shape, generator=generator, device=latent.device) * 2.0 - 1.0
        directions, weight = list(signs), 1.0 / probes
    else:
        directions, weight = [unit.expand_as(latent) for unit in torch.eye(latent.shape[1], device=latent.device)], 1.0
    total = torch.zeros((), device=latent.device)
    for direction in directions:
        (gradient,) = torch.autograd.grad(latent, inputs, direction, create_graph=True)
        total = total + gradient.square().sum()
    return weight * total / len(latent)
