"""N consoles with a game in a device's memory: tensors in, tensors out, and nothing waits for the device."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.batch import LANES, OWN_FIRST, OWN_STOP, WORDS
from gymnast.envs.atari2600.games import GAME, Game
from gymnast.envs.atari2600.machine import HEIGHT, MACHINE, WIDTH
from gymnast.envs.atari2600.mersenne import SIZE, generators
from gymnast.envs.atari2600.observation import Tap, taps
from gymnast.envs.atari2600.targets import Target, target_of
from gymnast.envs.atari2600.vector import AtariVectorEnv

UINT64 = np.dtype(np.uint64)
PIXELS = 2**31 - 2**22
"""Of all rows at most: their numbers are 32-bit, and each thread adds the number of threads."""


class DeviceConsoles:
    """The consoles of N rows, with the options of `AtariVectorEnv`, of which observations are gray.

    With `starts` K > 0, episodes begin with one of K states that the CPU has computed exactly, drawn uniformly; a row
    keeps its own generator of repeated actions. With 0 each console is reset as on a CPU, for which its thread and
    those beside it wait some hundred frames. `seen` is the number of an action's last frames that anyone looks at, 0
    if `observe` is not called; None: as many as the observations need.

    Raises:
        ValueError: more rows than 32-bit numbers of pixels allow; numba-cuda cannot be used.
    """

    def __init__(
        self, game: Game, count: int, *, device: torch.device, starts: int = 0, seen: int | None = None, **options: Any
    ) -> None:
        self.game, self.count, self.device = game, count, device
        self._target: Target = target_of(device)
        single = AtariVectorEnv(game.name, 1, **options)
        self.actions = self._on_device(single.actions.astype(np.int32))
        if seen is not None:
            single.settings["seen"] = seen
        self._settings_of(single)
        height = int(single.single_observation_space.shape[1])  # type: ignore[index]
        most = PIXELS // max(rows.GROUPS, height * height)
        if count > most:
            raise ValueError(f"{game.name} with {height} pixels a side can have {most:,} environments, got {count:,}")
        self.words = torch.zeros(count, WORDS, dtype=torch.int32, device=device)
        self.rows = torch.zeros(count, rows.ROW.itemsize // 4, dtype=torch.int32, device=device)
        self.number("sticky").view(torch.float32).fill_(options["sticky"])
        memory = self._target.memory
        self._machines, self._words = memory(self.words.view(-1), MACHINE), memory(self.words.view(torch.int64), UINT64)
        self._rows = memory(self.rows.view(-1), rows.ROW)
        self._spare = torch.zeros(count, rows.KEPT, dtype=torch.int64, device=device)
        self._kept = memory(self._spare, UINT64)
        self._maps = self._maps_of(height)
        self.starts, self._options = starts, options

    @cached_property
    def _starts(self) -> Tensor:
        """The bank, int32 [K, WORDS]."""
        bank = AtariVectorEnv(self.game.name, self.starts, **self._options)
        bank.reset(seed=0)  # the same for all, so that runs can resume
        return self._on_device(bank.snapshot()["machines"].view(np.int32).reshape(self.starts, WORDS))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _settings_of(self, single: AtariVectorEnv) -> None:
        memory = self._target.memory
        record, settings = self.game.record.view(np.uint8).copy(), single.settings.view(np.uint8).copy()
        fixed = [self._on_device(array) for array in (record, settings, self.game.rom.view(np.int64))]
        self._fixed = fixed  # memory lives as long as its tensor
        self._game, self._settings = memory(fixed[0], GAME), memory(fixed[1], rows.SETTINGS)
        self._rom = memory(fixed[2], UINT64)

    def _maps_of(self, size: int) -> tuple[Any, ...]:
        """What each pixel of an observation covers: columns and their weights, lines and theirs."""
        maps = []
        for source in (WIDTH, HEIGHT):
            where, weights = taps(source, size)
            maps += [(self._on_device(where.view(np.uint8)), Tap), (self._on_device(weights), None)]
        self._map_memory = maps
        return tuple(self._target.memory(tensor, layout) for tensor, layout in maps)

    def _launch(self, name: str, threads: int, *given: Any) -> None:
        kernel = getattr(self._target.kernels, name)
        self._target.launch(kernel, threads, self.device, (np.int32(self.count), *given))

    def seed(self, seeds: np.ndarray) -> None:
        """Seed the generators of all rows, int64 [N] from 0 to 2**31 - 1, without a reset."""
        drawn = np.random.SeedSequence(seeds.tolist()).generate_state(3 * self.count)
        made = generators(drawn).reshape(self.count, 3 * (SIZE + 1))
        self.words[:, OWN_FIRST:OWN_STOP] = self._on_device(made.view(np.int32))

    def begin(self, seeds: Tensor) -> None:
        """Begin episodes by resets: `seeds` is int32 [N], GO_ON for a console that goes on, SKIP for none."""
        given = (self._machines, self._rows, self._game, self._rom, self._settings, self._target.memory(seeds))
        self._launch("begin_rows", self.count, *given)

    def begin_anew(self, chosen: Tensor) -> None:
        """Begin episodes in states of the bank, int32 [N], SKIP for none."""
        memory = self._target.memory
        self._launch(
            "copy_starts", self.count * LANES, memory(self.words), self._rows, memory(self._starts), memory(chosen)
        )

    def step(self, actions: Tensor) -> None:
        """An action in each row, int64 [N], indices of the action set."""
        chosen = self._target.memory(self.actions[actions])
        fixed = (self._machines, self._words, self._rows, self._game, self._rom, self._settings)
        self._launch("step_rows", self.count, *fixed, chosen, self._kept)

    def observe(self, changes: Tensor, before: Tensor, planes: Tensor) -> None:
        """Write the stacks of rows to which something happened, uint8 [N, stack, height, width]: `rows.STEPPED`
        goes on from those `before`, `rows.BEGUN` is an episode's first, int32 [N]."""
        memory = self._target.memory
        happened = memory(changes)
        self._launch("see_rows", self.count * rows.GROUPS, self._machines, self._rows, self._settings, happened)
        pixels = planes.shape[2] * planes.shape[3]
        self._launch(
            "show_rows", self.count * pixels, self._rows, happened, *self._maps, memory(before), memory(planes)
        )

    def result(self, name: str) -> Tensor:
        """A number of the last step in each row, int32 [N] in the rows' own memory: a field of `rows.ROW`."""
        return self.rows[:, rows.ROW.fields[name][1] // 4]  # type: ignore[index]

    def number(self, name: str) -> Tensor:
        """A register or number of each machine, int32 [N] in its own memory: a field of `machine.MACHINE`."""
        return self.words[:, MACHINE.fields[name][1] // 4]  # type: ignore[index]

    def ram(self) -> Tensor:
        """The memory of all consoles, uint8 [N, 128], their own."""
        first = MACHINE.fields["RAM"][1]  # type: ignore[index]
        return self.words.view(torch.uint8)[:, first : first + 128]

    def snapshot(self) -> dict[str, Tensor]:
        """All that the future depends on, except for which starts are drawn."""
        return {"machines": self.words.cpu().clone(), "rows": self.rows.cpu().clone()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Go on from a snapshot of as many rows of the same game."""
        self.words.copy_(snapshot["machines"])
        self.rows.copy_(snapshot["rows"])
