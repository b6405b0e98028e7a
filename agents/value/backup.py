"""The value that a target bootstraps from, in its plain form: that of the greedy next action."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from gymnast.agents.maths.td import allowed, chosen
from gymnast.agents.value.values import Interpretation


class Sample(Protocol):
    """The part of B transitions that a backup reads; see `Batch`."""

    @property
    def action(self) -> Tensor: ...
    @property
    def reward(self) -> Tensor: ...
    @property
    def discount(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor | None: ...
    @property
    def next_mask(self) -> Tensor | None: ...
    @property
    def index(self) -> Tensor: ...


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

    values: Interpretation
    double: bool

    def __call__(
        self, sample: Sample, next_output: Tensor, *, choice: Callable[[], Tensor], before: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        ranked = choice() if self.double else next_output
        action = allowed(self.values.q(ranked), sample.next_mask).argmax(1)
        return sample.reward, chosen(next_output, action)
