"""The value that a target bootstraps from: that of the greedy next action, or of a soft policy (Munchausen)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

from gymnast.agents.base import LearningError
from gymnast.agents.maths.td import allowed, chosen, entropy, log_softmax_policy, munchausen_bonus
from gymnast.agents.value.values import Values

if TYPE_CHECKING:
    from gymnast.agents.value.dqn_config import DQNConfig


class Sample(Protocol):
    """The part of B transitions that a backup reads; see `Batch`."""

    @property
    def action(self) -> Tensor: ...
    @property
    def reward(self) -> Tensor: ...
    @property
    def discount(self) -> Tensor: ...
    @property
    def next_mask(self) -> Tensor | None: ...


class Backup(Protocol):
    """One way to bootstrap; without gradient."""

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Reward [B] and outputs [B, K], whose discounted value is added to it.

        Outputs [B, A, K]: `next_output` is the target network's in the next state, `choice` computes the online
        network's there, `before` the target network's in the state itself.
        """
        ...


class GreedyBackup(NamedTuple):
    """The next action with the largest value, by the target network or, with `double`, by the online network."""

    values: Values
    double: bool

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        ranked = choice() if self.double else next_output
        action = allowed(self.values.q(ranked), sample.next_mask).argmax(1)
        return sample.reward, chosen(next_output, action)


class MunchausenBackup(NamedTuple):
    """The policy softmax(q / temperature) in both states, by the target network (Vieillard et al. 2020, eq. 2).

    The reward is increased by alpha * clip(temperature * log pi(a|s)) and by the discounted entropy of the policy in
    the next state; the outputs are the policy's expectation there. With n-step targets the bonus is that of the first
    action.
    """

    values: Values
    alpha: float
    temperature: float
    clip: float

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        if sample.next_mask is not None:
            raise LearningError(
                "munchausen needs the actions allowed in both states, and a replay keeps only those of the next one: "
                "use an environment without action masks, or --no-action-masks"
            )
        next_policy = log_softmax_policy(self.values.q(next_output), self.temperature).exp()  # [B, A]
        log_policy = log_softmax_policy(self.values.q(before()), self.temperature)
        bonus = munchausen_bonus(log_policy, sample.action, self.alpha, self.temperature, self.clip)
        surprise = sample.discount * self.temperature * entropy(next_policy)
        return sample.reward + bonus + surprise, self.values.expected(next_output, next_policy)


def build_backup(config: DQNConfig, values: Values) -> Backup:
    """The backup that a config names."""
    if config.munchausen:
        return MunchausenBackup(values, config.munchausen_alpha, config.munchausen_temperature, config.munchausen_clip)
    return GreedyBackup(values, config.double)
