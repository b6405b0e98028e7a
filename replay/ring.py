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

from gymnast.replay import ring_kernels as kernels
from gymnast.replay.allocation import check_memory, map_file
from gymnast.replay.buffers import Buffers
from gymnast.replay.layout import Layout, Obs, dense
from gymnast.replay.samplers import Sampler
from gymnast.replay.transitions import Batch, NStep

SCALAR_BYTES = 8 + 4 + 4 + 1 + 1
"""Bytes of a slot beside its frame: action, reward, bootstrap, stop, ready."""
CPU = torch.device("cpu")
STREAMS = ("slot", "fresh", "length")
BLOCK = 4096
"""Slots of a block: what an incremental checkpoint writes or leaves."""
STACK_CHECKS = 100
"""Steps at the start in which observations are seen to be the stacks that they are said to be."""


class Ring:
    """`size` slots in N streams; an episode takes one slot for each action and `stack` more.

    With a `path` the frames lie in a file (`memory.map_file`) and only the rest in memory.

    Raises:
        ValueError: more memory or disk than is free, or fewer slots than a window needs.
    """

    def __init__(
        self,
        layout: Layout,
        sampler: Sampler,
        transitions: NStep,
        *,
        size: int,
        num_envs: int,
        batch_size: int,
        path: str | None = None,
    ) -> None:
        self.layout, self.sampler, self.transitions = layout, sampler, transitions
        self.num_envs, self.stack, self.n = num_envs, layout.stack, transitions.n
        self.slots = slots = slots_for(size, num_envs, stack=self.stack, n=self.n)
        slot_bytes = SCALAR_BYTES + sampler.slot_bytes + (0 if path else layout.frame_bytes)
        check_memory(slots * slot_bytes, CPU, replay_size=size)
        sampler.allocate(slots)
        sizes = [slots * leaf.nbytes for leaf in layout.leaves]
        # NumPy's zeros take no memory until they are written, and lie in huge pages, from which a gather is faster.
        stores = map_file(path, sizes, replay_size=size) if path else [np.zeros(size, np.uint8) for size in sizes]
        self._bytes = [store.reshape(slots, leaf.nbytes) for store, leaf in zip(stores, layout.leaves, strict=True)]
        self.frames = [
            np.ndarray((slots, *leaf.shape), torch.empty(0, dtype=leaf.dtype).numpy().dtype, store)
            for store, leaf in zip(stores, layout.leaves, strict=True)
        ]
        self.action = np.zeros(slots, np.int64)
        self.reward = np.zeros(slots, np.float32)
        self.bootstrap = np.zeros(slots, np.float32)  # 1 - terminated
        self.stop = np.zeros(slots, np.bool_)  # a window ends with this step
        self.ready = np.zeros(slots, np.bool_)
        self.mask: np.ndarray | None = None  # bool [slots, A], actions allowed in the observation of a slot
        self.block = BLOCK
        self.touched = np.zeros(-(-slots // BLOCK), np.int64)  # of each block of slots, the last `add` into it
        self.adds = 0
        self._streams = np.zeros((3, num_envs), np.int64)
        self.slot, self.fresh, self.length = self._streams  # `ring_kernels.py` says what they are
        self.slot[:], self.fresh[:] = range(slots - num_envs, slots), 1
        self._counts = np.zeros(5, np.int64)
        self.count = 0  # slots that are ready
        self.used = 0  # slots that have ever been written: [0, used)
        self._begins = num_envs  # streams whose next observation is an episode's first
        self._cut = np.zeros(num_envs, np.bool_)
        self._moves = np.zeros((num_envs * (self.stack + 1), 2), np.int64)
        self._changed = np.zeros(num_envs * (3 * self.stack + 2 * self.n), np.int64)
        self._expected: Obs = None  # the observation that the last step returned
        self._unchecked = STACK_CHECKS if self.stack > 1 else 0
        self._prepare(batch_size)

    def _prepare(self, batch_size: int) -> None:
        """Make the buffers of a batch, as the kernels take them."""
        self._powers = np.array([self.transitions.gamma**power for power in range(self.n + 1)], np.float32)
        self._buffers = Buffers(self.layout, batch_size=batch_size, n=self.n, stride=self.num_envs, device=CPU)
        batch = self._buffers.batch
        self._index, self._weight, self._action = (part.numpy() for part in (batch.index, batch.weight, batch.action))
        self._reward, self._discount = batch.reward.numpy(), batch.discount.numpy()
        self._successor = np.zeros(batch_size, np.int64)
        self._gathers = []
        for leaf, frames in enumerate(self._bytes):
            outs = [np.zeros((batch_size, 0, frames.shape[1]), np.uint8)] * 2
            for gather in self._buffers.gathers:
                shape = (batch_size, len(gather.offsets), frames.shape[1])
                outs[gather.successors] = np.ndarray(shape, np.uint8, gather.parts[leaf].numpy())
            self._gathers.append((frames, *outs))

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
        if self._unchecked:
            self._unchecked -= 1
            self.layout.check_stack(obs, next_obs, active)
        after = self._rows(next_obs)
        before = after
        if self._begins or obs is not self._expected:
            before = self._rows(obs)
        if obs is not self._expected:
            for frames, part in zip(self._bytes, before, strict=True):
                kernels.differ(frames, self._streams, self._cut, self.stack, part.data_ptr())
        self._expected = following
        rows = self.num_envs
        action, reward = dense(action, torch.int64, rows), dense(reward, torch.float32, rows)
        terminated, truncated = dense(terminated, torch.bool, rows), dense(truncated, torch.bool, rows)
        life_lost = None if life_lost is None else dense(life_lost, torch.bool, rows)
        active = None if active is None else dense(active, torch.bool, rows)
        kernels.store(
            self._streams,
            self._counts,
            self.action,
            self.reward,
            self.bootstrap,
            self.stop,
            self.ready,
            self.touched,
            self._cut,
            self._moves,
            self._changed,
            self.stack,
            self.n,
            self.block,
            self.adds,
            action.data_ptr(),
            reward.data_ptr(),
            terminated.data_ptr(),
            truncated.data_ptr(),
            0 if life_lost is None else life_lost.data_ptr(),
            0 if active is None else active.data_ptr(),
        )
        self.count, self.used, _, changes, self._begins = self._counts.tolist()
        for frames, old, new in zip(self._bytes, before, after, strict=True):
            kernels.copy(frames, self._moves, self._counts, old.data_ptr(), new.data_ptr(), rows * self.stack)
        if next_mask is not None or self.mask is not None:
            self._store_mask(next_mask, active)
        self.sampler.changed(self._changed[:changes], self.ready)

    def _rows(self, obs: Obs) -> list[Tensor]:
        """The parts of an observation as the kernels read them."""
        leaves, rows = self.layout.leaves, self.num_envs * self.stack
        return [
            dense(part, leaf.dtype, rows * leaf.size) for part, leaf in zip(self.layout.split(obs), leaves, strict=True)
        ]

    def _store_mask(self, next_mask: Tensor | None, active: Tensor | None) -> None:
        """Keep the masks of the step just stored; what was stored before the first mask allowed every action."""
        if next_mask is not None and self.mask is None:
            self._keep_masks(next_mask.shape[1])
        rows = slice(None) if active is None else active.numpy()
        if self.mask is not None:
            self.mask[self.slot[rows]] = True if next_mask is None else next_mask.numpy()[rows]

    def _keep_masks(self, actions: int) -> None:
        """Make room for the masks of all slots."""
        check_memory(self.slots * actions, CPU, replay_size=self.slots)
        self.mask = np.ones((self.slots, actions), np.bool_)
        batch = self._buffers.batch
        batch.next_mask = torch.ones((len(batch.index), actions), dtype=torch.bool)

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites; ValueError where no transition is ready (`count`)."""
        if self.count == 0:
            raise ValueError("nothing to sample: no transition is complete yet")
        batch, index = self._buffers.batch, self._index
        self.sampler.sample(self.ready[: self.used], self.count, index, self._weight)
        kernels.windows(
            index,
            self.action,
            self.reward,
            self.bootstrap,
            self.stop,
            self._powers,
            self.num_envs,
            self._action,
            self._reward,
            self._discount,
            self._successor,
        )
        if self.mask is not None and batch.next_mask is not None:
            np.take(self.mask, self._successor, axis=0, out=batch.next_mask.numpy(), mode="clip")
        for frames, obs, next_obs in self._gathers:
            kernels.gather(frames, index, self._successor, 1 - self.stack, self.num_envs, obs, next_obs)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Everything, without the slots never written; the tensors share the ring's memory."""
        return {
            "arrays": {name: torch.from_numpy(array[: self.used]) for name, array in self._arrays().items()},
            "streams": {name: getattr(self, name).tolist() for name in STREAMS},
            "slots": self.slots,
            "count": self.count,
            "adds": self.adds,
            "touched": torch.from_numpy(self.touched),
            "block": self.block,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of an equally built ring; ValueError where it does not fit."""
        theirs, used = state["arrays"], len(state["arrays"]["action"])
        wanted = {name: array.shape[1:] for name, array in self._arrays().items() if name != "mask"}
        found = {name: tuple(array.shape[1:]) for name, array in theirs.items() if name != "mask"}
        if len(state["streams"]["slot"]) != self.num_envs or wanted != found or state["slots"] != self.slots:
            raise ValueError("the saved replay has another num_envs, replay_size or observation space")
        if "mask" in theirs and self.mask is None:
            self._keep_masks(theirs["mask"].shape[1])
        for name, array in self._arrays().items():
            array[:used] = theirs[name].numpy() if name in theirs else True  # no masks yet: all actions were allowed
            if not name.startswith("frames"):  # whose memory is not touched before it is needed
                array[used:] = 0
        for name in STREAMS:
            getattr(self, name)[:] = state["streams"][name]
        self.count, self.used, self.adds, self._expected = state["count"], used, state["adds"], None
        self._counts[:2], self._begins = (self.count, self.used), int(self.fresh.sum())
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
