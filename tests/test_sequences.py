"""Sequences of a replay against a naive recorder: random episodes, streams, stacks, wrap-around, n-step windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gymnast.replay import allocation
from gymnast.replay.layout import Layout
from gymnast.replay.samplers import Prioritized, Uniform
from gymnast.replay.sequences import SequenceBatch, SequenceReplay, SequenceShape
from gymnast.replay.transitions import NStep

GAMMA = 0.9


@dataclass
class Moment:
    """One slot of a stream as the naive recorder sees it."""

    obs: np.ndarray | None  # None where the slot holds no observation of its own
    start: bool = False
    memory: np.ndarray | None = None
    action: int = -1  # -1 where no action followed
    reward: float = 0.0
    bootstrap: float = 1.0
    stop: bool = False


class World:
    """N scripted streams of random episodes, recorded whole, and the replay that they are stored in."""

    def __init__(self, seed: int, *, num_envs: int, stack: int, n: int, shape: SequenceShape, rows: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.num_envs, self.stack, self.n, self.shape, self.rows = num_envs, stack, n, shape, rows
        space = spaces.Box(-np.inf, np.inf, (stack, 2) if stack > 1 else (2,), np.float32)
        self.replay = SequenceReplay(
            Layout(space, stack=stack),
            Uniform(np.random.default_rng(seed)),
            NStep(n, GAMMA),
            shape,
            size=rows * num_envs + num_envs // 2,
            num_envs=num_envs,
            batch_size=16,
            memory_size=3,
        )
        self.streams: list[list[Moment]] = [[] for _ in range(num_envs)]
        self.frame = 0
        self.obs = [self.first() for _ in range(num_envs)]
        self.fresh, self.idle = [True] * num_envs, [False] * num_envs
        self.masks = bool(seed % 2)

    def new_frame(self) -> np.ndarray:
        self.frame += 1
        return np.array([self.frame, -self.frame], np.float32)

    def first(self) -> np.ndarray:
        return np.stack([self.new_frame() for _ in range(self.stack)])

    def tensor(self, rows: list[np.ndarray]) -> Tensor:
        whole = np.stack(rows)
        return torch.from_numpy(whole if self.stack > 1 else whole[:, 0])

    def step(self) -> None:
        rng, rows = self.rng, self.num_envs
        ended = rng.random(rows) < 0.15
        terminated, truncated = ended & (rng.random(rows) < 0.5), ended.copy()
        truncated &= ~terminated | (rng.random(rows) < 0.2)  # both at once now and then
        lost, action = rng.random(rows) < 0.05, rng.integers(0, 1000, rows)
        reward, memory = rng.normal(size=rows).astype(np.float32), rng.normal(size=(rows, 3)).astype(np.float32)
        active = np.array([not idle for idle in self.idle])
        before, after, following = list(self.obs), [], []
        for row in range(rows):
            successor = np.concatenate([self.obs[row][1:], self.new_frame()[None]])
            after.append(successor)
            if not active[row]:
                self.idle[row], self.fresh[row] = False, True
                following.append(self.first())
                continue
            stream = self.streams[row]
            if self.fresh[row]:
                stream += [Moment(None) for _ in range(self.stack - 1)]
                stream.append(Moment(before[row], start=True))
            stream[-1].memory, stream[-1].action, stream[-1].reward = memory[row], int(action[row]), float(reward[row])
            stream[-1].bootstrap = 0.0 if terminated[row] or lost[row] else 1.0
            stream[-1].stop = bool(terminated[row] or truncated[row] or lost[row])
            stream.append(Moment(successor))
            self.fresh[row] = bool(terminated[row] or truncated[row])
            self.idle[row] = self.fresh[row] and rng.random() < 0.3
            following.append(self.first() if self.fresh[row] and not self.idle[row] else successor)
        self.obs = following
        self.replay.add(
            self.tensor(before),
            torch.from_numpy(action),
            memory=torch.from_numpy(memory),
            reward=torch.from_numpy(reward),
            terminated=torch.from_numpy(terminated),
            truncated=torch.from_numpy(truncated),
            next_obs=self.tensor(after),
            following=self.tensor(following),
            life_lost=torch.from_numpy(lost),
            next_mask=torch.tensor([[frame[-1, 0] % 2 == 0, True] for frame in after]) if self.masks else None,
            active=None if active.all() else torch.from_numpy(active),
        )

    def complete(self) -> set[tuple[int, int]]:
        """Stream and number of the slot at which each sequence begins that can be drawn."""
        found, steps = set(), self.shape.burn_in + self.shape.length + self.n
        for row, stream in enumerate(self.streams):
            for begin in range(len(stream) - steps + 1):
                whole = begin - (self.stack - 1) > len(stream) - 1 - self.rows
                if whole and begin % self.rows % self.shape.period == 0:
                    found.add((row, begin))
        return found

    def begin(self, sequence: int) -> tuple[int, int]:
        """Stream and number of the slot at which a sequence of the replay begins now."""
        row, slot = sequence % self.num_envs, sequence // self.num_envs * self.shape.period
        last = len(self.streams[row]) - 1
        return row, slot + (last - slot) // self.rows * self.rows

    def check(self, batch: SequenceBatch) -> set[tuple[int, int]]:
        """Compare a batch with the recorder; which sequences it had."""
        seen = set()
        for place, sequence in enumerate(batch.index.tolist()):
            row, begin = self.begin(sequence)
            seen.add((row, begin))
            moments = self.streams[row][begin : begin + self.shape.burn_in + self.shape.length + self.n]
            expected = np.zeros(3, np.float32) if moments[0].memory is None else moments[0].memory
            assert batch.memory[place].tolist() == expected.tolist()
            starts = torch.cat([batch.prefix_start, batch.start], 1)[place]
            assert starts.tolist() == [moment.start for moment in moments]
            shown = torch.cat([batch.prefix_obs, batch.obs], 1)[place].numpy()
            for number, moment in enumerate(moments):
                if moment.obs is not None:
                    assert np.array_equal(shown[number], moment.obs if self.stack > 1 else moment.obs[0])
            for step in range(self.shape.length):
                self.check_step(batch, place, step, moments[self.shape.burn_in :])
        return seen

    def check_step(self, batch: SequenceBatch, place: int, step: int, moments: list[Moment]) -> None:
        moment = moments[step]
        assert batch.valid[place, step] == (moment.action >= 0)
        assert 1 <= batch.successor[place, step] <= self.shape.length + self.n - 1  # inside the window, always
        if moment.action < 0:
            return
        total, taken = 0.0, 0
        for later in moments[step : step + self.n]:
            total += GAMMA**taken * later.reward
            taken += 1
            if later.stop:
                break
        assert batch.action[place, step] == moment.action
        assert batch.reward[place, step].item() == pytest.approx(total, abs=1e-5)
        last = moments[step + taken - 1]
        assert batch.discount[place, step].item() == pytest.approx(GAMMA**taken * last.bootstrap, abs=1e-6)
        assert batch.successor[place, step] == step + taken
        after = moments[step + taken].obs
        assert after is not None  # an episode's final observation stands in a slot of its own
        if self.masks:
            assert batch.next_mask is not None
            assert batch.next_mask[place, step].tolist() == [after[-1, 0] % 2 == 0, True]


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_envs=st.integers(1, 3),
    stack=st.sampled_from([1, 3]),
    n=st.integers(1, 4),
    shape=st.builds(
        lambda burn_in, length, period: SequenceShape(burn_in, length, min(period, length)),
        st.integers(0, 5),
        st.integers(1, 7),
        st.integers(1, 7),
    ),
    spare=st.integers(0, 9),
)
def test_sampled_sequences_equal_a_naive_recorder(
    seed: int, num_envs: int, stack: int, n: int, shape: SequenceShape, spare: int
) -> None:
    rows = shape.burn_in + shape.length + n + shape.period + 2 * stack + 2 + spare
    world = World(seed, num_envs=num_envs, stack=stack, n=n, shape=shape, rows=rows)
    for step in range(3 * rows):
        world.step()
        if step % 5 == 0:
            ready = {world.begin(int(sequence)) for sequence in world.replay.ready.nonzero()[0]}
            assert ready == world.complete()
            assert world.replay.count == len(ready)
        if step % 17 == 0 and world.replay.count:
            assert world.check(world.replay.sample()) <= world.complete()
    drawn = set()
    for _ in range(40):
        drawn |= world.check(world.replay.sample())
    assert drawn == world.complete()


def test_a_stream_is_never_without_a_sequence_once_it_had_one() -> None:
    """In the shortest ring that is accepted, whatever the episodes' lengths."""
    for seed in range(5):
        world = World(seed, num_envs=1, stack=3, n=2, shape=SequenceShape(2, 6, 5), rows=10 + 5 + 6 + 2)
        for step in range(120):
            world.step()
            assert world.replay.count or step < 10


def test_every_transition_is_learned_from() -> None:
    """All but the first of a stream that are only ever warmed up with, for a period as long as what is learned."""
    shape = SequenceShape(3, 4, 4)
    world = World(3, num_envs=2, stack=1, n=2, shape=shape, rows=101)
    for _ in range(80):
        world.step()
    learned = {(row, begin + shape.burn_in + step) for row, begin in world.complete() for step in range(shape.length)}
    for row, stream in enumerate(world.streams):
        whole = list(range(shape.burn_in, len(stream) - shape.length - 2 - shape.period))
        assert whole
        assert {(row, number) for number in whole} <= learned


def test_a_state_brings_back_the_same_samples() -> None:
    shape = SequenceShape(2, 4, 3)
    one, other = (World(5, num_envs=2, stack=3, n=2, shape=shape, rows=30) for _ in range(2))
    for _ in range(70):
        one.step()
    other.replay.load_state_dict(one.replay.state_dict())
    other.streams, other.masks = one.streams, one.masks
    for _ in range(3):
        assert torch.equal(one.replay.sample().index, other.replay.sample().index)
        other.check(other.replay._buffers.batch)
    smaller = World(5, num_envs=2, stack=3, n=2, shape=SequenceShape(2, 4, 2), rows=30)
    with pytest.raises(ValueError, match="another recurrent state, period or replay_size"):
        smaller.replay.load_state_dict(one.replay.state_dict())


def test_what_is_remembered_counts_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(spaces.Box(0, 1, (2,), np.float32))
    made: dict[str, Any] = {"size": 100_000, "num_envs": 1, "batch_size": 1, "memory_size": 1024}

    def build() -> SequenceReplay:
        sampler = Prioritized(np.random.default_rng(0), alpha=0.9, beta=lambda step: 0.6)
        return SequenceReplay(layout, sampler, NStep(1, GAMMA), SequenceShape(2, 4, 4), **made)

    replay = build()
    needed = 25_000 * 4 * 1024 + 100_000 * 8
    assert replay.nbytes >= needed
    monkeypatch.setattr(allocation, "free_bytes", lambda device: allocation.RESERVE + needed)
    with pytest.raises(ValueError, match=r"replay_size 100,000 needs 0\.1\d GB"):
        build()
    made["size"] = 14
    with pytest.raises(ValueError, match=r"replay_size must be >= 15 for sequences of 7 .*, got 14"):
        build()
