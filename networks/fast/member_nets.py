"""Networks side by side for compiled code: critics of ReLU layers, or a policy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymnast.networks.fast.batch_net import BatchNet
from gymnast.networks.fast.compiled_mlp import LINEAR, RELU, Affine, Layer
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.heads.members import Members

Array = NDArray[Any]


class Nets(NamedTuple):
    """Networks of one form; each has a memory, whose first rows are the slopes by its outputs."""

    addresses: Array
    """int64 [M], of records of `columns.NET`."""
    layers: int
    outputs: int
    inputs: int
    """A row of each memory, as the next two."""
    spare: int
    other: int


class MemberNets:
    """The networks of `Members` that are ReLU layers and nothing else, whose parameters `flat` holds."""

    def __init__(self, members: Members, flat: FlatParameters) -> None:
        assert members.is_relu
        self._batches = [_batch(layers, flat) for layers in members.member_views()]
        first, layers = self._batches[0], len(members.weights)
        addresses = np.array([batch.address for batch in self._batches], np.int64)
        rows = {"inputs": first.inputs, "spare": first.spare, "other": first.other}
        self._nets = Nets(addresses, layers, outputs=members.weights[-1].shape[1], **rows)

    def reserve(self, samples: int, products: int, members: int | None = None) -> Nets:
        """The networks with memory for a batch, whose products with each weight are counted for so many members."""
        for number, batch in enumerate(self._batches):
            batch.reserve(samples, products if members is None or number < members else 0)
        return self._nets


def _batch(layers: Any, flat: FlatParameters) -> BatchNet:
    *hidden, last = (Affine(*layer) for layer in layers)
    chain = [*(Layer(layer, RELU) for layer in hidden), Layer(last, LINEAR)]
    return BatchNet(chain, flat, outputs=last.out_features)
