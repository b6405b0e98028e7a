"""The gradient of a critic's loss as one compiled function of a rollout and the samples of a minibatch.

Gain of a gradient over autograd, CPU time on one thread, `python benchmarks/fast.py`: TRPO's values 6 to 8 times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.samples import Drawn, Samples
from gymnast.agents.value.pqn_gradient import write_gradient
from gymnast.networks.fast.batch_net import LEARNING, BatchNet, learns_here, mlp_layers
from gymnast.networks.fast.compiled_mlp import LINEAR, Layer
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.q_compiled import QNet
from gymnast.networks.heads.actor_critic import ActorCriticNetwork

Array = NDArray[Any]


class ValueGradient:
    """Writes the gradient of `values_loss` without clipping, for one value [B, 1]: PQN's with a single action."""

    def __init__(self, network: ActorCriticNetwork, layers: list[Layer], flat: FlatParameters) -> None:
        self.network = network
        self._batch = batch = BatchNet(layers, flat, outputs=1)
        self._net = QNet(batch.address, len(layers), 1, batch.inputs, batch.spare, batch.other)
        self._samples: Samples | None = None
        flat.added = flat.grad[:0]

    def __call__(self, batch: Drawn[Samples], noise: Tensor | None) -> tuple[Tensor, Metrics]:
        """The error of each value [B], and the loss."""
        if batch.samples is not self._samples:
            self._prepare(batch.samples)
        index = batch.numbers()
        self._batch.reserve(len(index), LEARNING)
        error, (loss, _) = write_gradient(self._net, *self._rows, index)
        return torch.from_numpy(error), {"value_loss": torch.tensor(loss)}

    def _prepare(self, samples: Samples) -> None:
        """A rollout for compiled code: observations [S, D], actions, targets and weights, all [S]."""
        self._samples, target = samples, samples.old.target[:, 0].contiguous()
        seen = self.network.seen(samples.obs).contiguous()
        action = np.zeros(len(target), np.int64)
        self._rows = seen.numpy(), action, target.numpy(), samples.weight.numpy()


def value_gradient(network: ActorCriticNetwork, flat: FlatParameters) -> ValueGradient | None:
    """The compiled gradient of a critic whose parameters `flat` holds, if it is of plain layers on the CPU."""
    critic, head = network.critic, network.value
    if critic is None or critic.core is not None or head.out_features != 1 or not learns_here(flat.module):
        return None
    below = mlp_layers(critic.backbone)
    return None if below is None else ValueGradient(network, [*below, Layer(head, LINEAR)], flat)
