"""Initial weights by name, drawn from a generator that is passed in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gymnast.networks.layers.noisy import NoisyLinear

INITS = ("orthogonal", "he", "xavier", "torch")
GAINS = {
    "relu": math.sqrt(2.0),
    "tanh": 5.0 / 3.0,
    "elu": math.sqrt(2.0),
    "gelu": math.sqrt(2.0),
    "silu": math.sqrt(2.0),
    "leaky-relu": math.sqrt(2.0 / (1 + 0.01**2)),
    "selu": 1.0,
    "sigmoid": 1.0,
    "softplus": math.sqrt(2.0),
}
"""Factors of orthogonal and Xavier weights by the activation that follows (He et al. 2015); SELU keeps variances."""


def initialise(
    module: nn.Module, name: str, *, activation: str | None, generator: torch.Generator, gain: float | None = None
) -> None:
    """Redraw the weights of all linear, convolutional and recurrent layers of a module, on the CPU.

    `orthogonal` (Saxe et al. 2014) and `xavier` (Glorot & Bengio 2010, uniform) are scaled by the gain of the
    activation that follows (1 for None) unless `gain` is given; `he` (He et al. 2015, normal) by its own; their
    biases are 0. `torch` is uniform within 1/sqrt(fan_in) for weights and biases, as torch's own layers are (of a
    recurrent layer within 1/sqrt(units)). Learned vectors are standard normal. Noisy layers always start as in their
    paper.

    Raises:
        ValueError: an unknown name.
    """
    if name not in INITS:
        raise ValueError(f"init must be one of {', '.join(INITS)}, got {name!r}")
    if gain is None:
        gain = GAINS[activation] if activation is not None else 1.0
    for path, layer in module.named_modules():
        if isinstance(layer, NoisyLinear):
            layer.initialise(generator)
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            last = path.rpartition(".")[2] == "output"  # no activation follows it
            _draw(layer.weight, layer.bias, name, 1.0 if last else gain, generator)
        elif isinstance(layer, nn.RNN | nn.LSTM | nn.GRU):
            for weight_ih, weight_hh, bias_ih, bias_hh in layer.all_weights:
                for weight, bias in ((weight_ih, bias_ih), (weight_hh, bias_hh)):
                    _draw(weight, bias, name, 1.0, generator, fan_in=layer.hidden_size)
        elif isinstance(layer, nn.MultiheadAttention):
            _draw(layer.in_proj_weight, layer.in_proj_bias, name, 1.0, generator)
        elif isinstance(layer, nn.Embedding):
            with torch.no_grad():
                layer.weight.normal_(generator=generator)


@torch.no_grad()
def _draw(
    weight: Tensor,
    bias: Tensor | None,
    name: str,
    gain: float,
    generator: torch.Generator,
    *,
    fan_in: int | None = None,
) -> None:
    bound = 0.0
    drawn = torch.empty(weight.shape)  # the same weights regardless of their order in memory
    if name == "orthogonal":
        nn.init.orthogonal_(drawn, gain, generator=generator)
    elif name == "xavier":
        nn.init.xavier_uniform_(drawn, gain, generator=generator)
    elif name == "he":
        nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
    else:
        bound = 1.0 / math.sqrt(weight[0].numel() if fan_in is None else fan_in)
        drawn.uniform_(-bound, bound, generator=generator)
    weight.copy_(drawn)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)
