"""Layers of a Dreamer: normalised fully connected ones, and block-diagonal ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-4
"""Of the root-mean-square normalisations."""
TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a normal variable that is cut off at two of its own."""


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axis (Zhang & Sennrich 2019), then SiLU: the end of every hidden layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.normed(x))

    def normed(self, x: Tensor) -> Tensor:
        """Before SiLU."""
        return functional.rms_norm(x.float(), self.scale.shape, self.scale, EPS)


class BlockLinear(nn.Module):
    """A linear layer whose matrix has G blocks on its diagonal: [G, B, in] to [G, B, out]."""

    def __init__(self, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class NormedMLP(nn.Module):
    """`layers` fully connected layers of `units`, each normalised and with SiLU, then a linear one: [..., outputs].

    `output_scale` multiplies the first weights of the last layer; 0 gives outputs of exactly 0 at first.
    """

    def __init__(self, inputs: int, units: int, layers: int, outputs: int, *, output_scale: float = 1.0) -> None:
        super().__init__()
        self.output_scale = output_scale
        sizes = [inputs, *[units] * layers]
        self.hidden = hidden(sizes)
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.output(self.hidden(x))
        return output


def hidden(sizes: Iterable[int]) -> nn.Sequential:
    """Normalised fully connected layers of these sizes, the input's first."""
    return nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), RMSNorm(b))))


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights from a normal distribution, cut off at two deviations, of variance 1 / inputs; biases 0."""
    scales = {id(part.output): part.output_scale for part in module.modules() if isinstance(part, NormedMLP)}
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | BlockLinear):
            std = scales.get(id(part), 1.0) / math.sqrt(_inputs(part)) / TRUNCATED_STD
            part.weight.copy_(_truncated_normal(part.weight.shape, generator) * std)
            if part.bias is not None:
                part.bias.zero_()


def _inputs(part: nn.Linear | nn.Conv2d | nn.ConvTranspose2d | BlockLinear) -> int:
    """Numbers that each output of a layer sums."""
    if isinstance(part, nn.ConvTranspose2d):
        return part.weight.shape[0] * math.prod(part.kernel_size) // math.prod(part.stride)
    if isinstance(part, BlockLinear):
        return part.weight.shape[1]
    return math.prod(part.weight.shape[1:])


def _truncated_normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Standard normal numbers between -2 and 2, from uniform ones by the inverse of the distribution."""
    edge = math.erf(2.0 / math.sqrt(2.0))
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (math.sqrt(2.0) * torch.erfinv((2.0 * uniform - 1.0) * edge)).float()
