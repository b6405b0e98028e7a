"""Games on gymnast's own console in a GPU's memory: thousands of rows, and nothing waits for the device."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.atari.base import NO_CAP, Atari
from gymnast.envs.atari.names import AtariName
from gymnast.envs.atari.options import AtariOptions, refuse_other
from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.device import DeviceConsoles
from gymnast.envs.atari2600.games import load_game
from gymnast.envs.errors import EnvWarning
from gymnast.envs.step import Obs, Step

STARTS = 256
"""States that episodes begin with, unless resets are exact: each has its own number of no-ops."""
EMULATOR = "ours on a device"
"""In snapshots, which the console on the CPU cannot read."""


class DeviceAtari(Atari):
    """N rows of one game; observations, rewards and ends are those of `HostAtari`, computed on the device.

    Episodes begin in one of 256 states that the CPU has computed exactly; after a `reset` with seeds, and always if
    `resets` is exact, by a reset of the row's own console.
    """

    def __init__(
        self,
        name: AtariName,
        num_envs: int,
        *,
        options: AtariOptions,
        device: torch.device,
        seed: int | np.random.SeedSequence,
        max_episode_steps: int,
        first_row: int = 0,
    ) -> None:
        count = 0 if options.resets == "exact" else STARTS
        self._consoles = DeviceConsoles(
            load_game(name.rom), num_envs, device=device, starts=count, max_frames=NO_CAP, **options.of_console()
        )
        if device.type == "cuda":
            warnings.warn("compiling the Atari console for the GPU: a minute or two", EnvWarning, 2)
        limit, actions = max_episode_steps, len(self._consoles.actions)
        super().__init__(name, num_envs, num_actions=actions, options=options, device=device, max_episode_steps=limit)
        self.host_counts = device.type == "cpu"
        sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        own = np.random.default_rng(sequence)
        self._seeds = self._tensor(own.integers(2**31, size=first_row + num_envs)[first_row:].astype(np.int32))
        self._rng = torch.Generator(device)
        self._rng.manual_seed(int(own.integers(2**63)) + first_row)
        self._began = False
        self._length, self._begun = self._zeros(torch.int64), torch.zeros(1, dtype=torch.int64, device=device)
        self._return, self._number = self._zeros(torch.float64), self._zeros(torch.int64)
        self._episode_seeds: Tensor | None = None
        self._all = torch.ones(num_envs, dtype=torch.bool, device=device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(self.num_envs, dtype=dtype, device=self.device)

    def _stacks(self) -> Tensor:
        shape = self.single_observation_space.shape
        assert shape is not None
        return torch.empty((self.num_envs, *shape), dtype=torch.uint8, device=self.device)

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        self._episode_seeds = None
        if episode_seeds is not None:
            drawn = [np.random.SeedSequence(int(seed)).generate_state(1)[0] >> 1 for seed in episode_seeds]
            self._episode_seeds = self._tensor(np.array(drawn, np.int32))
        if self._began:
            self._seeds = self._drawn(2**31 - 1)
        self._began = True
        self._begun.zero_()
        seeds = self._seeds_of(self._all, self._seeds)
        if self._consoles.starts and episode_seeds is None:
            self._consoles.seed(self._seeds.cpu().numpy())
            self._consoles.begin_anew(self._drawn(self._consoles.starts))
        else:
            self._consoles.begin(seeds)
        self.obs = self._observed(torch.full_like(self._seeds, rows.BEGUN), self._stacks())
        self.start = self._all.clone()
        return self.obs

    def _drawn(self, count: int) -> Tensor:
        """A number below `count` for each row, int32 [N]."""
        shape = (self.num_envs,)
        return torch.randint(count, shape, generator=self._rng, device=self.device, dtype=torch.int32)

    def _seeds_of(self, ended: Tensor, unseeded: Tensor | int) -> Tensor:
        """Number new episodes in some rows; the seeds of their resets, int32 [N], `unseeded` after the last one."""
        self._number = torch.where(ended, self._begun + ended.cumsum(0) - 1, self._number)
        self._begun += ended.sum()
        self._length = self._length.masked_fill(ended, 0)
        self._return = self._return.masked_fill(ended, 0.0)
        seeds = torch.where(ended, unseeded, rows.SKIP).to(torch.int32)
        if self._episode_seeds is not None and len(self._episode_seeds):
            last = len(self._episode_seeds) - 1
            known = self._episode_seeds[self._number.clamp(max=last)]
            seeds = torch.where(ended & (self._number <= last), known, seeds)
        return seeds

    def _observed(self, changes: Tensor, before: Tensor) -> Tensor:
        planes = self._stacks()
        self._consoles.observe(changes, before, planes)
        return planes

    def step(self, action: Tensor) -> Step:
        consoles, before = self._consoles, self.obs
        assert isinstance(before, Tensor)
        consoles.step(action)
        next_obs = self._observed(torch.full_like(self._seeds, rows.STEPPED), before)
        reward = consoles.result("reward").to(torch.float32)
        terminated, lives = consoles.result("terminated") != 0, consoles.number("lives").to(torch.int64)
        self._length = self._length + 1
        self._return = self._return + reward
        truncated = (self._length >= self.max_episode_steps) & ~terminated
        ended, total, length = terminated | truncated, self._return, self._length
        num_ended = int(ended.sum()) if self.host_counts else None
        obs = next_obs if num_ended == 0 else self._renewed(ended, next_obs)
        self.obs, self.start = obs, ended
        return Step(
            obs=obs,
            start=ended,
            next_obs=next_obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            num_active=self.num_envs,
            num_ended=num_ended,
            lives=lives,
            episode_return=None if num_ended == 0 else total,
            episode_length=None if num_ended == 0 else length,
        )

    def _renewed(self, ended: Tensor, next_obs: Tensor) -> Tensor:
        """Begin episodes in some rows; the observations of all."""
        seeds = self._seeds_of(ended, rows.GO_ON)
        if self._consoles.starts and self._episode_seeds is None:
            drawn = torch.where(ended, self._drawn(self._consoles.starts), rows.SKIP).to(torch.int32)
            self._consoles.begin_anew(drawn)
        else:
            self._consoles.begin(seeds)
        obs = next_obs.clone()
        changes = torch.where(ended, rows.BEGUN, rows.NOTHING).to(torch.int32)
        self._consoles.observe(changes, next_obs, obs)
        return obs

    @property
    def episode(self) -> list[int]:
        numbers: list[int] = self._number.tolist()
        return numbers

    def ram(self, row: int = 0) -> np.ndarray:
        """The console's memory in a row's current state, uint8 [128]."""
        memory: np.ndarray = self._consoles.ram()[row].cpu().numpy()
        return memory

    def snapshot(self) -> dict[str, Any]:
        names = ("_length", "_return", "_number", "_begun", "_seeds")
        return {
            "emulator": EMULATOR,
            "options": self.options.played(),
            **self._consoles.snapshot(),
            **{name: getattr(self, name).cpu().clone() for name in names},
            "rng": self._rng.get_state(),
            "began": self._began,
            "episode_seeds": None if self._episode_seeds is None else self._episode_seeds.cpu(),
            "obs": torch.as_tensor(self.obs).cpu().clone(),
            "start": self.start.cpu().clone(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        refuse_other(snapshot, id=self.id, emulator=EMULATOR, options=self.options, num_envs=self.num_envs)
        self._consoles.restore(snapshot)
        for name in ("_length", "_return", "_number", "_begun", "_seeds"):
            setattr(self, name, snapshot[name].to(self.device))
        self._rng.set_state(snapshot["rng"])
        self._began = snapshot["began"]
        seeds = snapshot["episode_seeds"]
        self._episode_seeds = None if seeds is None else seeds.to(self.device)
        self.obs, self.start = snapshot["obs"].to(self.device), snapshot["start"].to(self.device)
