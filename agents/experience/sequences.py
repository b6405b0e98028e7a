"""A batch of sequences as rows: the transitions learned from, and what a network made of their steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gymnast.replay.sequences import SequenceBatch


@dataclass(slots=True)
class Steps:
    """The B * L transitions of a batch of sequences, one after the other."""

    action: Tensor
    reward: Tensor
    discount: Tensor
    mask: Tensor | None
    next_mask: Tensor | None
    index: Tensor

    @classmethod
    def of(cls, batch: SequenceBatch) -> Steps:
        mask, next_mask = (None if mask is None else mask.flatten(0, 1) for mask in (batch.mask, batch.next_mask))
        index = batch.index.repeat_interleave(batch.action.shape[1])
        return cls(batch.action.flatten(0, 1), batch.reward.flatten(), batch.discount.flatten(), mask, next_mask, index)


def learned(output: Tensor, batch: SequenceBatch) -> Tensor:
    """The steps that are learned from: [B, L + n, ...] to [B * L, ...]."""
    return output[:, : batch.action.shape[1]].flatten(0, 1)


def following(output: Tensor, batch: SequenceBatch) -> Tensor:
    """The steps that targets bootstrap from: [B, L + n, ...] to [B * L, ...]."""
    extra = output.dim() - 2
    index = batch.successor[(...,) + (None,) * extra].expand(-1, -1, *output.shape[2:])
    return output.gather(1, index).flatten(0, 1)


def mixed(error: Tensor, valid: Tensor, *, eta: float) -> Tensor:
    """Priority of each sequence [B]: eta times the largest error of its transitions [B, L], 1 - eta times the mean.

    Steps with `valid` 0 hold no transition (Kapturowski et al. 2019, section 3).
    """
    counted = error * valid
    mean = counted.sum(1) / valid.sum(1).clamp(min=1.0)
    return eta * counted.amax(1) + (1.0 - eta) * mean
