"""The ring of `ring.py` as tensors on a device: the same slots, with fixed shapes and nothing read by the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gymnast.replay.buffers import Buffers
from gymnast.replay.device_samplers import DeviceSampler
from gymnast.replay.layout import Layout, Obs
from gymnast.replay.memory import check_memory
from gymnast.replay.ring import SCALAR_BYTES, STACK_CHECKS, slots_for
from gymnast.replay.transitions import Batch, NStep


class DeviceRing:
    """`size` slots in N streams, resident on a device; `Ring` says how they lie.

    Rows that a mask leaves out write to one slot more, which nothing reads.

    Raises:
        ValueError: more memory than is free, or fewer slots than a window needs.
    """

    def __init__(
        self,
        layout: Layout,
        sampler: DeviceSampler,
        transitions: NStep,
        *,
        size: int,
        num_envs: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.layout, self.sampler, self.transitions = layout, sampler, transitions
        self.num_envs, self.stack, self.n = num_envs, layout.stack, transitions.n
        self.slots = slots = slots_for(size, num_envs, stack=self.stack, n=self.n)
        sampler.allocate(slots, device)
        check_memory(slots * (layout.frame_bytes + SCALAR_BYTES + sampler.slot_bytes), device, replay_size=size)
        self.frames = [torch.zeros((slots + 1, *leaf.shape), dtype=leaf.dtype, device=device) for leaf in layout.leaves]
        self.action = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self.reward = torch.zeros(slots + 1, device=device)
        self.bootstrap = torch.zeros(slots + 1, device=device)  # 1 - terminated
        self.stop = torch.zeros(slots + 1, dtype=torch.bool, device=device)  # a window ends with this step
        self.ready = torch.zeros(slots + 1, dtype=torch.bool, device=device)
        self.slot = torch.arange(slots - num_envs, slots, device=device)  # [N], written last
        self.fresh = torch.ones(num_envs, dtype=torch.bool, device=device)  # an episode begins
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)  # transitions since the last stop
        self._all = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._expected: Obs = None  # the observation that the last step returned
        self._unchecked = STACK_CHECKS if self.stack > 1 else 0
        self._calls = 0
        self._buffers = Buffers(layout, batch_size=batch_size, n=self.n, stride=num_envs, device=device)

    def add(
        self,
        obs: Obs,
        action: Tensor,
        *,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        next_obs: Obs,
        following: Obs,
        life_lost: Tensor | None = None,
        next_mask: Tensor | None = None,
        active: Tensor | None = None,
    ) -> None:
        """Store one step of the N streams; as `Ring.add`."""
        active = self._all if active is None else active
        before, after = self.layout.split(obs), self.layout.split(next_obs)
        if self._unchecked:
            self._unchecked -= 1
            self.layout.check_stack(obs, next_obs, active)
        if obs is not self._expected:
            self._reconcile(before)
        self._expected = following
        self._calls += 1
        ended = terminated | truncated
        cut = terminated if life_lost is None else terminated | life_lost
        begins = active & self.fresh
        for frame in range(self.stack):
            self._append(begins, before, frame)
        slot = self.slot.clone()
        chosen = torch.where(active, slot, self.slots)
        self.action[chosen] = action
        self.reward[chosen] = reward
        self.bootstrap[chosen] = (~cut).float()
        self._append(active, after, self.stack - 1)
        self.length += active
        self._close(active, slot, stop=ended | cut)
        self.fresh = torch.where(active, ended, self.fresh)

    def _append(self, rows: Tensor, obs: list[Tensor], frame: int) -> None:
        """Write one frame of the rows' stacks into their next slots; stacks that lose a frame are ready no longer."""
        following = (self.slot + self.num_envs) % self.slots
        self.slot = torch.where(rows, following, self.slot)
        slot = torch.where(rows, following, self.slots)
        for frames, part in zip(self.frames, obs, strict=True):
            frames[slot] = (part if self.stack == 1 else part[:, frame]).to(frames.dtype)
        for ahead in range(self.stack):
            self.ready[torch.where(rows, (following + ahead * self.num_envs) % self.slots, self.slots)] = False

    def _close(self, rows: Tensor, slot: Tensor, *, stop: Tensor) -> None:
        """Mark the transitions whose windows are complete now that the steps in `slot` are stored."""
        self.stop[torch.where(rows, slot, self.slots)] = stop
        for back in range(self.n):
            complete = rows & (self.length > back)
            if back < self.n - 1:
                complete = complete & stop
            completed = torch.where(complete, (slot - back * self.num_envs) % self.slots, self.slots)
            self.ready[completed] = True
            self.sampler.added(completed)
        self.length.masked_fill_(rows & stop, 0)

    def _reconcile(self, obs: list[Tensor]) -> None:
        """Cut the streams whose observation is not the one that the last step led to, as after a reset from outside."""
        offsets = torch.arange(1 - self.stack, 1, device=self.slot.device) * self.num_envs
        slots = (self.slot[:, None] + offsets) % self.slots  # [N, stack]
        same = self._all
        for frames, part in zip(self.frames, obs, strict=True):
            shown = part.to(frames.dtype).reshape(self.num_envs, -1)
            same = same & (frames[slots].reshape(self.num_envs, -1) == shown).all(1)
        cut = ~self.fresh & ~same
        self._close(cut & (self.length > 0), (self.slot - self.num_envs) % self.slots, stop=self._all)
        self.fresh = self.fresh | cut

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites; at least one transition must be ready."""
        batch, slots = self._buffers.batch, self.slots
        self.sampler.sample(self.ready[:slots], batch.index, batch.weight)
        total, discount, successor = self.transitions.build(
            batch.index,
            reward=self.reward[:slots],
            bootstrap=self.bootstrap[:slots],
            stop=self.stop[:slots],
            stride=self.num_envs,
        )
        batch.reward.copy_(total)
        batch.discount.copy_(discount)
        torch.index_select(self.action, 0, batch.index, out=batch.action)
        for gather in self._buffers.gathers:
            newest = successor if gather.successors else batch.index
            wanted = (newest[:, None] + gather.offsets).flatten() % slots
            for frames, part in zip(self.frames, gather.parts, strict=True):
                torch.index_select(frames, 0, wanted, out=part)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Everything, without the slots never written; the arrays share the ring's memory."""
        used = min(self._calls * (self.stack + 1) * self.num_envs, self.slots)
        return {
            "arrays": {name: array[:used] for name, array in self._arrays().items()},
            "streams": {name: getattr(self, name).clone() for name in ("slot", "fresh", "length")},
            "calls": self._calls,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of an equally built ring; ValueError where it does not fit."""
        mine, theirs = self._arrays(), state["arrays"]
        used = len(theirs["action"])
        if len(state["streams"]["slot"]) != self.num_envs or mine.keys() != theirs.keys() or used > self.slots:
            raise ValueError("the replay in this state was kept with another num_envs, replay_size or observation")
        for name, array in mine.items():
            array[:used] = theirs[name]
            array[used:] = 0
        for name, value in state["streams"].items():
            setattr(self, name, value.to(self.slot.device, copy=True))
        self._calls, self._expected = state["calls"], None
        self.sampler.load_state_dict(state["sampler"])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, Tensor]:
        frames = {f"frames{number}": array for number, array in enumerate(self.frames)}
        scalars = {name: getattr(self, name) for name in ("action", "reward", "bootstrap", "stop", "ready")}
        return {**frames, **scalars}
