"""The rings against a naive buffer that keeps every observation whole, n-step windows, samplers, memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from gymnast.replay import memory
from gymnast.replay.device_ring import DeviceRing
from gymnast.replay.device_samplers import DeviceUniform
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Uniform
from gymnast.replay.transitions import NStep

GAMMA = 0.9
CPU = torch.device("cpu")


class Every:
    """A sampler that lists the ready slots one after the other, for either ring."""

    generator = torch.Generator()
    slot_bytes = 0

    def allocate(self, slots: int, device: Any = None) -> None: ...

    def changed(self, slots: Any, ready: Any) -> None:
        self.ready = ready

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        index[:] = np.resize(np.flatnonzero(ready), len(index))

    def draw(self, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        slots = np.flatnonzero(self.ready.numpy())
        return torch.as_tensor(np.resize(slots, len(uniform))), torch.ones(len(uniform))

    def update(self, index: Any, error: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Moment:
    """One slot of the naive buffer: an observation, and what followed if an action was taken."""

    obs: np.ndarray
    number: int | None = None  # the action: unique, so that it names the transition
    reward: float = 0.0
    bootstrap: float = 1.0
    stop: bool = False
    next_obs: np.ndarray | None = None


@dataclass
class Naive:
    """All moments of one stream; those of the last `capacity` slots are the ones that the ring still has."""

    capacity: int
    stack: int
    n: int
    moments: list[Moment] = field(default_factory=list)

    def transitions(self) -> dict[int, tuple[np.ndarray, float, float, np.ndarray]]:
        found = {}
        oldest = len(self.moments) - self.capacity
        for start, moment in enumerate(self.moments):
            if moment.number is None or start - (self.stack - 1) < oldest:
                continue
            total, window = 0.0, []
            for later in self.moments[start : start + self.n]:
                if later.number is None:
                    break
                total += GAMMA ** len(window) * later.reward
                window.append(later)
                if later.stop:
                    break
            if len(window) < self.n and not window[-1].stop:
                continue
            discount = GAMMA ** len(window) * window[-1].bootstrap
            assert window[-1].next_obs is not None
            found[moment.number] = (moment.obs, total, discount, window[-1].next_obs)
        return found


class World:
    """N scripted environments whose frames are all different, and the naive buffers of their streams."""

    def __init__(self, rng: np.random.Generator, *, num_envs: int, stack: int, n: int, capacity: int) -> None:
        self.rng, self.num_envs, self.stack = rng, num_envs, stack
        self.frame = self.number = 0
        self.naive = [Naive(capacity, stack, n) for _ in range(num_envs)]
        self.obs = [self.first() for _ in range(num_envs)]
        self.known = [False] * num_envs  # the naive buffer has the current observation
        self.idle = [False] * num_envs  # an ended row whose next action is ignored

    def new_frame(self) -> np.ndarray:
        self.frame += 1
        return np.array([self.frame, self.frame % 7], np.float32)

    def first(self) -> np.ndarray:
        frame = self.new_frame()
        padding = frame if self.rng.random() < 0.5 else np.zeros_like(frame)
        return np.stack([padding] * (self.stack - 1) + [frame])

    def tensor(self, rows: list[np.ndarray]) -> torch.Tensor:
        whole = np.stack(rows)
        return torch.from_numpy(whole if self.stack > 1 else whole[:, 0])

    def step(self, *, waits: bool) -> dict[str, Any]:
        """One step in every row; with `waits` a row that ended ignores one action before its next episode."""
        rows, rng = self.num_envs, self.rng
        before, after, following = list(self.obs), [], []
        action = np.arange(self.number, self.number + rows)
        self.number += rows
        reward = rng.integers(-5, 5, rows).astype(np.float32)
        terminated, truncated, lost = rng.random(rows) < 0.15, rng.random(rows) < 0.15, rng.random(rows) < 0.1
        active = np.array([not idle for idle in self.idle])
        for row in range(rows):
            successor = np.concatenate([self.obs[row][1:], self.new_frame()[None]])
            ended = bool(terminated[row] or truncated[row])
            if active[row]:
                self._remember(row, action[row], reward[row], terminated[row], truncated[row], lost[row], successor)
                self.idle[row] = ended and waits
                self.obs[row] = successor if ended and waits else self.first() if ended else successor
                self.known[row] = not ended
            else:
                self.idle[row], self.obs[row], self.known[row] = False, self.first(), False
            after.append(successor)
            following.append(self.obs[row])
        return {
            "obs": self.tensor(before),
            "action": torch.from_numpy(action),
            "reward": torch.from_numpy(reward),
            "terminated": torch.from_numpy(terminated),
            "truncated": torch.from_numpy(truncated),
            "next_obs": self.tensor(after),
            "following": self.tensor(following),
            "life_lost": torch.from_numpy(lost),
            "active": None if active.all() else torch.from_numpy(active),
        }

    def _remember(
        self, row: int, number: int, reward: float, terminated: bool, truncated: bool, lost: bool, after: np.ndarray
    ) -> None:
        moments = self.naive[row].moments
        if not self.known[row]:
            moments += [Moment(self.obs[row]) for _ in range(self.stack)]
        moment = moments[-1]
        moment.obs, moment.number, moment.reward, moment.next_obs = self.obs[row], int(number), float(reward), after
        moment.bootstrap, moment.stop = float(not (terminated or lost)), bool(terminated or truncated or lost)
        moments.append(Moment(after))

    def reset_outside(self, row: int) -> None:
        """The row begins a new episode without having ended: what was cut counts as cut off."""
        if self.known[row] and len(self.naive[row].moments) > 1 and self.naive[row].moments[-2].number is not None:
            self.naive[row].moments[-2].stop = True
        self.obs[row], self.known[row], self.idle[row] = self.first(), False, False

    def transitions(self) -> dict[int, tuple[np.ndarray, float, float, np.ndarray]]:
        return {number: value for naive in self.naive for number, value in naive.transitions().items()}


def make(kind: str, *, num_envs: int, stack: int, n: int, size: int, batch_size: int, sampler: Any = None) -> Any:
    shape = (stack, 2) if stack > 1 else (2,)
    layout = Layout(spaces.Box(-np.inf, np.inf, shape), stack=stack)
    transitions = NStep(n, GAMMA)
    if kind == "numpy":
        return Ring(layout, sampler or Every(), transitions, size=size, num_envs=num_envs, batch_size=batch_size)
    return DeviceRing(
        layout, sampler or Every(), transitions, size=size, num_envs=num_envs, batch_size=batch_size, device=CPU
    )


def check(ring: Any, world: World) -> None:
    """What the ring says is exactly what the naive buffers say."""
    expected = world.transitions()
    ready = np.flatnonzero(np.asarray(ring.ready)[: ring.slots])
    assert sorted(np.asarray(ring.action)[ready].tolist()) == sorted(expected)
    if isinstance(ring, Ring):
        assert ring.count == len(expected)
    if not expected:
        return
    batch = ring.sample()
    for at, number in enumerate(batch.action.tolist()):
        obs, total, discount, next_obs = expected[number]
        shown = [part[at].numpy() for part in (batch.obs, batch.next_obs)]
        np.testing.assert_array_equal(shown[0], obs if world.stack > 1 else obs[0])
        np.testing.assert_array_equal(shown[1], next_obs if world.stack > 1 else next_obs[0])
        assert batch.reward[at].item() == pytest.approx(total, abs=1e-5)
        assert batch.discount[at].item() == pytest.approx(discount, abs=1e-6)


@pytest.mark.parametrize("kind", ["numpy", "device"])
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 4),
    n=st.integers(1, 4),
    spare=st.integers(0, 25),
    steps=st.integers(1, 70),
    waits=st.booleans(),
    resets=st.booleans(),
)
def test_ring_equals_naive_buffer(
    kind: str, seed: int, num_envs: int, stack: int, n: int, spare: int, steps: int, waits: bool, resets: bool
) -> None:
    rng = np.random.default_rng(seed)
    capacity = 2 * stack + n + 2 + spare
    world = World(rng, num_envs=num_envs, stack=stack, n=n, capacity=capacity)
    ring = make(kind, num_envs=num_envs, stack=stack, n=n, size=capacity * num_envs, batch_size=capacity * num_envs)
    kept = None  # the loop hands the very object back that the last step returned
    for time in range(steps):
        if resets and rng.random() < 0.05:
            world.reset_outside(int(rng.integers(num_envs)))
            kept = None
        step = world.step(waits=waits)
        if kept is not None:
            step["obs"] = kept
        ring.add(**step)
        kept = step["following"]
        if time % 7 == 0:
            check(ring, world)
    check(ring, world)


@pytest.mark.parametrize("kind", ["numpy", "device"])
@pytest.mark.parametrize("steps", [5, 90])
def test_state_goes_on_exactly(kind: str, steps: int) -> None:
    def sampler() -> Any:
        return Uniform(np.random.default_rng(1)) if kind == "numpy" else DeviceUniform(torch.Generator().manual_seed(1))

    options = {"num_envs": 2, "stack": 3, "n": 2, "size": 80, "batch_size": 16}
    first, second = make(kind, **options, sampler=sampler()), make(kind, **options, sampler=sampler())
    world = World(np.random.default_rng(0), num_envs=2, stack=3, n=2, capacity=40)
    for _ in range(steps):
        first.add(**world.step(waits=False))
        if first.ready.any():
            first.sample()
    state = first.state_dict()
    assert len(state["arrays"]["frames0"]) <= (80 if steps == 90 else 60)  # only what was ever written
    second.load_state_dict(torch.load(_saved(state), weights_only=True))
    for _ in range(30):
        step = world.step(waits=False)
        first.add(**step)
        second.add(**step)
        one, other = first.sample(), second.sample()
        for name in ("obs", "action", "reward", "discount", "next_obs", "index"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def _saved(state: dict[str, Any]) -> Any:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["numpy", "device"])
def test_state_of_another_ring_is_refused(kind: str) -> None:
    one = make(kind, num_envs=2, stack=1, n=1, size=40, batch_size=4)
    other = make(kind, num_envs=4, stack=1, n=1, size=40, batch_size=4)
    with pytest.raises(ValueError, match="another num_envs"):
        other.load_state_dict(one.state_dict())


def test_n_step_by_hand() -> None:
    # Slots of one stream: rewards 1, 2, 4, 8; the third step ends in a terminal state.
    reward, bootstrap = np.array([1, 2, 4, 8], np.float32), np.array([1, 1, 0, 1], np.float32)
    stop = np.array([False, False, True, False])
    build = NStep(3, 0.5).build
    total, discount, successor = build(np.arange(3), reward=reward, bootstrap=bootstrap, stop=stop, stride=1)
    assert total.tolist() == [1 + 1 + 1, 2 + 2, 4]
    assert discount.tolist() == [0, 0, 0]
    assert successor.tolist() == [3, 3, 3]
    # Truncated there instead: the bootstrap stays, discounted by as many steps as were taken.
    total, discount, successor = build(
        np.arange(3), reward=reward, bootstrap=np.ones(4, np.float32), stop=stop, stride=1
    )
    assert total.tolist() == [3, 4, 4]
    assert discount.tolist() == [0.125, 0.25, 0.5]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("at", range(5))
def test_end_at_every_index(n: int, end: str, at: int) -> None:
    """Five steps of reward 1, an end at one of them: truncation keeps the bootstrap, termination does not."""
    ring = make("numpy", num_envs=1, stack=1, n=n, size=30, batch_size=30)
    obs = torch.tensor([[0.0, 0.0]])
    for step in range(5):
        successor, ends = torch.tensor([[step + 1.0, 0.0]]), torch.tensor([step == at])
        following = torch.tensor([[10.0, 0.0]]) if step == at else successor
        flags = {"terminated": torch.tensor([False]), "truncated": torch.tensor([False]), end: ends}
        ring.add(obs, torch.tensor([step]), reward=torch.ones(1), **flags, next_obs=successor, following=following)
        obs = following if step == at else successor
    batch = ring.sample()
    seen = {int(action): place for place, action in enumerate(batch.action)}
    for step in range(at + 1):
        length = min(n, at - step + 1)
        place = seen[step]  # no start is lost at an episode's end
        ended = step + length - 1 == at
        assert batch.reward[place] == pytest.approx(sum(GAMMA**power for power in range(length)))
        assert batch.discount[place] == pytest.approx(0.0 if ended and end == "terminated" else GAMMA**length)
        assert batch.next_obs[place, 0] == step + length


@pytest.mark.parametrize("kind", ["numpy", "device"])
def test_uniform_samples_are_uniform(kind: str) -> None:
    ready = np.zeros(500, bool)
    ready[[0, 3, 4, 250, 498, 499]] = True
    index, weight = np.zeros(60_000, np.int64), np.zeros(60_000, np.float32)
    if kind == "numpy":
        Uniform(np.random.default_rng(0)).sample(ready, 6, index, weight)
    else:
        sampler = DeviceUniform(torch.Generator())
        sampler.allocate(500, CPU)
        sampler.changed(torch.arange(501), torch.from_numpy(np.append(ready, False)))
        uniform = torch.rand(60_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        drawn, weight = sampler.draw(uniform)
        index = drawn.numpy()
    slots, counts = np.unique(index, return_counts=True)
    assert slots.tolist() == [0, 3, 4, 250, 498, 499]  # the first and the last slot included
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 20.5  # chi-square with 5 degrees of freedom, p = 0.001
    assert (weight == 1).all()


def test_ring_keeps_dicts_and_dtypes() -> None:
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 2), np.uint8), "pair": spaces.Tuple([spaces.Discrete(4)])})
    ring = Ring(Layout(space), Every(), NStep(1, GAMMA), size=20, num_envs=2, batch_size=4)
    obs = {"image": torch.randint(0, 255, (2, 3, 2), dtype=torch.uint8), "pair": {"0": torch.tensor([1, 2])}}
    successor = {"image": obs["image"] + 1, "pair": {"0": torch.tensor([3, 0])}}
    no = torch.zeros(2, dtype=torch.bool)
    ring.add(
        obs,
        torch.tensor([0, 1]),
        reward=torch.ones(2),
        terminated=no,
        truncated=no,
        next_obs=successor,
        following=successor,
    )
    batch = ring.sample()
    assert batch.obs["image"].dtype == torch.uint8
    assert batch.obs["pair"]["0"].dtype == torch.int64
    for place, action in enumerate(batch.action.tolist()):
        assert torch.equal(batch.obs["image"][place], obs["image"][action])
        assert batch.next_obs["pair"]["0"][place] == successor["pair"]["0"][action]


def test_a_million_atari_frames_fit_in_eight_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(spaces.Box(0, 255, (4, 84, 84), np.uint8), stack=4)
    assert layout.frame_bytes == 84 * 84
    monkeypatch.setattr(memory, "free_memory", lambda device: int(8e9))
    from gymnast.replay.ring import SCALAR_BYTES

    assert layout.frame_bytes + SCALAR_BYTES <= 7_300
    memory.check_memory(1_000_000 * (layout.frame_bytes + SCALAR_BYTES), CPU, replay_size=1_000_000)


def test_too_much_memory_is_said_before_it_is_taken() -> None:
    layout = Layout(spaces.Box(0, 255, (4, 84, 84), np.uint8), stack=4)
    with pytest.raises(ValueError, match=r"replay_size 1,000,000,000 needs 70\d\d\.\d\d GB and .* GB are free on cpu"):
        Ring(layout, Every(), NStep(1, GAMMA), size=10**9, num_envs=1, batch_size=4)


def test_container_limit_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    monkeypatch.setattr(memory, "CGROUPS", ((str(limit), str(used)), (str(tmp_path / "none"), str(used))))
    assert memory.free_memory(CPU) == 600_000
    limit.write_text("max\n")
    assert memory.free_memory(CPU) > 600_000


def test_too_small_rings_and_wrong_stacks_are_refused() -> None:
    with pytest.raises(ValueError, match="replay_size must be >= 10 for 2 environments, got 9"):
        make("numpy", num_envs=2, stack=1, n=1, size=9, batch_size=4)
    with pytest.raises(ValueError, match="frame_stack 4 needs observations"):
        Layout(spaces.Box(0, 255, (3, 84, 84), np.uint8), stack=4)
