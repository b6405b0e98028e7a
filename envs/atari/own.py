"""Games on gymnast's own console."""

from __future__ import annotations

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gymnast.envs.atari.base import NO_CAP, HostAtari, Results
from gymnast.envs.atari.names import AtariName
from gymnast.envs.atari.options import AtariOptions
from gymnast.envs.atari2600.frame import is_compiled
from gymnast.envs.atari2600.vector import AtariVectorEnv
from gymnast.envs.errors import EnvWarning


class OwnAtari(HostAtari):
    """N rows on our console, whose state a snapshot has: nothing is played again."""

    def __init__(self, name: AtariName, num_envs: int, *, options: AtariOptions, render: bool, **settings: Any) -> None:
        if not is_compiled():
            warnings.warn("compiling the Atari console for this machine, once: about a minute", EnvWarning, 2)
        self._env = AtariVectorEnv(
            name.rom,
            num_envs,
            max_frames=NO_CAP,
            threads=options.threads,
            render_mode="rgb_array" if render else None,
            **options.of_console(),
        )
        actions = len(self._env.actions)
        super().__init__(name, num_envs, num_actions=actions, options=options, render=render, **settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gymnast-atari-act")
        self._acting: Future[Any] | None = None
        self._final: dict[int, NDArray[np.uint8]] = {}
        """The last picture of rows that ended in the last step, if anyone may look at it."""

    def _begin_act(self, actions: NDArray[np.int64]) -> None:
        self._acting = self._thread.submit(self._env.step, actions)

    def _end_act(self) -> Results:
        assert self._acting is not None
        obs, reward, terminated, _, infos = self._acting.result()
        return obs, reward, terminated, infos["lives"]

    def _reset_rows(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        if self.can_render:
            pictures = self._env.render()
            self._final = {row: pictures[row] for row in np.flatnonzero(rows).tolist()}
        seed = [int(one) if one >= 0 else None for one in seeds]
        return self._env.reset(seed=seed, options={"reset_mask": rows})[0]

    def _state(self) -> dict[str, Any]:
        console = self._env.snapshot()
        return {
            "machines": torch.from_numpy(console["machines"]),
            "rows": torch.from_numpy(console["rows"]),
            "layout": console["layout"],
            "length": self._length.tolist(),
            "return": self._return.tolist(),
            "age": self._age.tolist(),
        }

    def _put_back(self, snapshot: dict[str, Any]) -> NDArray[np.uint8]:
        obs: NDArray[np.uint8] = snapshot["obs"].numpy().copy()
        arrays = {name: snapshot[name].numpy() for name in ("machines", "rows")}
        self._env.restore({**arrays, "layout": snapshot["layout"], "obs": obs, "begun": True})
        self._length = np.array(snapshot["length"], np.int64)
        self._return = np.array(snapshot["return"], np.float64)
        self._age = np.array(snapshot["age"], np.int64)
        return obs

    def _picture(self, row: int, *, final: bool) -> NDArray[np.uint8]:
        return self._final[row] if final else self._env.render()[row]

    def ram(self, row: int = 0) -> NDArray[np.uint8]:
        """The console's memory in a row's current state, uint8 [128]."""
        memory: NDArray[np.uint8] = self._env.ram()[row]
        return memory

    def close(self) -> None:
        self._thread.shutdown()
        self._env.close()
