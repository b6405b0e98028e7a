"""Policies to serve in tests, and requests to an application without a network."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import httpx
import numpy as np
from gymnasium import spaces

from gymnast.serving.app import build
from gymnast.serving.served import Policy
from gymnast.serving.service import Service, Version
from gymnast.serving.worker import Limits

RAW = {"content-type": "application/octet-stream"}
LINE = spaces.Box(-100.0, 100.0, (2,), np.float32)
"""Observations of the fake policies."""


@dataclass
class Fake:
    """Acts with the sum of each observation; refuses 13 and fails at 14, and waits for `free` before each batch."""

    observation_space: gym.Space[Any] = field(default_factory=lambda: LINE)
    action_space: gym.Space[Any] = field(default_factory=lambda: spaces.Discrete(1000))
    batches: list[int] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)

    def predict(self, obs: Any, *, start: Any = None, action_mask: Any = None) -> np.ndarray:
        self.began.set()
        assert self.free.wait(20)
        self.batches.append(len(obs))
        if (obs == 13).any():
            raise ValueError("13 is not\nfor me")
        if (obs == 14).any():
            raise RuntimeError("cannot do 14")
        return obs.sum(1).astype(np.int64)

    def policy(self, **more: Any) -> Policy:
        about: dict[str, Any] = {"kind": "fake", "path": "", "env": "", "remembers": False, "draws": False} | more
        return Policy(
            observation_space=self.observation_space,
            action_space=self.action_space,
            stream=lambda deterministic, seed: self,
            **about,
        )


def service_of(
    models: Mapping[str, Sequence[Policy]],
    *,
    limits: Limits | None = None,
    weights: Sequence[float] | None = None,
    max_sessions: int = 10,
) -> Service:
    """A service of these models, whose versions are "1", "2", …; the last one answers unless there are weights."""
    service = Service()
    for name, policies in models.items():
        versions = [
            Version(
                name,
                str(number),
                policy,
                service.meters,
                limits=limits or Limits(),
                max_sessions=max_sessions,
                seed=0,
                threads=1,
            )
            for number, policy in enumerate(policies, 1)
        ]
        shares = weights or [float(number == len(policies)) for number in range(1, len(policies) + 1)]
        service.add(name, versions, {str(number): share for number, share in enumerate(shares, 1)})
    service.ready = True
    return service


def asked(service: Service, script: Callable[[httpx.AsyncClient], Any], **options: Any) -> Any:
    """The result of a coroutine that sends requests to the service's application."""

    async def run() -> Any:
        transport = httpx.ASGITransport(build(service, **options), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await script(client)

    return asyncio.run(run())


def post(service: Service, path: str, **request: Any) -> httpx.Response:
    """The answer to one request."""
    return asked(service, lambda client: client.post(f"/v1/models/{path}:act", **request))


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()
