"""A ring over N streams that keeps each observation once, in NumPy arrays on the CPU.

Slots lie in rows of N, one column a stream: the step after slot i of a stream is slot i + N, counted in a circle. An
episode lies in consecutive slots of its column: its first observation, then the successor of every action, the final
observation included. With a stack of k the k frames of the first observation come first, so every later stack, and
every `next_obs`, is k consecutive frames and nothing is ever padded. A slot holds the newest frame of an observation
and the action, reward and end that followed it. `ready` says which slots may be sampled: their n-step window is
complete, and none of their frames has been overwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.replay.buffers import Buffers
from gymnast.replay.layout import Layout, Obs
from gymnast.replay.memory import check_memory
from gymnast.replay.samplers import Sampler
from gymnast.replay.transitions import Batch, NStep

SCALAR_BYTES = 8 + 4 + 4 + 1 + 1
"""Bytes of a slot beside its frame: action, reward, bootstrap, stop, ready."""
BLOCK = 4096
"""Slots of a block: what an incremental checkpoint writes or leaves."""
STACK_CHECKS = 100
"""Steps at the start in which observations are seen to be the stacks that they are said to be."""


class Ring:
    """`size` slots in N streams; an episode takes one slot for each action and `stack` more.

    Raises:
        ValueError: more memory than is free, or fewer slots than a window needs.
    """

    def __init__(
        self, layout: Layout, sampler: Sampler, transitions: NStep, *, size: int, num_envs: int, batch_size: int
    ) -> None:
        self.layout, self.sampler, self.transitions = layout, sampler, transitions
        self.num_envs, self.stack, self.n = num_envs, layout.stack, transitions.n
        self.slots = slots_for(size, num_envs, stack=self.stack, n=self.n)
        sampler.allocate(self.slots)
        slot_bytes = layout.frame_bytes + SCALAR_BYTES + sampler.slot_bytes
        check_memory(self.slots * slot_bytes, torch.device("cpu"), replay_size=size)
        self.frames = [torch.zeros((self.slots, *leaf.shape), dtype=leaf.dtype).numpy() for leaf in layout.leaves]
        self.action = np.zeros(self.slots, np.int64)
        self.reward = np.zeros(self.slots, np.float32)
        self.bootstrap = np.zeros(self.slots, np.float32)  # 1 - terminated
        self.stop = np.zeros(self.slots, np.bool_)  # a window ends with this step
        self.ready = np.zeros(self.slots, np.bool_)
        self.mask: np.ndarray | None = None  # bool [slots, A], actions allowed in the observation of a slot
        self.touched = np.zeros(-(-self.slots // BLOCK), np.int64)  # of each block of slots, the last `add` into it
        self.adds = 0
        self.count = 0  # slots that are ready
        self.used = 0  # slots that have ever been written: [0, used)
        self.slot = [self.slots - num_envs + row for row in range(num_envs)]  # written last
        self.fresh = [True] * num_envs  # the current observation is not stored yet: an episode begins
        self.length = [0] * num_envs  # transitions since the last stop
        self._expected: Obs = None  # the observation that the last step returned
        self._unchecked = STACK_CHECKS if self.stack > 1 else 0
        self._buffers = Buffers(layout, batch_size=batch_size, n=self.n, stride=num_envs, device=torch.device("cpu"))
        batch = self._buffers.batch
        self._index, self._weight, self._action = (part.numpy() for part in (batch.index, batch.weight, batch.action))
        self._reward, self._discount = batch.reward.numpy(), batch.discount.numpy()
        self._gathers = [
            (gather.successors, gather.offsets.numpy(), [part.numpy() for part in gather.parts])
            for gather in self._buffers.gathers
        ]

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
        """Store one step of the N streams.

        `action` int64 [N] counted from 0; `life_lost` bool [N] cuts the bootstrap as `terminated` does, but not the
        episode; `next_mask` bool [N, A] are the actions allowed in `next_obs`, None where all are; `following` is what
        is acted on next (`step.obs`). Rows that are not `active` are left out.
        """
        self.adds += 1
        if next_mask is not None and self.mask is None:
            self._keep_masks(next_mask.shape[1])
        before = [part.numpy() for part in self.layout.split(obs)]
        after = [part.numpy() for part in self.layout.split(next_obs)]
        if self._unchecked:
            self._unchecked -= 1
            self.layout.check_stack(obs, next_obs, active)
        if obs is not self._expected:
            self._reconcile(before)
        self._expected = following
        actions, rewards, terminals, cuts = action.tolist(), reward.tolist(), terminated.tolist(), truncated.tolist()
        lost = [False] * self.num_envs if life_lost is None else life_lost.tolist()
        rows = range(self.num_envs) if active is None else active.nonzero().flatten().tolist()
        for row in rows:
            if self.fresh[row]:
                self._begin(row, before)
            slot = self.slot[row]
            self.action[slot] = actions[row]
            self.reward[slot] = rewards[row]
            self.bootstrap[slot] = not (terminals[row] or lost[row])
            self._append(row, after, self.stack - 1)
            if self.mask is not None:
                self.mask[self.slot[row]] = True if next_mask is None else next_mask[row].numpy()
            self.length[row] += 1
            self._close(row, slot, stop=terminals[row] or cuts[row] or lost[row])
            self.fresh[row] = terminals[row] or cuts[row]

    def _keep_masks(self, actions: int) -> None:
        """From now on; what was stored before allowed every action."""
        self.mask = np.ones((self.slots, actions), np.bool_)
        batch = self._buffers.batch
        batch.next_mask = torch.ones((len(batch.index), actions), dtype=torch.bool)

    def _begin(self, row: int, obs: list[np.ndarray]) -> None:
        """Write the frames of an episode's first observation."""
        for frame in range(self.stack):
            self._append(row, obs, frame)
        self.fresh[row] = False

    def _append(self, row: int, obs: list[np.ndarray], frame: int) -> None:
        """Write one frame of a row's stack into its next slot; stacks that lose a frame by it are ready no longer."""
        slot = self.slot[row] + self.num_envs
        slot = slot - self.slots if slot >= self.slots else slot
        self.slot[row] = slot
        for frames, part in zip(self.frames, obs, strict=True):
            frames[slot] = part[row] if self.stack == 1 else part[row, frame]
        self.touched[slot // BLOCK] = self.adds
        if slot >= self.used:
            self.used = slot + 1
        for _ in range(self.stack):
            if self.ready[slot]:
                self.ready[slot] = False
                self.sampler.changed(np.array([slot]), self.ready)
                self.count -= 1
            slot = (slot + self.num_envs) % self.slots

    def _close(self, row: int, slot: int, *, stop: bool) -> None:
        """Mark the transitions whose windows are complete now that the step in `slot` is stored."""
        self.stop[slot] = stop
        length, n = self.length[row], self.n
        for back in range(min(n, length)) if stop else range(n - 1, min(n, length)):
            complete = (slot - back * self.num_envs) % self.slots
            if not self.ready[complete]:
                self.ready[complete] = True
                self.sampler.changed(np.array([complete]), self.ready)
                self.count += 1
        if stop:
            self.length[row] = 0

    def _reconcile(self, obs: list[np.ndarray]) -> None:
        """Cut the streams whose observation is not the one that the last step led to, as after a reset from outside."""
        for row in range(self.num_envs):
            if self.fresh[row]:
                continue
            slots = (self.slot[row] + np.arange(1 - self.stack, 1) * self.num_envs) % self.slots
            shown = [part[row] if self.stack > 1 else part[row : row + 1] for part in obs]
            if not all(np.array_equal(frames[slots], part) for frames, part in zip(self.frames, shown, strict=True)):
                if self.length[row]:
                    self._close(row, (self.slot[row] - self.num_envs) % self.slots, stop=True)
                self.fresh[row] = True

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites; at least one transition must be ready (`count`)."""
        self.sampler.sample(self.ready[: self.used], self.count, self._index, self._weight)
        index = self._index
        total, discount, following = self.transitions.build(
            index, reward=self.reward, bootstrap=self.bootstrap, stop=self.stop, stride=self.num_envs
        )
        self._reward[:], self._discount[:] = total, discount
        np.take(self.action, index, out=self._action, mode="clip")
        next_mask = self._buffers.batch.next_mask
        if self.mask is not None and next_mask is not None:
            np.take(self.mask, following, axis=0, out=next_mask.numpy(), mode="wrap")
        for successors, offsets, parts in self._gathers:
            slots = following if successors else index
            if self.stack > 1:
                slots = (slots[:, None] + offsets).ravel()
            for frames, part in zip(self.frames, parts, strict=True):
                np.take(frames, slots, axis=0, out=part, mode="wrap")
        return self._buffers.batch

    def state_dict(self) -> dict[str, Any]:
        """Everything, without the slots never written; the tensors share the ring's memory."""
        return {
            "arrays": {name: torch.from_numpy(array[: self.used]) for name, array in self._arrays().items()},
            "streams": {"slot": list(self.slot), "fresh": list(self.fresh), "length": list(self.length)},
            "count": self.count,
            "adds": self.adds,
            "touched": torch.from_numpy(self.touched),
            "block": BLOCK,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of an equally built ring; ValueError where it does not fit."""
        mine, theirs = self._arrays(), state["arrays"]
        self.used = len(theirs["action"])
        if "mask" in theirs and self.mask is None:
            self._keep_masks(theirs["mask"].shape[1])
            mine = self._arrays()
        if len(state["streams"]["slot"]) != self.num_envs or mine.keys() != theirs.keys() or self.used > self.slots:
            raise ValueError("the replay in this state was kept with another num_envs, replay_size or observation")
        for name, array in mine.items():
            array[: self.used] = theirs[name].numpy()
            array[self.used :] = 0
        self.slot, self.fresh, self.length = (list(state["streams"][name]) for name in ("slot", "fresh", "length"))
        self.count, self.adds, self._expected = state["count"], state["adds"], None
        self.touched[:] = state["touched"].numpy()
        self.sampler.load_state_dict(state["sampler"])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, np.ndarray]:
        frames = {f"frames{number}": array for number, array in enumerate(self.frames)}
        scalars = {name: getattr(self, name) for name in ("action", "reward", "bootstrap", "stop", "ready")}
        return {**frames, **scalars, **({} if self.mask is None else {"mask": self.mask})}


def slots_for(size: int, num_envs: int, *, stack: int, n: int) -> int:
    """Slots of a ring, a multiple of num_envs; ValueError where a stream could not hold one window."""
    least = (2 * stack + n + 2) * num_envs
    if size < least:
        raise ValueError(f"replay_size must be >= {least} for {num_envs} environments, got {size}")
    return size - size % num_envs
