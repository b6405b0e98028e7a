"""Bootstrapped DQN: an ensemble of heads, each with its own targets and share of the data (Osband et al. 2016).

Every head's outputs are K numbers per action, and the network's are those of all H heads, [B, A, H * K]. The loss of a
batch is that of B * H samples, so that a head combines with every kind of values and of backup.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.value.backup import Backup, Sample
from gymnast.agents.value.values import Values


class EnsembleValues:
    """The values of H heads: their mean, and the sum of their losses over the heads that learn from a sample."""

    def __init__(self, each: Values, heads: int) -> None:
        self.each, self.heads, self.outputs = each, heads, each.outputs

    def of_heads(self, output: Tensor) -> Tensor:
        """Outputs [..., A, H * K] to each head's action values, [..., A, H]."""
        return self.each.q(output.reshape(*output.shape[:-1], self.heads, -1))

    def q(self, output: Tensor) -> Tensor:
        return self.of_heads(output).mean(-1)

    def td_loss(self, output: Tensor, reward: Tensor, discount: Tensor, next_output: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the heads' losses, and the mean of their errors.

        As `EnsembleBackup` gives them, `reward` is [B, H], and the last H columns of `next_output` are 1 for the heads
        that learn from the sample and 0 for the others.
        """
        rows, heads = reward.shape
        aim, learns = next_output[:, :-heads], next_output[:, -heads:]
        loss, error = self.each.td_loss(
            output.reshape(rows * heads, -1),
            reward.flatten(),
            discount.repeat_interleave(heads),
            aim.reshape(rows * heads, -1),
        )
        loss, error = loss.view(rows, heads) * learns, error.view(rows, heads) * learns
        return loss.sum(1), error.sum(1) / learns.sum(1).clamp(min=1.0)


@dataclass(slots=True)
class Samples:
    """Each of B samples H times, once for each head."""

    action: Tensor
    reward: Tensor
    discount: Tensor
    mask: Tensor | None
    next_mask: Tensor | None
    index: Tensor


class EnsembleBackup:
    """The backup of each head, from its own target.

    A head learns from a transition with `probability`, and it does so whenever that is sampled: the draw is a function
    of the transition's slot in the replay and of `key`. What later takes the slot is drawn alike.
    """

    def __init__(self, each: Backup, heads: int, *, probability: float, key: int) -> None:
        self.each, self.heads, self.probability, self.key = each, heads, probability, key

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Reward [B, H], and the heads' outputs and whether each learns, [B, H * K + H]."""
        rows, heads = len(sample.action), self.heads

        def split(output: Tensor) -> Tensor:
            return output.reshape(rows, output.shape[1], heads, -1).transpose(1, 2).flatten(0, 1)  # [B * H, A, K]

        def repeated(part: Tensor) -> Tensor:
            return part.repeat_interleave(heads, 0)

        every = Samples(
            repeated(sample.action),
            repeated(sample.reward),
            repeated(sample.discount),
            None if sample.mask is None else repeated(sample.mask),
            None if sample.next_mask is None else repeated(sample.next_mask),
            sample.index,
        )
        reward, output = self.each(
            every, split(next_output), choice=lambda: split(choice()), before=lambda: split(before())
        )
        learns = learning_heads(sample.index, heads, probability=self.probability, key=self.key)
        return reward.view(rows, heads), torch.cat([output.reshape(rows, -1), learns], 1)


def learning_heads(index: Tensor, heads: int, *, probability: float, key: int) -> Tensor:
    """Which heads learn from the transitions in slots int64 [B]: 1.0 with a probability, else 0.0; [B, H].

    The draws are the finaliser of SplitMix64 (Steele et al. 2014) of a counter, the same on every device.
    """
    counter = index.unsqueeze(1) * heads + torch.arange(heads, device=index.device)
    mixed = (counter + key) * -7046029254386353131
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        mixed = (mixed ^ _shifted(mixed, shift)) * factor
    uniform = _shifted(mixed ^ _shifted(mixed, 31), 40).float() / 2**24
    return (uniform < probability).float()


def _shifted(bits: Tensor, count: int) -> Tensor:
    """A logical shift of int64 to the right."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def votes(of_heads: Tensor, allowed: Tensor | None) -> Tensor:
    """How preferred actions are by the heads' votes: values [N, A, H] to [N, A], in the order of votes.

    Each head votes for its best allowed action (bool [N, A]); among those with equally many votes the mean decides.
    """
    ranked = of_heads if allowed is None else of_heads.masked_fill(~allowed.unsqueeze(2), -torch.inf)
    count = torch.zeros_like(of_heads).scatter_(1, ranked.argmax(1, keepdim=True), 1.0).sum(2)
    mean = of_heads.mean(2)
    most = count == count.amax(1, keepdim=True)
    return torch.where(most, mean, -torch.inf)
