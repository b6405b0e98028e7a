"""Sequences of a ring's slots for recurrent agents, each with the memory that the actor had at its start.

A sequence is `burn_in + length + n` consecutive slots of one stream: those that only warm up the memory, those to learn
from, and those that the last targets bootstrap from (Kapturowski et al. 2019, section 3). One begins at every
`period`-th slot, regardless of its content, and may run over an episode's end into the next one: `start` marks where
memory is reset, and `valid` is 0 if a slot holds no transition, as an episode's final observation does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.replay.allocation import check_fits
from gymnast.replay.layout import Layout, Obs
from gymnast.replay.ring import SCALAR_BYTES, Ring
from gymnast.replay.ring_arrays import windows_into
from gymnast.replay.samplers import Sampler, Uniform
from gymnast.replay.transitions import NStep


@dataclass(frozen=True)
class SequenceShape:
    """The layout of sequences in a stream, in slots."""

    burn_in: int
    length: int
    period: int


@dataclass(slots=True)
class SequenceBatch:
    """B sampled sequences: a prefix of P steps, then L + n of which the first L are learned from.

    The tensors are buffers that the next sample overwrites.
    """

    memory: Tensor
    """float32 [B, M], the actor's memory before the first step."""
    prefix_obs: Any
    """[B, P, ...], or a nested dict of these: only for warming up the recurrent state."""
    prefix_start: Tensor
    """bool [B, P], True if an episode begins."""
    obs: Any
    """[B, L + n, ...]."""
    start: Tensor
    """bool [B, L + n]."""
    action: Tensor
    """int64 [B, L], counted from 0, or float32 [B, L, D]."""
    reward: Tensor
    """float32 [B, L], discounted sums over the n steps of each transition."""
    discount: Tensor
    """float32 [B, L], the factor of the value n steps later; 0 after a terminal state."""
    successor: Tensor
    """int64 [B, L], the index of that value's observation among the L + n."""
    next_mask: Tensor | None
    """bool [B, L, A], actions allowed there, if the environment provides them."""
    valid: Tensor
    """float32 [B, L], 1 if a step holds a transition, else 0."""
    weight: Tensor
    """float32 [B], the sampler's correction of each sequence's loss."""
    index: Tensor
    """int64 [B], the sequences' indices, for the sampler."""
    mask: Tensor | None = None
    """bool [B, L, A], actions allowed in each step, likewise."""
    taken: Tensor | None = None
    """int64 [B, P + L + n], or float32 [B, P + L + n, D]: the action of each step, of no meaning where a step holds no
    transition."""


class SequenceReplay:
    """A `Ring` read as sequences: the sampler draws among those whose last slot is written and none overwritten.

    Raises:
        ValueError: if it needs more memory than is free, or a stream is too short for a sequence at any time.
    """

    def __init__(
        self,
        layout: Layout,
        sampler: Sampler,
        transitions: NStep,
        shape: SequenceShape,
        *,
        size: int,
        num_envs: int,
        batch_size: int,
        memory_size: int,
        path: str | None = None,
        action_size: int = 0,
    ) -> None:
        self.shape, self.sampler = shape, sampler
        self.steps = shape.burn_in + shape.length + transitions.n
        least = (self.steps + shape.period + 2 * layout.stack + 2) * num_envs
        if size < least:
            raise ValueError(
                f"replay_size must be >= {least} for sequences of {self.steps} steps in {num_envs} environments, "
                f"got {size}"
            )
        sequences = -(-(size // num_envs) // shape.period) * num_envs
        slot_bytes = (0 if path else layout.frame_bytes) + SCALAR_BYTES + 4 * action_size + 2
        needed = (size - size % num_envs) * slot_bytes
        needed += sequences * (4 * memory_size + sampler.slot_bytes + 1)
        check_fits(needed, torch.device("cpu"), replay_size=size)
        unused = Uniform(np.random.Generator(np.random.PCG64(0)))  # single transitions are not sampled
        sizes = {"size": size, "num_envs": num_envs, "batch_size": 1, "action_size": action_size}
        self.ring = ring = Ring(layout, unused, transitions, **sizes, path=path)
        self.valid = np.zeros(ring.slots, np.bool_)  # the slot holds a transition
        self.start = np.zeros(ring.slots, np.bool_)  # its observation is the first of an episode
        # Of sequence s, which begins at the slot `_begin(s)`:
        sampler.allocate(sequences)
        self.memory = torch.zeros((sequences, memory_size)).numpy()
        self.ready = np.zeros(sequences, np.bool_)
        self.count = 0  # sequences that are ready
        self.used = 0  # sequences that have ever been ready: below
        self.written = np.zeros(num_envs, np.int64)  # slots of each stream, counted on beyond its end
        self._buffers = _Buffers(layout, shape, n=transitions.n, batch_size=batch_size, memory_size=memory_size)

    def add(
        self,
        obs: Obs,
        action: Tensor,
        *,
        memory: Tensor,
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
        """`Ring.add`, and the memory [N, M] that the action was chosen with, before it saw `obs`."""
        ring, width = self.ring, self.ring.num_envs
        before = np.array(ring.slot)
        ring.add(
            obs,
            action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            next_obs=next_obs,
            following=following,
            life_lost=life_lost,
            mask=mask,
            next_mask=next_mask,
            active=active,
        )
        after = np.array(ring.slot)
        moved = (after - before) % ring.slots // width  # [N]: 0 not active, 1 continuing, stack + 1 a new episode
        for step in range(1, int(moved.max()) + 1):
            rows = (moved >= step).nonzero()[0]
            self._write(rows, (before[rows] + step * width) % ring.slots)
        rows = moved.nonzero()[0]
        acted = (after[rows] - width) % ring.slots
        self.valid[acted], self.start[acted] = True, moved[rows] > 1
        begins = acted // width % self.shape.period == 0
        self.memory[self._beginning(acted)] = memory.numpy()[rows[begins]]

    def _write(self, rows: np.ndarray, slots: np.ndarray) -> None:
        """One more slot of each of these streams is written: it removes some sequences and completes others."""
        ring = self.ring
        self.valid[slots] = self.start[slots] = False
        self.memory[self._beginning(slots)] = 0.0
        for later in range(ring.stack):  # whose first observation loses a frame
            self._mark(self._beginning((slots + later * ring.num_envs) % ring.slots), ready=False)
        self.written[rows] += 1
        whole = self.written[rows] >= self.steps
        self._mark(self._beginning((slots[whole] - (self.steps - 1) * ring.num_envs) % ring.slots), ready=True)

    def _mark(self, sequences: np.ndarray, *, ready: bool) -> None:
        changing = sequences[self.ready[sequences] != ready]
        if len(changing):
            self.ready[changing] = ready
            self.sampler.changed(changing, self.ready)
            self.count += len(changing) if ready else -len(changing)
            self.used = max(self.used, int(changing.max()) + 1)

    def _beginning(self, slots: np.ndarray) -> np.ndarray:
        """The sequences that begin at one of the slots, int64."""
        width, period = self.ring.num_envs, self.shape.period
        row, stream = slots // width, slots % width
        sequences: np.ndarray = (row // period * width + stream)[row % period == 0]
        return sequences

    def _begin(self, sequence: np.ndarray) -> np.ndarray:
        """The slot at which each sequence begins."""
        width = self.ring.num_envs
        begin: np.ndarray = sequence // width * self.shape.period * width + sequence % width
        return begin

    def sample(self) -> SequenceBatch:
        """Draw a batch, which the next call overwrites; at least one sequence must be ready (`count`)."""
        ring, shape, buffers = self.ring, self.shape, self._buffers
        batch = buffers.batch
        index = batch.index.numpy()
        self.sampler.sample(self.ready[: self.used], self.count, index, batch.weight.numpy())
        begin = self._begin(index)
        slots = (begin[:, None] + np.arange(self.steps) * ring.num_envs) % ring.slots  # [B, P + L + n]
        learned = slots[:, shape.burn_in : shape.burn_in + shape.length]  # [B, L]
        ring.windows(learned.ravel(), buffers.windows)
        following = buffers.windows.successor.reshape(learned.shape)
        batch.taken = torch.from_numpy((ring.action if ring.vectors is None else ring.vectors)[slots])
        if ring.vectors is not None:
            batch.action = batch.taken[:, shape.burn_in : shape.burn_in + shape.length]
        _fill(batch.memory, self.memory[index])
        _fill(batch.successor, (following - begin[:, None]) % ring.slots // ring.num_envs - shape.burn_in)
        _fill(batch.valid, self.valid[learned])
        _fill(batch.prefix_start, self.start[slots[:, : shape.burn_in]])
        _fill(batch.start, self.start[slots[:, shape.burn_in :]])
        if ring.mask is not None:
            batch.mask = torch.from_numpy(ring.mask[learned])
            batch.next_mask = torch.from_numpy(ring.mask[following])
        offsets = np.arange(1 - ring.stack, 1) * ring.num_envs
        for part, frames in zip(buffers.prefix_frames, ring.frames, strict=True):
            np.take(frames, slots[:, : shape.burn_in, None] + offsets, axis=0, out=part, mode="wrap")
        for part, frames in zip(buffers.frames, ring.frames, strict=True):
            np.take(frames, slots[:, shape.burn_in :, None] + offsets, axis=0, out=part, mode="wrap")
        return batch

    def refresh(self, index: Tensor, memory: Tensor) -> None:
        """Replace the memories of later sequences that begin within the sampled ones, `index` int64 [B].

        `memory` [B, P + L + n, M] is that after each step of theirs; a sequence begins with the one of the step before.
        """
        begin = self._begin(index.numpy())
        steps = np.arange(1, self.steps)
        slots = (begin[:, None] + steps * self.ring.num_envs) % self.ring.slots  # [B, steps]
        rows, columns = (slots // self.ring.num_envs % self.shape.period == 0).nonzero()
        self.memory[self._beginning(slots[rows, columns])] = memory.numpy()[rows, columns]

    def state_dict(self) -> dict[str, Any]:
        """The ring's state, including its frames, and under "sequences" the state of the sequences."""
        arrays = {name: torch.from_numpy(array) for name, array in self._arrays().items()}
        sequences = {"arrays": arrays, "count": self.count, "used": self.used, "sampler": self.sampler.state_dict()}
        return {**self.ring.state_dict(), "sequences": sequences}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of an equally built replay; ValueError if it does not match."""
        mine, theirs = self._arrays(), state.get("sequences", {}).get("arrays", {})
        if {name: array.shape for name, array in mine.items()} != {name: tuple(t.shape) for name, t in theirs.items()}:
            raise ValueError("the saved replay has another recurrent state, period or replay_size")
        self.ring.load_state_dict(state)
        for name, array in mine.items():
            array[:] = theirs[name].numpy()
        self.count, self.used = state["sequences"]["count"], state["sequences"]["used"]
        self.sampler.load_state_dict(state["sequences"]["sampler"])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots and sequences."""
        return self.ring.nbytes + sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("valid", "start", "memory", "ready", "written")}


class _Buffers:
    """The buffers of batches, made once; frames [B, steps, stack, ...] and their views."""

    def __init__(self, layout: Layout, shape: SequenceShape, *, n: int, batch_size: int, memory_size: int) -> None:
        learned, after = (batch_size, shape.length), shape.length + n

        def frames(steps: int) -> list[Tensor]:
            return [torch.zeros((batch_size, steps, layout.stack, *leaf.shape), dtype=leaf.dtype) for leaf in leaves]

        def observations(parts: list[Tensor]) -> Obs:
            return layout.join(parts if layout.stack > 1 else [part.squeeze(2) for part in parts])

        leaves = layout.leaves
        prefix, rest = frames(shape.burn_in), frames(after)
        self.prefix_frames, self.frames = ([part.numpy() for part in parts] for parts in (prefix, rest))
        self.batch = SequenceBatch(
            memory=torch.zeros((batch_size, memory_size)),
            prefix_obs=observations(prefix),
            prefix_start=torch.zeros((batch_size, shape.burn_in), dtype=torch.bool),
            obs=observations(rest),
            start=torch.zeros((batch_size, after), dtype=torch.bool),
            action=torch.zeros(learned, dtype=torch.int64),
            reward=torch.zeros(learned),
            discount=torch.zeros(learned),
            successor=torch.zeros(learned, dtype=torch.int64),
            next_mask=None,
            valid=torch.zeros(learned),
            weight=torch.ones(batch_size),
            index=torch.zeros(batch_size, dtype=torch.int64),
        )
        self.windows = windows_into(self.batch.action, self.batch.reward, self.batch.discount)


def _fill(tensor: Tensor, values: np.ndarray) -> None:
    tensor.numpy()[...] = values
