"""The forward pass of a plain MLP in NumPy, on views of its weights: for few rows much faster than torch's."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from torch import nn

from gymnast.networks.backbones import MLP
from gymnast.networks.heads import QHead, QNetwork
from gymnast.networks.inputs import Vector

Array: TypeAlias = "np.ndarray"


class NumpyForward:
    """What `network(obs)` gives, [N, A, K], for float32 observations [N, D]; it follows every change of the weights."""

    def __init__(self, layers: list[nn.Linear], *, actions: int, outputs: int) -> None:
        self._weights = [layer.weight.detach().numpy().T for layer in layers]
        self._biases = [layer.bias.detach().numpy() for layer in layers]
        self._shape = (-1, actions, outputs)

    def __call__(self, obs: Array) -> Array:
        features = obs
        for weight, bias in zip(self._weights[:-1], self._biases[:-1], strict=True):
            features = features @ weight
            features += bias
            np.maximum(features, 0.0, out=features)
        output: Array = features @ self._weights[-1] + self._biases[-1]
        return output.reshape(self._shape)


def numpy_forward(network: nn.Module) -> NumpyForward | None:
    """The NumPy form of a network on the CPU, or None where it has another shape than ReLU layers over a flat Box.

    Flatten the parameters first (`FlatParameters`): views of weights that move later would go stale.
    """
    layers = plain_layers(network)
    if layers is None or layers[0].weight.device.type != "cpu":
        return None
    head = network.head
    assert isinstance(head, QHead)
    return NumpyForward(layers, actions=head.actions, outputs=head.outputs)


def plain_layers(network: nn.Module) -> list[nn.Linear] | None:
    """The linear layers of a network that is nothing but ReLU layers over a flat float Box, else None."""
    if type(network) is not QNetwork or type(network.backbone) is not MLP or type(network.head) is not QHead:
        return None
    backbone: MLP = network.backbone
    layers = [*backbone.layers, network.head.output]
    vector: Vector = backbone.vector
    plain = vector.kind == "flat" and vector.one_dimensional and backbone.activation == "relu"
    if not plain or not all(type(layer) is nn.Linear for layer in layers):
        return None
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
