"""Buffers for sampled batches: allocated once, because page faults cost more than the copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.replay.layout import Layout
from gymnast.replay.transitions import Batch


@dataclass(frozen=True)
class Gather:
    """One gather of frames: from the slots of `obs` (or of its successors) and their `offsets` into `parts`."""

    successors: bool
    offsets: Tensor  # int64 [F], the frames of one sample, in slots from its newest
    parts: list[Tensor]  # one per leaf, [B * F, ...]


class Buffers:
    """Buffers of a batch and the gathers that fill it; obs and next_obs share their common frames."""

    def __init__(self, layout: Layout, *, batch_size: int, n: int, stride: int, device: torch.device) -> None:
        k = layout.stack

        def frames(count: int) -> list[Tensor]:
            return [
                torch.zeros((batch_size, count, *leaf.shape), dtype=leaf.dtype, device=device) for leaf in layout.leaves
            ]

        def gather(parts: list[Tensor], *, first: int, last: int, successors: bool) -> Gather:
            offsets = torch.arange(first, last + 1, device=device) * stride
            return Gather(successors, offsets, [part.flatten(0, 1) for part in parts])

        if k > 1 and n == 1:
            both = frames(k + 1)
            obs, next_obs = [part[:, :-1] for part in both], [part[:, 1:] for part in both]
            self.gathers = [gather(both, first=1 - k, last=1, successors=False)]
        else:
            obs, next_obs = frames(k), frames(k)
            self.gathers = [
                gather(obs, first=1 - k, last=0, successors=False),
                gather(next_obs, first=1 - k, last=0, successors=True),
            ]
            if k == 1:
                obs, next_obs = [part.squeeze(1) for part in obs], [part.squeeze(1) for part in next_obs]
        self.batch = Batch(
            obs=layout.join(obs),
            action=torch.zeros(batch_size, dtype=torch.int64, device=device),
            reward=torch.zeros(batch_size, device=device),
            discount=torch.zeros(batch_size, device=device),
            next_obs=layout.join(next_obs),
            weight=torch.ones(batch_size, device=device),
            next_mask=None,
            index=torch.zeros(batch_size, dtype=torch.int64, device=device),
        )
