"""Hindsight experience replay: transitions read as attempts at a goal that their own episode reached later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.episodes import Episodes
from gymnast.replay.layout import Obs
from gymnast.replay.ring import Ring
from gymnast.replay.transitions import Batch

Strategy: TypeAlias = Literal["final", "future", "episode"]
GoalRewards: TypeAlias = "Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]"  # `envs.step.GoalRewards`
ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
CHECKED = 100
"""Number of first steps in which rewards are compared with what `rewards` says of them."""


class Hindsight:
    """A ring of which a share of every sample has other goals (Andrychowicz et al. 2017, algorithm 1 and section 4.5).

    In each sampled transition, with probability `ratio`, the desired goal becomes one that was achieved after a step of
    the same episode: of a uniform one from the transition's own on (`future`), of any (`episode`), or of the last
    (`final`). Only steps that are still stored count, and of an episode in progress those stored so far. Rewards of the
    window and its discount are computed anew by `rewards`; in memory nothing changes.

    Raises:
        ValueError: if the observations have no goals, or more memory is needed than is free.
    """

    def __init__(
        self,
        ring: Ring | DeviceRing,
        rewards: GoalRewards,
        *,
        strategy: Strategy,
        ratio: float,
        generator: torch.Generator,
    ) -> None:
        paths = [leaf.path for leaf in ring.layout.leaves]
        if (ACHIEVED,) not in paths or (DESIRED,) not in paths:
            raise ValueError(f"hindsight needs observations with the keys {ACHIEVED} and {DESIRED}")
        self.ring, self.rewards, self.strategy, self.ratio, self.generator = ring, rewards, strategy, ratio, generator
        self._leaf = paths.index((ACHIEVED,))
        self._unchecked = CHECKED
        device = generator.device
        self.episodes = Episodes(ring.slots, ring.num_envs, device)
        gamma = ring.transitions.gammas[0]
        self._powers = [gamma**power for power in range(ring.n + 1)]
        self._ahead = torch.arange(ring.n + 1, device=device) * ring.num_envs
        self._uniform: Tensor | None = None

    @property
    def sampler(self) -> Any:
        """The ring's."""
        return self.ring.sampler

    @property
    def count(self) -> int:
        """Slots that are ready, of a ring on the CPU."""
        assert isinstance(self.ring, Ring)
        return self.ring.count

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return self.ring.nbytes + self.ring.slots * self.episodes.slot_bytes

    def add(self, obs: Obs, action: Tensor, *, reward: Tensor, next_obs: Obs, **rest: Any) -> None:
        """`Ring.add`; ValueError if one of the first rewards or ends is not what `rewards` says of the step."""
        if self._unchecked:
            self._unchecked -= 1
            self._check(next_obs, reward, rest["terminated"], rest.get("active"))
        self.ring.add(obs, action, reward=reward, next_obs=next_obs, **rest)
        self.episodes.follow(torch.as_tensor(self.ring.slot))

    def _check(self, next_obs: Obs, reward: Tensor, terminated: Tensor, active: Tensor | None) -> None:
        expected, over = self.rewards(next_obs[ACHIEVED], next_obs[DESIRED])
        wrong = ~torch.isclose(expected, reward, rtol=1e-3, atol=1e-3)
        if over is not None:
            wrong |= over != terminated
        if active is not None:
            wrong &= active
        if not wrong.any():
            return
        row = int(wrong.nonzero()[0])
        gave = f"{float(reward[row]):g} and terminated {bool(terminated[row])}"
        says = f"{float(expected[row]):g}" + ("" if over is None else f" and compute_terminated {bool(over[row])}")
        raise ValueError(
            "hindsight needs rewards and ends that depend on the goals alone: "
            f"a step gave the reward {gave}, compute_reward {says}"
        )

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites."""
        batch = self.ring.sample()
        self.relabel(batch)
        return batch

    def relabel(self, batch: Batch) -> None:
        """Give some of the transitions of a batch other goals."""
        frames = [torch.as_tensor(array) for array in self.ring.frames]
        achieved, index = frames[self._leaf], batch.index
        if self._uniform is None:
            self._uniform = torch.zeros(2, len(index), dtype=torch.float64, device=index.device)
        lot, place = self._uniform.uniform_(generator=self.generator)
        chosen = lot < self.ratio  # [B]
        goal = achieved[self.goal_slots(index, place)]  # [B, ...]
        at = (index[:, None] + self._ahead) % self.ring.slots  # [B, n + 1]
        total, discount = self._window(at, achieved[at[:, 1:]], goal)
        batch.reward.copy_(torch.where(chosen, total, batch.reward))
        batch.discount.copy_(torch.where(chosen, discount, batch.discount))
        wide = chosen.view(-1, *[1] * (goal.ndim - 1))
        for obs in (batch.obs, batch.next_obs):
            obs[DESIRED].copy_(torch.where(wide, goal, obs[DESIRED]))

    def goal_slots(self, index: Tensor, place: Tensor) -> Tensor:
        """The slots of the goals of transitions int64 [B], by numbers from [0, 1), float64 [B]."""
        span = self.episodes.span(index)
        after = {"future": span.here, "episode": span.first, "final": span.last - 1}[self.strategy]
        count = span.last - after
        row = after + 1 + torch.minimum((place * count).long(), count - 1)
        return self.episodes.slots_of(row, index % self.ring.num_envs)

    def _window(self, at: Tensor, reached: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Discounted rewards and discounts, float32 [B], of n steps from slots [B, n + 1] that reached [B, n, ...]."""
        n, rows = self.ring.n, len(goal)
        wanted = goal[:, None].expand_as(reached)
        reward, over = self.rewards(reached.flatten(0, 1), wanted.flatten(0, 1))
        stop, stored = torch.as_tensor(self.ring.stop)[at], torch.as_tensor(self.ring.bootstrap)[at]
        bootstrap = stored if over is None else (~over).float().view(rows, n)
        total, discount = torch.zeros_like(stored[:, 0]), torch.zeros_like(stored[:, 0])
        going = torch.ones_like(stop[:, 0])
        for power in range(n):
            total += torch.where(going, self._powers[power] * reward.view(rows, n)[:, power], 0.0)
            discount = torch.where(going, self._powers[power + 1] * bootstrap[:, power], discount)
            going = going & ~stop[:, power] & (bootstrap[:, power] > 0)
        return total, discount

    def state_dict(self) -> dict[str, Any]:
        """That of the ring, with the episodes and the generator of goals."""
        state = self.ring.state_dict()
        own = self.episodes.state_dict(len(state["arrays"]["action"]))
        return {**state, "hindsight": {**own, "generator": self.generator.get_state()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of an equally built replay; ValueError if it does not match."""
        if "hindsight" not in state:
            raise ValueError("the saved replay was kept without hindsight")
        self.ring.load_state_dict(state)
        own = dict(state["hindsight"])
        self.generator.set_state(own.pop("generator").cpu())
        self.episodes.load_state_dict(own)
        self._unchecked = 0
