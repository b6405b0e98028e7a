"""Synchronous data parallelism: several processes with the same weights learn from shares of every minibatch.

Each of them, a learner, acts in its own rows of the environment. An update is that of one learner with all rows, up to
rounding: minibatches are drawn of the rows of all learners, of which each takes its own; gradients and losses are
averaged by the number of rows that count, and whatever else is computed of a whole minibatch or rollout is computed of
all learners' shares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from gymnast.agents.base import Actor, Agent, Metrics
from gymnast.agents.maths.means import ROUNDING
from gymnast.agents.samples import AnySamples, Drawn, Samples
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.normalise import Moments
from gymnast.networks.layers.renorm import BatchRenorm
from gymnast.networks.modes import has_batch_norm, has_dropout
from gymnast.replay.rollout import Rollout

T = TypeVar("T")
EPS = 1e-8
"""Added to the deviation by which advantages are divided, as in `policy_gradient.normalised`."""
REFUSES: dict[str, tuple[tuple[Any, ...], str]] = {
    "workers": ((0,), "they have weights of their own"),
    "policy_loss": (("clipped", "plain"), "its steps are not averages of gradients"),
    "intrinsic": (("none",), "novelty has networks and counts of its own"),
    "auxiliary": (("none",), "it has weights of its own"),
    "gail": (("",), "its discriminator has weights of its own"),
    "reward_model": (("",), "its statistics are of one process"),
    "compile": ((False,), "each learner's share of a minibatch has another size"),
    "cuda_graphs": ((False,), "each learner's share of a minibatch has another size"),
}
"""Settings that cannot be combined with several learners: the values that can, and why."""


class LearnerLostError(RuntimeError):
    """Another learner does not answer any more."""


class Rows(NamedTuple):
    """The rows of one learner among those of all."""

    first: int
    own: int
    total: int

    @property
    def stop(self) -> int:
        return self.first + self.own

    def among_all(self, values: Tensor) -> Tensor:
        """The rows' values [own, ...] in their places among all [total, ...], which are 0 elsewhere."""
        spread = values.new_zeros((self.total, *values.shape[1:]))
        spread[self.first : self.stop] = values
        return spread

    def of(self, values: Tensor) -> Tensor:
        """The rows' own values [own, ...] of all [total, ...]."""
        return values[self.first : self.stop]

    def numbers(self, index: Tensor) -> Tensor:
        """Those of the samples int64 [B] that are the rows' own, by their numbers among these.

        Samples are counted by time and then by row.
        """
        row = index % self.total
        mine = (row >= self.first) & (row < self.stop)
        return index[mine] // self.total * self.own + row[mine] - self.first


class Together(ABC):
    """All learners of a run, as one of them sees them: the sums and moments that they compute together.

    Each must call the same methods in the same order. They raise LearnerLostError if another learner has ended.
    """

    def __init__(self, number: int, count: int, num_envs: int) -> None:
        """Learner `number` of `count`, each with `num_envs` rows."""
        self.number, self.count = number, count
        self.rows = Rows(number * num_envs, num_envs, count * num_envs)
        self._buffers: dict[int, Tensor] = {}
        self.seconds = 0.0
        """Time spent in gradients' sums, including the time that other learners were waited for."""

    @abstractmethod
    def add(self, values: Tensor) -> None:
        """Replace numbers, in place, by their sums over all learners."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor:
        """The numbers [...] of all learners, [L, ...]."""

    def average(self, grad: Tensor, metrics: Metrics, weight: Tensor) -> None:
        """Replace a gradient [P] and metrics by those of all learners' shares of a minibatch, in place.

        `weight` [B] is 1 for each of this learner's rows that counts, else 0.
        """
        began = perf_counter()
        count, size = weight.sum(), len(grad)
        sums = self._buffer(size + len(metrics) + 1, grad)
        torch.mul(grad, count, out=sums[:size])
        torch.mul(torch.stack([*metrics.values(), torch.ones_like(count)]), count, out=sums[size:])
        self.add(sums)
        share = 1.0 / sums[-1].clamp(min=1.0)
        torch.mul(sums[:size], share, out=grad)
        metrics.update(zip(list(metrics), (sums[size:-1] * share).unbind(), strict=True))
        self.seconds += perf_counter() - began

    def _buffer(self, size: int, like: Tensor) -> Tensor:
        """Memory for so many numbers, the same each time: pages that are new take as long as the sums."""
        if size not in self._buffers:
            self._buffers[size] = torch.empty(size, dtype=like.dtype, device=like.device)
        return self._buffers[size]

    def mean(self, metrics: Metrics, weight: Tensor) -> Metrics:
        """Means over all learners' shares of a minibatch, of means over this one's; `weight` as in `average`."""
        self.average(weight.new_zeros(0), metrics, weight)
        return metrics

    def moments(self, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Means and variances float64 [M], over all learners, of values of which each has a share.

        Each part is this learner's values and their weights, 1 or 0, in any shape. A variance within the rounding error
        of the mean is 0.
        """
        doubles = [(values.double(), weight.double()) for values, weight in parts]
        sums = torch.stack([torch.stack([weight.sum(), (weight * values).sum()]) for values, weight in doubles])
        self.add(sums)
        count = sums[:, 0].clamp(min=1.0)
        mean = sums[:, 1] / count
        squares = [(weight * (values - m).square()).sum() for (values, weight), m in zip(doubles, mean, strict=True)]
        self.add(variance := torch.stack(squares))
        variance /= count
        return mean, torch.where(variance > (ROUNDING * mean).square(), variance, 0.0)

    def explained_variance(self, value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """`means.explained_variance` over all learners; []."""
        _, (unexplained, variance) = self.moments([(target - value, weight), (target, weight)])
        return torch.where(variance > 0, 1.0 - unexplained / variance.clamp(min=1e-30), 0.0).float()

    def minibatches(self, samples: AnySamples, count: int, generator: torch.Generator) -> Iterator[Drawn[AnySamples]]:
        """This learner's share of `count` random parts of all learners' samples: those of `samples.minibatches`.

        All learners' generators have the same state. A share of no sample is one that does not count.
        """
        if count == 1:
            yield Drawn(samples, None)
            return
        weight = samples.weight
        size = len(weight) // self.rows.own * self.rows.total
        order = torch.rand(size, generator=generator, device=weight.device).argsort()
        for index in order.tensor_split(count):
            own = self.rows.numbers(index)
            if len(own):
                yield Drawn(samples, own)
            else:
                yield Drawn(samples._replace(weight=torch.zeros_like(weight)), torch.zeros_like(index[:1]))

    def normalised(self, batches: Sequence[Drawn[Samples]]) -> list[Drawn[Samples]]:
        """Minibatches of one epoch, each with its advantages at mean 0 and variance 1 over all learners."""
        advantage = batches[0].samples.old.advantage
        chosen: list[Any] = [slice(None) if batch.index is None else batch.index for batch in batches]
        weights = [batch.samples.weight[index] for batch, index in zip(batches, chosen, strict=True)]
        means, variances = self.moments([(advantage[index], w) for index, w in zip(chosen, weights, strict=True)])
        scaled = torch.zeros_like(advantage)
        for index, w, mean, variance in zip(chosen, weights, means, variances, strict=True):
            if variance > 0 and w.any():  # a share of no sample stands at one of another minibatch
                scaled[index] = ((advantage[index] - mean) / (variance.sqrt() + EPS)).to(advantage.dtype)
        ready = {id(batch.samples): _with_advantage(batch.samples, scaled) for batch in batches}  # mostly one
        return [Drawn(ready[id(batch.samples)], batch.index) for batch in batches]

    def share_statistics(self, *modules: nn.Module | None) -> None:
        """Have the running statistics in these modules count what all learners see."""
        for module in modules:
            for part in () if module is None else module.modules():
                if isinstance(part, Moments):
                    part.gather = self.gather


@runtime_checkable
class LearnsTogether(Agent, Protocol):
    """An agent that can be one of several learners."""

    rollout: Rollout
    weights: FlatParameters
    network: nn.Module

    def join(self, together: Together) -> None:
        """Learn together with the others from here on; before the first update."""
        ...


@runtime_checkable
class ActsTogether(Actor, Protocol):
    """The actor of such an agent."""

    rows: Rows | None
    """The rows that it acts in, if other learners act in more: the draws are those of one actor in all of them."""


def _with_advantage(samples: Samples, advantage: Tensor) -> Samples:
    return samples._replace(old=samples.old._replace(advantage=advantage))


COMMON = ("network", "optimizer", "generator", "env_step", "updates")
"""The parts of an agent's state that are the same in all learners."""


def check(name: str, cls: type[Any], config: Any) -> None:
    """Raise ValueError if an agent of this name and class cannot learn together with others as it is configured."""
    if not hasattr(cls, "join"):
        raise ValueError(f"learners train ppo, a2c, pqn and their variants, not {name}")
    for field, (allowed, why) in REFUSES.items():
        value = getattr(config, field, allowed[0])
        if value not in allowed:
            given = field if value is True else f"{field} {value}"
            raise ValueError(f"{given} cannot be combined with learners: {why}")


def check_network(network: nn.Module) -> None:
    """Raise ValueError for a network that computes something else of a share of a minibatch than of the whole."""
    if has_batch_norm(network) or any(isinstance(part, BatchRenorm) for part in network.modules()):
        raise ValueError("learners cannot train a network with batch normalisation: its statistics are of one process")
    if has_dropout(network):
        raise ValueError("learners cannot train a network with dropout: each would drop other units than one process")
