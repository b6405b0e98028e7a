"""Weight penalties and the max-norm constraint.

Both are of weights only: parameters with two axes or more. Biases, scales of normalisations, slopes of activations and
the noise scales of noisy layers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Penalty = Literal["none", "l1", "l2", "elastic"]
PENALTIES: tuple[str, ...] = get_args(Penalty)
SCALING = (nn.LayerNorm, nn.RMSNorm)
"""Normalisations whose scales may have several axes."""


def weights(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The trained weights of a module, each with its name.

    A weight under weight normalisation is represented by the lengths of its rows, not by their direction, which has no
    length of its own.
    """
    named = dict(module.named_parameters())
    scales = {id(one) for part in module.modules() if isinstance(part, SCALING) for one in part.parameters(False)}
    for name, parameter in named.items():
        direction = name.endswith(".original1") and name.removesuffix("1") + "0" in named
        left_out = direction or name.endswith("_sigma") or id(parameter) in scales
        if parameter.requires_grad and parameter.dim() > 1 and not left_out:
            yield name, parameter


def penalty(name: str, module: nn.Module, weight: float) -> Tensor:
    """The penalty of a module's weights, to be added to a loss; [].

    `l1` is `weight` times the sum of absolute values (Tibshirani 1996), `l2` of squares, `elastic` of both (the elastic
    net, Zou & Hastie 2005). `none` is 0.

    Raises:
        ValueError: an unknown name.
    """
    check_penalty(name)
    sizes = [size(name, one) for _, one in weights(module)]
    return weight * torch.stack(sizes).sum() if sizes else torch.zeros(())


def size(name: str, values: Tensor) -> Tensor:
    """The sum of absolute values, of squares, or of both; []."""
    total = values.new_zeros(())
    if name in ("l1", "elastic"):
        total = total + values.abs().sum()
    if name in ("l2", "elastic"):
        total = total + values.square().sum()
    return total


def slope(name: str, values: Tensor) -> Tensor:
    """The gradient of `size`, like `values`; 0 for the absolute value of 0."""
    if name == "l1":
        return values.sign()
    return 2.0 * values if name == "l2" else values.sign() + 2.0 * values


def max_norm_(module: nn.Module, bound: float) -> None:
    """Scale each unit's incoming weights in place to a Euclidean norm of at most `bound` (Srivastava et al. 2014).

    A unit's weights are a row of a linear or recurrent layer, the filter of one channel of a convolution, or a learned
    vector.
    """
    for _, parameter in weights(module):
        bound_rows_(parameter, bound)


@torch.no_grad()
def bound_rows_(weight: Tensor, bound: float) -> None:
    """Scale each row [i, ...] in place to a Euclidean norm of at most `bound`; zeros stay zeros."""
    norm = torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp(min=torch.finfo(weight.dtype).tiny)
    weight.mul_((bound / norm).clamp(max=1.0).view(-1, *[1] * (weight.dim() - 1)))


def check_penalty(name: str) -> None:
    """Raise ValueError for an unknown name."""
    if name not in PENALTIES:
        raise ValueError(f"weight_penalty must be one of {', '.join(PENALTIES)}, got {name!r}")
