"""The steps that follow sampled transitions, for a loss that predicts several steps ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gymnast.replay.layout import Layout, Obs


class Following(NamedTuple):
    """The K steps from each of B transitions on; those after the end of its window's stream are not valid."""

    action: Tensor
    """int64 [B, K], counted from 0: that of the transition and the K - 1 after it."""
    obs: Obs
    """[B, K, ...], the observation after each action."""
    valid: Tensor
    """bool [B, K], whether a step is stored and no episode or life ended before it."""


def following(
    index: Tensor,
    steps: int,
    *,
    layout: Layout,
    frames: Sequence[Tensor],
    action: Tensor,
    stop: Tensor,
    newest: Tensor,
    slots: int,
) -> Following:
    """The `steps` steps from the slots `index`, int64 [B], in the arrays of a ring; the host reads nothing.

    `newest`, int64 [N], are the slots of the streams' newest observations, whose actions are not stored yet. What
    follows an invalid step belongs to other transitions.
    """
    streams = len(newest)
    device = index.device
    at = (index.unsqueeze(1) + torch.arange(steps + 1, device=device) * streams) % slots  # [B, K + 1]
    before = at[:, :-1]
    valid = before != newest[index % streams].unsqueeze(1)
    valid[:, 1:] &= ~stop[before[:, :-1]]
    stack = torch.arange(1 - layout.stack, 1, device=device) * streams
    wanted = (at[:, 1:].unsqueeze(2) + stack) % slots  # [B, K, stack]
    parts = [part[wanted] for part in frames]
    if layout.stack == 1:
        parts = [part.squeeze(2) for part in parts]
    return Following(action[before], layout.join(parts), valid.long().cumprod(1).bool())
