"""The ring of `ring.py` as tensors on a device: the same slots, with fixed shapes and without host reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gymnast.replay.allocation import check_fits, slots_for
from gymnast.replay.buffers import Buffers
from gymnast.replay.device.samplers import DeviceSampler
from gymnast.replay.following import Following, following
from gymnast.replay.layout import Layout, Obs
from gymnast.replay.ring import BLOCK, SCALAR_BYTES, STACK_CHECKS
from gymnast.replay.transitions import Batch, NStep


class DeviceRing:
    """`size` slots in N streams, resident on a device; `Ring` describes their order.

    Rows that a mask leaves out write to one extra slot, which nothing reads. With an `action_size` D actions are
    vectors float32 [D].

    Raises:
        ValueError: if it needs more memory than is free, or has fewer slots than a window needs.
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
        action_size: int = 0,
    ) -> None:
        self.layout, self.sampler, self.transitions = layout, sampler, transitions
        self.num_envs, self.stack, self.n = num_envs, layout.stack, transitions.n
        self.slots = slots = slots_for(size, num_envs, stack=self.stack, n=self.n)
        slot_bytes = layout.frame_bytes + SCALAR_BYTES + 4 * action_size + sampler.slot_bytes
        check_fits(slots * slot_bytes, device, replay_size=size)
        sampler.allocate(slots, device)
        self.frames = [torch.zeros((slots + 1, *leaf.shape), dtype=leaf.dtype, device=device) for leaf in layout.leaves]
        vector = (action_size,) if action_size else ()
        dtype = torch.float32 if action_size else torch.int64
        self.action = torch.zeros((slots + 1, *vector), dtype=dtype, device=device)  # a number, or a Box's vector
        self.reward = torch.zeros(slots + 1, device=device)
        self.bootstrap = torch.zeros(slots + 1, device=device)  # 1 - terminated
        self.stop = torch.zeros(slots + 1, dtype=torch.bool, device=device)  # a window ends with this step
        self.ready = torch.zeros(slots + 1, dtype=torch.bool, device=device)
        self.mask: Tensor | None = None  # bool [slots + 1, A], actions allowed in the observation of a slot
        self.touched = torch.zeros(-(-slots // BLOCK) + 1, dtype=torch.int64, device=device)  # last: no block
        self.adds = 0
        self.slot = torch.arange(slots - num_envs, slots, device=device)  # [N], written last
        self.fresh = torch.ones(num_envs, dtype=torch.bool, device=device)  # an episode begins
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)  # transitions since the last stop
        self._all = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._expected: Obs = None  # the observation that the last step returned
        self._unchecked = STACK_CHECKS if self.stack > 1 else 0
        self._buffers = Buffers(layout, batch_size=batch_size, n=self.n, stride=num_envs, device=device)
        if action_size:
            self._buffers.batch.action = torch.zeros((batch_size, action_size), device=device)
        gammas = transitions.gammas
        self._gammas = torch.tensor(gammas, device=device) if len(gammas) > 1 else None
        self._reach: Tensor | None = None  # int64 [], how many of the n rewards a window sums; None: all
        self._uniform = torch.zeros(batch_size, dtype=torch.float64, device=device)
        self._gather: Callable[[Tensor], None] = self.gather

    def compile(self, compiler: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
        """Sample and update priorities by compiled functions."""
        self._gather = compiler(self.gather)
        self.sampler.update = compiler(self.sampler.update)  # type: ignore[method-assign]

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
        """Store one step of the N streams, like `Ring.add`."""
        self.adds += 1
        active = self._all if active is None else active
        before, after = self._parts(obs, next_obs, active)
        self._expected = following
        ended = terminated | truncated
        cut = terminated if life_lost is None else terminated | life_lost
        slot, stale = self._append(active, before, after)
        self.action[slot] = action
        self.reward[slot] = reward
        self.bootstrap[slot] = (~cut).float()
        if mask is not None or next_mask is not None or self.mask is not None:
            self._store_masks(mask, next_mask, active)
        self.length += active
        completed = self._close(active, slot, stop=ended | cut)
        self.sampler.changed(torch.cat([stale, completed]), self.ready)
        self.fresh = torch.where(active, ended, self.fresh)

    def _parts(self, obs: Obs, next_obs: Obs, active: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The parts of both observations; cuts the streams whose `obs` is not the result of the last step."""
        if self._unchecked:
            self._unchecked -= 1
            self.layout.check_stack(obs, next_obs, active)
        before, after = self.layout.split(obs), self.layout.split(next_obs)
        if obs is not self._expected:
            self._reconcile(before)
        return before, after

    def _append(self, rows: Tensor, obs: list[Tensor], next_obs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Write the rows' newest frames, and their first stacks if an episode begins.

        Returns the slots of the observations [N], and those that are no longer ready [K].
        """
        stride, stack, size, none = self.num_envs, self.stack, self.slots, self.slots
        begins = (rows & self.fresh).unsqueeze(1)
        ahead = torch.arange(-stack, stack, device=self.slot.device) * stride  # from the slot of the successor
        slot = torch.where(begins.squeeze(1), self.slot + stack * stride, self.slot)
        newest = (slot + stride) % size
        around = (newest.unsqueeze(1) + ahead) % size  # [N, 2 * stack]
        first = torch.where(begins, around[:, :stack], none).flatten()
        last = torch.where(rows, newest, none)
        for frames, before, after in zip(self.frames, obs, next_obs, strict=True):
            frames[first] = (before if stack == 1 else before.flatten(0, 1)).to(frames.dtype)
            frames[last] = (after if stack == 1 else after[:, -1]).to(frames.dtype)
        stale = torch.where(rows.unsqueeze(1) & (begins | (ahead >= 0)), around, none).flatten()
        self.ready.index_fill_(0, stale, False)
        for written in (first, last):
            block = torch.where(written < none, written // BLOCK, len(self.touched) - 1)
            self.touched.index_fill_(0, block, self.adds)
        self.slot = torch.where(rows, newest, self.slot)
        return torch.where(rows, slot % size, none), stale

    def _close(self, rows: Tensor, slot: Tensor, *, stop: Tensor) -> Tensor:
        """Mark the transitions whose windows are complete now that the steps in `slot` are stored; their slots [K]."""
        self.stop[torch.where(rows, slot, self.slots)] = stop
        back = torch.arange(self.n, device=slot.device)
        windows = (slot.unsqueeze(1) - back * self.num_envs) % self.slots  # [N, n]
        complete = rows.unsqueeze(1) & (self.length.unsqueeze(1) > back) & (stop.unsqueeze(1) | (back == self.n - 1))
        completed = torch.where(complete & ~self.ready[windows], windows, self.slots).flatten()
        self.ready[completed] = completed < self.slots
        self.length.masked_fill_(rows & stop, 0)
        return completed

    def _store_masks(self, mask: Tensor | None, next_mask: Tensor | None, active: Tensor) -> None:
        """Store the masks of the last step; everything stored before the first mask allowed every action."""
        given = next_mask if mask is None else mask
        if given is not None and self.mask is None:
            self._keep_masks(given.shape[1])
        newest = torch.where(active, self.slot, self.slots)
        if self.mask is not None and mask is not None:
            self.mask[torch.where(active, (self.slot - self.num_envs) % self.slots, self.slots)] = mask
        if self.mask is not None and next_mask is not None:
            self.mask[newest] = next_mask
        elif self.mask is not None:
            self.mask.index_fill_(0, newest, True)

    def _keep_masks(self, actions: int) -> None:
        """Make room for the masks of all slots."""
        self.mask = torch.ones((self.slots + 1, actions), dtype=torch.bool, device=self.ready.device)
        batch = self._buffers.batch
        shape, device = (len(batch.index), actions), self.ready.device
        batch.mask, batch.next_mask = (torch.ones(shape, dtype=torch.bool, device=device) for _ in range(2))

    def _reconcile(self, obs: list[Tensor]) -> None:
        """Cut the streams whose observation is not the result of the last step, as after a reset from outside."""
        offsets = torch.arange(1 - self.stack, 1, device=self.slot.device) * self.num_envs
        slots = (self.slot[:, None] + offsets) % self.slots  # [N, stack]
        same = self._all
        for frames, part in zip(self.frames, obs, strict=True):
            shown = part.to(frames.dtype).reshape(self.num_envs, -1)
            same = same & (frames[slots].reshape(self.num_envs, -1) == shown).all(1)
        cut = ~self.fresh & ~same
        before = (self.slot - self.num_envs) % self.slots
        self.sampler.changed(self._close(cut & (self.length > 0), before, stop=self._all), self.ready)
        self.fresh = self.fresh | cut

    def sample(self) -> Batch:
        """Draw a batch, which the next call overwrites; at least one transition must be ready."""
        self.sampler.fill(self._uniform)
        self._gather(self._uniform)
        return self._buffers.batch

    def following(self, index: Tensor, steps: int) -> Following:
        """The `steps` steps from the slots `index`, int64 [B], on, as far as they are stored."""
        arrays: dict[str, Any] = {"frames": self.frames, "action": self.action, "stop": self.stop, "newest": self.slot}
        return following(index, steps, layout=self.layout, slots=self.slots, **arrays)

    def look_ahead(self, n: int, gamma: float) -> None:
        """Let the next windows sum at most `n` rewards, no more than those stored for, with this discount.

        Both are kept on the device, where a recorded update reads them: call it before the first sample.
        """
        if self._reach is None or self._gammas is None:
            self._reach = torch.tensor(n, device=self.slot.device)
            self._gammas = torch.full((len(self.transitions.gammas),), gamma, device=self.slot.device)
        self._reach.fill_(n)
        self._gammas.fill_(gamma)

    def gather(self, uniform: Tensor) -> None:
        """Fill the batch with the sampler's draws for numbers from [0, 1), float64 [B]."""
        batch, slots = self._buffers.batch, self.slots
        index, weight = self.sampler.draw(uniform)
        batch.index.copy_(index)
        batch.weight.copy_(weight)
        total, discount, successor = windows(
            index,
            self.transitions,
            reward=self.reward[:slots],
            bootstrap=self.bootstrap[:slots],
            stop=self.stop[:slots],
            stride=self.num_envs,
            gammas=self._gammas,
            reach=self._reach,
        )
        batch.reward.copy_(total)
        batch.discount.copy_(discount)
        torch.index_select(self.action, 0, index, out=batch.action)
        if self.mask is not None and batch.mask is not None and batch.next_mask is not None:
            torch.index_select(self.mask, 0, index, out=batch.mask)
            torch.index_select(self.mask, 0, successor % slots, out=batch.next_mask)
        for gather in self._buffers.gathers:
            newest = successor if gather.successors else index
            wanted = (newest[:, None] + gather.offsets).flatten() % slots
            for frames, part in zip(self.frames, gather.parts, strict=True):
                torch.index_select(frames, 0, wanted, out=part)

    def state_dict(self) -> dict[str, Any]:
        """Everything, without the slots never written; the arrays share the ring's memory."""
        used = min(self.adds * (self.stack + 1) * self.num_envs, self.slots)
        return {
            "arrays": {name: array[:used] for name, array in self._arrays().items()},
            "streams": {name: getattr(self, name).clone() for name in ("slot", "fresh", "length")},
            "adds": self.adds,
            "touched": self.touched[:-1],
            "block": BLOCK,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of an equally built ring; ValueError if it does not match."""
        mine, theirs = self._arrays(), state["arrays"]
        used = len(theirs["action"])
        if "mask" in theirs and self.mask is None:
            self._keep_masks(theirs["mask"].shape[1])
            mine = self._arrays()
        if len(state["streams"]["slot"]) != self.num_envs or mine.keys() != theirs.keys() or used > self.slots:
            raise ValueError("the saved replay has another num_envs, replay_size or observation space")
        for name, array in mine.items():
            array[:used] = theirs[name]
            array[used:] = 0
        for name, value in state["streams"].items():
            getattr(self, name).copy_(value)
        self.adds, self._expected = state["adds"], None
        self.touched[:-1] = state["touched"]
        self.sampler.load_state_dict(state["sampler"])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, Tensor]:
        frames = {f"frames{number}": array for number, array in enumerate(self.frames)}
        scalars = {name: getattr(self, name) for name in ("action", "reward", "bootstrap", "stop", "ready")}
        return {**frames, **scalars, **({} if self.mask is None else {"mask": self.mask})}


def windows(
    index: Tensor,
    transitions: NStep,
    *,
    reward: Tensor,
    bootstrap: Tensor,
    stop: Tensor,
    stride: int,
    gammas: Tensor | None = None,
    reach: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # int64 [B] -> float32 [B], float32 [B], int64 [B]
    """Discounted reward sums, discounts and positions of the successors, not yet modulo the number of slots.

    The same as `ring_kernels.windows`, bit for bit with one discount, as a test checks. That one stops at the end of a
    window; here the host may read nothing, so every window takes n steps and masks those after its end. `gammas`,
    float32 [G], has the discounts of `transitions` if there are several. `reach`, int64 [], is the number of rewards
    that are summed if it is not n.
    """
    n, size = transitions.n, len(reward)
    gamma: float | Tensor = transitions.gammas[0]
    if gammas is not None:
        gamma = gammas[index % stride * len(gammas) // stride]  # of each sample's stream
    total, discount, last = reward[index], gamma * bootstrap[index], index
    going: Tensor | bool = True
    for power in range(1, n):
        going = going & ~stop[last] if reach is None else going & ~stop[last] & (reach > power)
        last = (last + stride * going) % size
        total = total + gamma**power * reward[last] * going
        discount = discount * ~going + gamma ** (power + 1) * bootstrap[last] * going
    return total, discount, last + stride
