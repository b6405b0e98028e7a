"""An auxiliary loss beside the loss of a Q network, on the same features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gymnast.agents.auxiliary import Auxiliary, Transitions
from gymnast.agents.base import Metrics
from gymnast.agents.optim.update import Loss
from gymnast.networks.heads.q import QNetwork
from gymnast.replay.following import Following
from gymnast.replay.transitions import Batch

LossOf = Callable[[Tensor, Batch, Tensor | None], tuple[Tensor, Tensor, Metrics]]
"""Maps the network's output [B, A, K], a batch and noise to loss [], error of each sample [B] and metrics."""


def beside(
    auxiliary: Auxiliary,
    network: QNetwork,
    loss_of: LossOf,
    *,
    first_action: int,
    following: Callable[[Tensor], Following],
) -> Loss:
    """The sum of both losses of a batch and its noise.

    All samples weigh the same in the auxiliary one, except in self-prediction, whose authors weigh them as in the
    agent's own. `following` reads the steps after slots of the replay, int64 [B].
    """

    def both(batch: Batch, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        features = network.backbone(batch.obs)
        output = network.outputs(batch.obs, features, None if noise is None else noise[0])
        loss, error, metrics = loss_of(output, batch, noise)
        ahead, weight = None, torch.ones_like(batch.weight)
        if auxiliary.needs_following:
            ahead, weight = following(batch.index), batch.weight
        share = weight / len(weight)
        seen = Transitions(batch.obs, batch.next_obs, batch.action + first_action, batch.reward, share, ahead)
        extra, more = auxiliary.loss(seen, features)
        return loss + extra, error, metrics | more

    return both
