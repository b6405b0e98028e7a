"""Initial weights by name, drawn from a generator that is passed in, or scaled by a batch of observations."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gymnast.networks.layers.activations import gain_of
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.noisy import NoisyLinear

Init = Literal["orthogonal", "he", "he-uniform", "xavier", "xavier-normal", "lecun", "lecun-uniform", "lsuv", "torch"]
INITS: tuple[str, ...] = get_args(Init)
BATCH = 256
"""Observations that `lsuv` looks at, where nobody has better ones."""
TRIES = 10
"""Most times that `lsuv` scales a layer: its biases keep their size, so once may not be enough."""


def initialise(
    module: nn.Module, name: str, *, activation: str | None, generator: torch.Generator, gain: float | None = None
) -> None:
    """Redraw the weights of all linear, convolutional and recurrent layers of a module, on the CPU.

    `orthogonal` (Saxe et al. 2014), `xavier` (Glorot & Bengio 2010, uniform) and `xavier-normal` are scaled by the gain
    of the activation that follows (1 for None) unless `gain` is given. `he` (He et al. 2015, normal), `he-uniform`,
    `lecun` (LeCun et al. 1998, normal, of variance 1/fan_in) and `lecun-uniform` have a scale of their own. `lsuv` is
    orthonormal, times `gain` if it is given, until `lsuv` scales it. The biases of all these are 0. `torch` is uniform
    within 1/sqrt(fan_in) for weights and biases, as torch's own layers are (of a recurrent layer within 1/sqrt(units)).
    Learned vectors are standard normal. Noisy layers always start as in their paper, and PReLU's slopes.

    Raises:
        ValueError: an unknown name.
    """
    if name not in INITS:
        raise ValueError(f"init must be one of {', '.join(INITS)}, got {name!r}")
    if gain is None:
        gain = gain_of(activation) if activation is not None and name != "lsuv" else 1.0
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
    if name in ("orthogonal", "lsuv"):
        nn.init.orthogonal_(drawn, gain, generator=generator)
    elif name == "xavier":
        nn.init.xavier_uniform_(drawn, gain, generator=generator)
    elif name == "xavier-normal":
        nn.init.xavier_normal_(drawn, gain, generator=generator)
    elif name in ("he", "lecun"):
        nn.init.kaiming_normal_(drawn, nonlinearity="relu" if name == "he" else "linear", generator=generator)
    elif name in ("he-uniform", "lecun-uniform"):
        nn.init.kaiming_uniform_(drawn, nonlinearity="relu" if name == "he-uniform" else "linear", generator=generator)
    else:
        bound = 1.0 / math.sqrt(weight[0].numel() if fan_in is None else fan_in)
        drawn.uniform_(-bound, bound, generator=generator)
    weight.copy_(drawn)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def lsuv(module: nn.Module, batch: Obs) -> None:
    """Scale the weights of all linear and convolutional layers so that each layer's output has variance 1.

    This is the second half of layer-sequential unit-variance initialisation (Mishkin & Matas 2016, algorithm 1), after
    orthonormal weights (`initialise` by the name `lsuv`). The variance is that over all numbers of a layer's output for
    the `batch`, which the module is called with; layers follow in the order in which they run, each with the scaled
    ones before it. A layer that gives the same number everywhere stays as it is, and so do recurrent, attention and
    noisy layers, constrained weights, and layers called `output`, which no activation follows.
    """
    seen = set[nn.Module]()

    def scale(layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        for _ in range(TRIES if layer not in seen else 0):
            variance = float(output.float().var(correction=0))
            if not 0.0 < variance < math.inf or abs(variance - 1.0) < 1e-3:
                break
            layer.weight.mul_(variance**-0.5)
            output = layer.forward(*args, **kwargs)
        seen.add(layer)
        return output

    hooks = [
        layer.register_forward_hook(scale, with_kwargs=True)
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        and path.rpartition(".")[2] != "output"
        and not parametrize.is_parametrized(layer)
    ]
    training = module.training
    module.eval()
    try:
        module(batch)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
