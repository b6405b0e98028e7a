"""A ring over N streams that keeps each observation once, in NumPy arrays on the CPU.

Slots are arranged in rows of N, one column per stream: the step after slot i of a stream is slot i + N, counted in a
circle. An episode occupies consecutive slots of its column: its first observation, then the successor of every action,
the final observation included. With a stack of k the k frames of the first observation come first, so every later
stack, and every `next_obs`, is k consecutive frames and nothing is ever padded. A slot holds the newest frame of an
observation and the action, reward and end that followed it. `ready` marks the slots that may be sampled: their n-step
window is complete, and none of their frames has been overwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.replay.allocation import check_fits, map_file, slots_for
from gymnast.replay.buffers import Buffers
from gymnast.replay.following import Following, following
from gymnast.replay.layout import Layout, Obs, dense
from gymnast.replay.one_stream import OneStream
from gymnast.replay.ring_arrays import REACH, Arrays, Loops, Windows, allocate, windows_into
from gymnast.replay.samplers import Sampler
from gymnast.replay.transitions import Batch, NStep

SCALAR_BYTES = 8 + 4 + 4 + 1 + 1
"""Bytes of a slot without its frame: action, reward, bootstrap, stop, ready."""
CPU = torch.device("cpu")
STREAMS = ("slot", "fresh", "length")
BLOCK = 4096
"""Slots of a block, the unit that an incremental checkpoint writes or leaves."""
STACK_CHECKS = 100
"""Number of first steps in which observations are checked to be stacks as declared."""


class Ring:
    """`size` slots in N streams; an episode takes one slot for each action and `stack` more.

    With `path` the frames are in a file (`allocation.map_file`) and only the rest in memory. With an `action_size` D
    actions are vectors float32 [D].

    Raises:
        ValueError: if it needs more memory or disk than is free, or has fewer slots than a window needs.
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
        action_size: int = 0,
    ) -> None:
        self.layout, self.sampler, self.transitions = layout, sampler, transitions
        self.num_envs, self.stack, self.n = num_envs, layout.stack, transitions.n
        self.slots = slots = slots_for(size, num_envs, stack=self.stack, n=self.n)
        slot_bytes = SCALAR_BYTES + 4 * action_size + sampler.slot_bytes + (0 if path else layout.frame_bytes)
        check_fits(slots * slot_bytes, CPU, replay_size=size)
        sampler.allocate(slots)
        self._allocate_frames(path, size)
        self.block = BLOCK
        sizes = {"stack": self.stack, "n": self.n, "block": self.block}
        self._data = data = allocate(slots, num_envs, gammas=transitions.gammas, **sizes)
        self._loops = loops_for(data)
        self.action, self.reward, self.bootstrap = data.action, data.reward, data.bootstrap
        self.stop, self.ready, self.touched = data.stop, data.ready, data.touched
        self.slot, self.fresh, self.length, _ = data.streams  # `ring_arrays.py` describes them
        self.mask: np.ndarray | None = None  # bool [slots, A], actions allowed in the observation of a slot
        self.vectors = np.zeros((slots, action_size), np.float32) if action_size else None  # actions of a Box
        self._no_action = torch.zeros(num_envs, dtype=torch.int64)  # the place of an action that is a vector
        self.count = 0  # slots that are ready
        self.used = 0  # slots that have ever been written: [0, used)
        self.adds = 0
        self._begins = num_envs  # streams whose next observation is an episode's first
        self._expected: Obs = None  # the observation that the last step returned
        self._unchecked = STACK_CHECKS if self.stack > 1 else 0
        self._prepare(batch_size)

    def _allocate_frames(self, path: str | None, size: int) -> None:
        """Allocate the frames of all slots, one array per leaf, with a view of the same memory as bytes."""
        slots, leaves = self.slots, self.layout.leaves
        sizes = [slots * leaf.nbytes for leaf in leaves]
        # NumPy's zeros take no memory until they are written, and are in huge pages, from which a gather is faster.
        stores = map_file(path, sizes, replay_size=size) if path else [np.zeros(size, np.uint8) for size in sizes]
        self._bytes = [store.reshape(slots, leaf.nbytes) for store, leaf in zip(stores, leaves, strict=True)]
        self.frames = [
            np.ndarray((slots, *leaf.shape), torch.empty(0, dtype=leaf.dtype).numpy().dtype, store)
            for store, leaf in zip(stores, leaves, strict=True)
        ]

    def _prepare(self, batch_size: int) -> None:
        """Make the buffers of a batch in the form that the kernels take."""
        self._buffers = Buffers(self.layout, batch_size=batch_size, n=self.n, stride=self.num_envs, device=CPU)
        batch = self._buffers.batch
        self._index, self._weight = batch.index.numpy(), batch.weight.numpy()
        self._windows = windows_into(batch.action, batch.reward, batch.discount)
        if self.vectors is not None:
            batch.action = torch.zeros((batch_size, self.vectors.shape[1]))
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
        mask: Tensor | None = None,
        next_mask: Tensor | None = None,
        active: Tensor | None = None,
    ) -> None:
        """Store one step of the N streams.

        `action` int64 [N] counted from 0, or float32 [N, D]; `life_lost` bool [N] cuts the bootstrap as `terminated`
        does, but not the episode; `next_mask` bool [N, A] are the actions allowed in `next_obs`, None if all are,
        `mask` those in `obs`, None for those that the step before said; `following` are the observations to act on
        next (`step.obs`). Rows that are not `active` are left out.
        """
        before, after = self._parts(obs, next_obs, active)
        self._expected = following
        number = action if self.vectors is None else self._no_action
        self._loops.store(
            number, reward, terminated=terminated, truncated=truncated, life_lost=life_lost, active=active
        )
        self.count, self.used, self.adds, _, changes, self._begins, _ = self._data.counts.tolist()
        for frames, old, new in zip(self._bytes, before, after, strict=True):
            self._loops.copy(frames, old, new)
        rows = slice(None) if active is None else active.numpy()
        if self.vectors is not None:
            self.vectors[self.slot[rows] - self.num_envs] = action.numpy()[rows]
        if mask is not None or next_mask is not None or self.mask is not None:
            self._store_masks(mask, next_mask, rows)
        self.sampler.changed(self._data.changed[:changes], self.ready)

    def _parts(self, obs: Obs, next_obs: Obs, active: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """The parts of both observations as the kernels read them; `obs` is read only if it may be new.

        Marks the streams whose `obs` is not the result of the last step, as after a reset from outside.
        """
        if self._unchecked:
            self._unchecked -= 1
            self.layout.check_stack(obs, next_obs, active)
        after = self._rows(next_obs)
        if obs is self._expected:
            return (self._rows(obs) if self._begins else after), after
        before = self._rows(obs)
        for frames, part in zip(self._bytes, before, strict=True):
            self._loops.differ(frames, part)
        return before, after

    def _rows(self, obs: Obs) -> list[Tensor]:
        """The parts of an observation as the kernels read them."""
        leaves, rows = self.layout.leaves, self.num_envs * self.stack
        return [
            dense(part, leaf.dtype, rows * leaf.size) for part, leaf in zip(self.layout.split(obs), leaves, strict=True)
        ]

    def _store_masks(self, mask: Tensor | None, next_mask: Tensor | None, rows: Any) -> None:
        """Store the masks of the last step; everything stored before the first mask allowed every action."""
        given = next_mask if mask is None else mask
        if given is not None and self.mask is None:
            self._keep_masks(given.shape[1])
        if self.mask is not None:
            newest = self.slot[rows]
            if mask is not None:
                self.mask[newest - self.num_envs] = mask.numpy()[rows]
            self.mask[newest] = True if next_mask is None else next_mask.numpy()[rows]

    def _keep_masks(self, actions: int) -> None:
        """Make room for the masks of all slots."""
        check_fits(self.slots * actions, CPU, replay_size=self.slots)
        self.mask = np.ones((self.slots, actions), np.bool_)
        batch = self._buffers.batch
        batch.mask, batch.next_mask = (torch.ones((len(batch.index), actions), dtype=torch.bool) for _ in range(2))

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites; ValueError if no transition is ready (`count`)."""
        if self.count == 0:
            raise ValueError("nothing to sample: no transition is complete yet")
        batch, index = self._buffers.batch, self._index
        self.sampler.sample(self.ready[: self.used], self.count, index, self._weight)
        self._loops.windows(index, self._windows)
        successor = self._windows.successor
        if self.vectors is not None:
            np.take(self.vectors, index, axis=0, out=batch.action.numpy(), mode="clip")
        if self.mask is not None and batch.mask is not None and batch.next_mask is not None:
            np.take(self.mask, index, axis=0, out=batch.mask.numpy(), mode="clip")
            np.take(self.mask, successor, axis=0, out=batch.next_mask.numpy(), mode="clip")
        for frames, obs, next_obs in self._gathers:
            self._loops.gather(frames, index, successor, obs, next_obs)
        return batch

    def following(self, index: Tensor, steps: int) -> Following:
        """The `steps` steps from the slots `index`, int64 [B], on, as far as they are stored."""
        frames = [torch.from_numpy(frames) for frames in self.frames]
        action, stop, newest = (torch.from_numpy(array) for array in (self.action, self.stop, self.slot))
        arrays: dict[str, Any] = {"frames": frames, "action": action, "stop": stop, "newest": newest}
        return following(index, steps, layout=self.layout, slots=self.slots, **arrays)

    def look_ahead(self, n: int, gamma: float) -> None:
        """Let the next windows sum at most `n` rewards, no more than those stored for, with this discount."""
        self._data.powers[:] = [gamma**power for power in range(self.n + 1)]
        self._data.counts[REACH] = n

    def windows(self, index: np.ndarray, out: Windows) -> None:
        """Fill `out` with the transitions of the slots `index`, int64 [B]."""
        self._loops.windows(index, out)

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
        """Load the state of an equally built ring; ValueError if it does not match."""
        theirs, used = state["arrays"], len(state["arrays"]["action"])
        wanted = {name: array.shape[1:] for name, array in self._arrays().items() if name != "mask"}
        found = {name: tuple(array.shape[1:]) for name, array in theirs.items() if name != "mask"}
        if len(state["streams"]["slot"]) != self.num_envs or wanted != found or state["slots"] != self.slots:
            raise ValueError("the saved replay has another num_envs, replay_size or observation space")
        if "mask" in theirs and self.mask is None:
            self._keep_masks(theirs["mask"].shape[1])
        for name, array in self._arrays().items():
            array[:used] = theirs[name].numpy() if name in theirs else True  # no masks yet: all actions were allowed
            if not name.startswith("frames"):  # its memory is not touched before it is needed
                array[used:] = 0
        for name in STREAMS:
            getattr(self, name)[:] = state["streams"][name]
        self.count, self.used, self.adds, self._expected = state["count"], used, state["adds"], None
        self._data.counts[:3] = self.count, self.used, self.adds
        self._begins = int(self.fresh.sum())
        self.touched[:] = state["touched"].numpy()
        self.sampler.load_state_dict(state["sampler"])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, np.ndarray]:
        frames = {f"frames{number}": array for number, array in enumerate(self.frames)}
        names = ("action", "vectors", "reward", "bootstrap", "stop", "ready", "mask")
        return frames | {name: array for name in names if (array := getattr(self, name)) is not None}


def loops_for(arrays: Arrays) -> Loops:
    """The loops over a ring's arrays: compiled, unless there is little to loop over."""
    if (arrays.num_envs, arrays.stack, arrays.n) == (1, 1, 1):
        return OneStream(arrays)
    from gymnast.replay.ring_kernels import Compiled  # Numba

    return Compiled(arrays)
