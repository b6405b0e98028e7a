"""What replays are tested by: N scripted streams, and a naive buffer that keeps every observation whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.transitions import NStep

GAMMA = 0.9
CPU = torch.device("cpu")


class Every:
    """A sampler that lists the ready slots one after the other, for either ring."""

    slot_bytes = 0

    def allocate(self, slots: int, device: Any = None) -> None: ...

    def changed(self, slots: Any, ready: Any) -> None:
        self.ready = ready

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        index[:] = np.resize(np.flatnonzero(ready), len(index))

    def fill(self, uniform: torch.Tensor) -> None: ...

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


def mask_of(obs: np.ndarray) -> np.ndarray:
    """The actions that these worlds allow in observations [..., stack, 2]: a function of the newest frame."""
    number = obs[..., -1, 0].astype(int)
    return np.stack([number % 2 == 0, number % 3 == 0, np.ones_like(number, bool)], -1)


class World:
    """N scripted environments whose frames are all different, and the naive buffers of their streams."""

    def __init__(
        self, rng: np.random.Generator, *, num_envs: int, stack: int, n: int, capacity: int, masks: bool = False
    ) -> None:
        self.rng, self.num_envs, self.stack, self.masks = rng, num_envs, stack, masks
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
            "mask": torch.from_numpy(mask_of(np.stack(before))) if self.masks else None,
            "next_mask": torch.from_numpy(mask_of(np.stack(after))) if self.masks else None,
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


def make(kind: str, *, stack: int, n: int, sampler: Any = None, **sizes: Any) -> Any:
    """A ring of frames of two numbers, with a sampler that draws every slot if none is given."""
    shape = (stack, 2) if stack > 1 else (2,)
    layout = Layout(spaces.Box(-np.inf, np.inf, shape), stack=stack)
    transitions = NStep(n, GAMMA)
    if kind == "numpy":
        return Ring(layout, sampler or Every(), transitions, **sizes)
    return DeviceRing(layout, sampler or Every(), transitions, **sizes, device=CPU)


def as_vectors(action: torch.Tensor) -> torch.Tensor:
    """Numbers [N] as actions of a Box, float32 [N, 2]."""
    return torch.stack([action.float(), -0.5 * action.float()], 1)


def numbered(action: np.ndarray) -> list[int]:
    """The numbers of actions, [B] or those of `as_vectors`."""
    if action.ndim == 1:
        return [int(number) for number in action]
    np.testing.assert_array_equal(action[:, 1], -0.5 * action[:, 0])
    return [int(number) for number in action[:, 0]]


def check(ring: Any, world: World) -> None:
    """What the ring says is exactly what the naive buffers say."""
    expected = world.transitions()
    ready = np.flatnonzero(np.asarray(ring.ready)[: ring.slots])
    stored = np.asarray(ring.action if getattr(ring, "vectors", None) is None else ring.vectors)[ready]
    assert sorted(numbered(stored)) == sorted(expected)
    if isinstance(ring, Ring):
        assert ring.count == len(expected)
    if not expected:
        return
    batch = ring.sample()
    for at, number in enumerate(numbered(batch.action.numpy())):
        obs, total, discount, next_obs = expected[number]
        shown = [part[at].numpy() for part in (batch.obs, batch.next_obs)]
        np.testing.assert_array_equal(shown[0], obs if world.stack > 1 else obs[0])
        np.testing.assert_array_equal(shown[1], next_obs if world.stack > 1 else next_obs[0])
        assert batch.reward[at].item() == pytest.approx(total, abs=1e-5)
        assert batch.discount[at].item() == pytest.approx(discount, abs=1e-6)
        if world.masks:
            assert batch.mask[at].tolist() == mask_of(obs).tolist()
            assert batch.next_mask[at].tolist() == mask_of(next_obs).tolist()
