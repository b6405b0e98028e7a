"""The forward pass of a plain MLP in NumPy, on views of its weights: for few rows four times as fast as torch's."""

from __future__ import annotations

import numpy as np
from torch import nn

from gymnast.networks.heads import QHead, QNetwork
from gymnast.networks.plain import plain_layers


class NumpyForward:
    """What `network(obs)` gives, [N, A, K], for float32 observations [N, D]; it follows every change of the weights."""

    def __init__(self, network: QNetwork, layers: list[nn.Linear]) -> None:
        head = network.head
        assert isinstance(head, QHead)
        self._shape = (-1, head.actions, head.outputs)
        parameters = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
        self._hidden, (self._weight, self._bias) = parameters[:-1], parameters[-1]

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        features = obs
        for weight, bias in self._hidden:
            features = features @ weight
            features += bias
            np.maximum(features, 0.0, out=features)
        output: np.ndarray = features @ self._weight
        output += self._bias
        return output.reshape(self._shape)


def numpy_forward(network: QNetwork) -> NumpyForward | None:
    """The NumPy form of a plain MLP on the CPU, None for another network.

    Flatten the parameters first (`FlatParameters`): views of weights that move later would go stale.
    """
    layers = plain_layers(network)
    if layers is None or layers[0].weight.device.type != "cpu":
        return None
    return NumpyForward(network, layers)
