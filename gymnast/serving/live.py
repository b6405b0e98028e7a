"""A policy that plays in its environment while somebody watches: one game for all viewers of a version."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError
from gymnast.envs.step import map_obs
from gymnast.errors import first_line
from gymnast.serving.form import as_json
from gymnast.serving.refused import Refused
from gymnast.serving.served import Policy
from gymnast.serving.worker import Worker
from gymnast.storage.metrics_log import finite

MAX_FPS = 30.0
MAX_VIEWERS = 16
"""Viewers of one game."""
PAUSE = 1.0
"""Seconds that the last frame of an episode stays."""
QUALITY = 85


class Game:
    """Begins with the first viewer, and ends with the last one or with an error, which viewers are told.

    The environment is stepped in a thread of its own; actions come from the policy's, as for any request.
    """

    def __init__(self, policy: Policy, worker: Worker, *, seed: int) -> None:
        self.policy, self.worker, self.seed = policy, worker, seed
        self.viewers: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    async def watch(self) -> AsyncIterator[bytes]:
        """Events of the game, as a browser's EventSource reads them, until the game, the server or the viewer ends."""
        self.check()
        viewer = self._enter()
        try:
            while (event := await viewer.get()) is not None:
                yield event
        finally:
            self.viewers.discard(viewer)

    def check(self) -> None:
        """Refused if the policy has no environment, or too many watch."""
        if self.policy.make_env is None:
            raise Refused(404, "this policy has no environment to play in")
        if self._stopped or len(self.viewers) >= MAX_VIEWERS:
            raise Refused(503, "too many watch this game", headers={"retry-after": "10"})

    def _enter(self) -> asyncio.Queue[bytes | None]:
        viewer: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=2)
        self.viewers.add(viewer)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return viewer

    def stop(self) -> None:
        """End the game and send the viewers away."""
        self._stopped = True
        self._dismiss()

    def _dismiss(self) -> None:
        self._tell(None)
        self.viewers.clear()

    def _tell(self, event: bytes | None) -> None:
        """Send an event to all viewers; who reads slowly misses earlier ones."""
        for viewer in self.viewers:
            if viewer.full():
                viewer.get_nowait()
            viewer.put_nowait(event)

    async def _run(self) -> None:
        while self.viewers:  # one may come while the last game is closed
            with ThreadPoolExecutor(1, "gymnast-game") as thread:
                try:
                    await self._play(thread)
                except Exception as error:
                    if not isinstance(error, EnvError | ValueError | Refused):
                        traceback.print_exception(error, file=sys.stderr)
                    self._tell(_event({"error": first_line(error)}))
                    self._dismiss()

    async def _play(self, thread: ThreadPoolExecutor) -> None:
        assert self.policy.make_env is not None
        loop, stream = asyncio.get_running_loop(), self.policy.stream(True, self.seed)
        env = await loop.run_in_executor(thread, self.policy.make_env)
        try:
            await loop.run_in_executor(thread, env.reset)
            played = Played(env)
            while self.viewers:
                until = loop.time() + 1.0 / min(env.render_fps, MAX_FPS)
                obs, start, mask = _inputs(env)

                def decide(obs: Any = obs, start: Any = start, mask: Any = mask) -> tuple[Any, float | None]:
                    return stream.predict(obs, start=start, action_mask=mask), self.policy.value(obs)

                action, value = await self._asked(decide)
                shown, ended = await loop.run_in_executor(thread, played.step, action, value)
                self._tell(shown)
                await asyncio.sleep(PAUSE if ended else max(until - loop.time(), 0.0))
        finally:
            await loop.run_in_executor(thread, env.close)

    async def _asked(self, decide: Callable[[], tuple[Any, float | None]]) -> tuple[Any, float | None]:
        """The policy's decision; the game waits while the queue is full."""
        while True:
            try:
                return await self.worker.call(decide)
            except Refused as refused:
                if refused.status != 503:
                    raise
                await asyncio.sleep(0.5)


def _inputs(env: Env) -> tuple[Any, list[bool], np.ndarray | None]:
    """What the policy is given, as arrays."""
    obs = map_obs(lambda part: part.cpu().numpy(), env.obs)  # type: ignore[arg-type,return-value]
    return obs, env.start.tolist(), None if env.action_mask is None else env.action_mask.cpu().numpy()


class Played:
    """Steps the environment, and keeps the score of the episode."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.score, self.length, self.episode = 0.0, 0, 1

    def step(self, action: Any, value: float | None) -> tuple[bytes, bool]:
        """Take an action; the event with the frame after it, and whether the episode ended."""
        step = self.env.step(torch.from_numpy(np.asarray(action)).to(self.env.device))
        self.score += float(step.reward[0])
        self.length += 1
        ended = bool(step.ended[0])
        event = _event(
            {
                "frame": _jpeg(self.env.render()),
                "action": as_json(action)[0],
                "value": value,
                "return": self.score,
                "step": self.length,
                "episode": self.episode,
                "ended": ended,
            }
        )
        if ended:
            self.score, self.length, self.episode = 0.0, 0, self.episode + 1
        return event, ended


def _event(values: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(finite(values))}\n\n".encode()


def _jpeg(frame: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=QUALITY)
    return base64.b64encode(stream.getvalue()).decode("ascii")
