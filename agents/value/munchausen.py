"""Munchausen targets: a soft policy in place of the greedy next action (Vieillard et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from gymnast.agents.maths.soft import entropy, log_softmax_policy, munchausen_bonus
from gymnast.agents.maths.td import allowed
from gymnast.agents.value.backup import Sample
from gymnast.agents.value.values import Values

if TYPE_CHECKING:
    from gymnast.agents.value.dqn_config import DQNConfig


class MunchausenBackup(NamedTuple):
    """The policy softmax(q / temperature) in both states, by the target network (Vieillard et al. 2020, eq. 2).

    The reward is increased by alpha * clip(temperature * log pi(a|s)) and by the discounted entropy of the policy in
    the next state; the outputs are the policy's expectation there. With n-step targets the bonus is that of the first
    action. Where actions are masked the policy has only the allowed ones.
    """

    values: Values
    alpha: float
    temperature: float
    clip: float

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        next_q = possible(self.values.q(next_output), sample.next_mask)
        q = possible(self.values.q(before()), sample.mask)
        next_policy = log_softmax_policy(next_q, self.temperature).exp()  # [B, A]
        log_policy = log_softmax_policy(q, self.temperature)
        bonus = munchausen_bonus(log_policy, sample.action, self.alpha, self.temperature, self.clip)
        surprise = sample.discount * self.temperature * entropy(next_policy)
        return sample.reward + bonus + surprise, self.values.expected(next_output, next_policy)


def possible(q: Tensor, mask: Tensor | None) -> Tensor:
    """Action values [B, A] of the allowed actions, -inf for others; in a state that allows none, an end, all count."""
    return q if mask is None else allowed(q, mask | ~mask.any(1, keepdim=True))


def munchausen_backup(config: DQNConfig, values: Values) -> MunchausenBackup:
    """With the settings of a config."""
    return MunchausenBackup(values, config.munchausen_alpha, config.munchausen_temperature, config.munchausen_clip)
