"""Memory for layers that learn from a batch by compiled code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.columns import NET, passes, stride_of
from gymnast.networks.fast.columns_norm import kept_rows
from gymnast.networks.fast.compiled_mlp import RELU, TANH, Layer, layers_of
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.operations import OPERATIONS

FORWARD, LEARNING = 1, 3
"""Products with each weight that a forward pass takes, and both passes."""
ACTIVATIONS = {"tanh": TANH, "relu": RELU}


class BatchNet:
    """Layers whose parameters `flat` holds, as a record of `NET` for batches of any size.

    The first rows of its memory are for the caller's `outputs`, then come the inputs. `spare` and `other` are rows with
    room for the widest layer's slopes.
    """

    def __init__(self, layers: Sequence[Layer], flat: FlatParameters, *, outputs: int) -> None:
        self.layers = layers_of(flat.data.numpy(), layers)
        self.inputs, places = outputs, list[int]()
        row = outputs + layers[0].linear.in_features
        for layer in layers:
            places.append(row)
            units = layer.linear.out_features
            row += units if layer.norm is None else units + kept_rows(units)
        widest = max(max(layer.linear.in_features, layer.linear.out_features) for layer in layers)
        self.spare, self.other, self._rows = row, row + widest, row + 2 * widest
        self._products = sum(layer.linear.weight.numel() for layer in layers)
        self._gradient, self._places = flat.grad.numpy(), np.array(places, np.int64)
        self._zeros, self._capacity, self._passes = np.zeros(widest, np.float32), 0, passes()
        self._record = np.zeros(1, NET)
        self.address = int(self._record.ctypes.data)
        """Of the record, for compiled code."""
        record, (weights, table, eps) = self._record[0], self.layers
        record["forward"], record["backward"] = (each.address for each in self._passes)
        arrays = {"weights": weights, "gradient": self._gradient, "table": table, "places": self._places}
        for name, array in (arrays | {"zeros": self._zeros}).items():
            record[name] = array.ctypes.data
        record["size"], record["layers"], record["widest"], record["eps"] = len(weights), len(table), widest, eps
        self.reserve(1)

    def reserve(self, samples: int, products: int = 0) -> None:
        """Make the memory large enough for a batch that takes so many products with each weight."""
        OPERATIONS.total += 2 * samples * products * self._products
        if samples > self._capacity:
            self._capacity = samples
            self._memory = np.zeros(self._rows * stride_of(samples), np.float32)
            self._record[0]["memory"], self._record[0]["room"] = self._memory.ctypes.data, len(self._memory)


def mlp_layers(backbone: nn.Module) -> list[Layer] | None:
    """The layers of an MLP of tanh or ReLU layers over a flat Box of floats, normalised or not, else None."""
    if type(backbone) is not MLP or not backbone.vector.is_identity or not backbone.is_plain:
        return None
    if backbone.activation not in ACTIVATIONS or any(type(layer) is not nn.Linear for layer in backbone.layers):
        return None
    activation = ACTIVATIONS[backbone.activation]
    pairs = zip(backbone.layers, backbone.norms, strict=True)
    return [
        Layer(layer, activation, norm if isinstance(norm, nn.LayerNorm) else None)  # type: ignore[arg-type]
        for layer, norm in pairs
    ]


def learns_here(network: nn.Module) -> bool:
    """Whether all parameters learn, in float32 on the CPU."""
    return all(
        parameter.dtype == torch.float32 and parameter.device.type == "cpu" and parameter.grad is not None
        for parameter in network.parameters()
    )
