"""The forward pass of a policy in NumPy, on views of its weights: for few rows it costs less than torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gymnast.networks.fast.numpy_forward import ZERO
from gymnast.networks.heads.critics import PolicyNetwork
from gymnast.networks.heads.recurrent_critics import RecurrentPolicyNetwork

Array = NDArray[Any]


class NumpyPolicy:
    """A policy's outputs, [N, P], for float32 observations [N, F] in NumPy, on views of its weights.

    Build it once its parameters are flat (`FlatParameters`): views of weights that move later would go stale.
    """

    def __init__(self, network: PolicyNetwork) -> None:
        layers = network.layers
        self._layers: list[tuple[Array, Array]] = [
            (weight.detach().numpy()[0].T, bias.detach().numpy()[0])
            for weight, bias in zip(layers.weights, layers.biases, strict=True)
        ]

    def __call__(self, obs: Array) -> Array:
        output, last = obs, len(self._layers) - 1
        for number, (weight, bias) in enumerate(self._layers):
            output = output.dot(weight)
            output += bias
            if number < last:
                np.maximum(output, ZERO, out=output)
        return output


def numpy_policy(network: PolicyNetwork, encoder: nn.Module) -> NumpyPolicy | None:
    """The NumPy form of ReLU layers on a flat float Box on the CPU, None for another network."""
    layers, vector = network.layers, getattr(encoder, "vector", None)
    plain = vector is not None and vector.is_identity and not any(True for _ in encoder.parameters())
    plain = (
        plain
        and not isinstance(network, RecurrentPolicyNetwork)
        and layers.activation == "relu"
        and layers.norm == "none"
    )
    return NumpyPolicy(network) if plain and all(one.is_cpu for one in network.parameters()) else None
