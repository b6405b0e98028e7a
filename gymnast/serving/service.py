"""The models of a server, their versions, and which version answers."""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.errors import UsageError, first_line, nearest
from gymnast.serving.form import Form
from gymnast.serving.live import Game
from gymnast.serving.meters import Meters
from gymnast.serving.refused import Refused
from gymnast.serving.served import Policy
from gymnast.serving.sessions import Ask, Sessions
from gymnast.serving.worker import Limits, Worker


class Version:
    """One version of a model: a policy, its thread, its sessions, and its game."""

    def __init__(
        self,
        name: str,
        version: str,
        policy: Policy,
        meters: Meters,
        *,
        limits: Limits,
        max_sessions: int,
        seed: int,
        threads: int,
    ) -> None:
        self.name, self.version, self.policy = name, version, policy
        self.signature = json.dumps({"model": name, "version": version})[1:].encode()
        """The end of each answer in JSON."""
        try:
            self.form = Form(policy.observation_space, policy.action_space)
        except ValueError as error:
            raise UsageError(f"{policy.path or name}: {first_line(error)}") from error
        self.sessions = Sessions(policy, most=max_sessions, seed=seed, on_drop=meters.dropped(name, version))
        self.worker = Worker(
            policy, limits, sessions=self.sessions, seed=seed, threads=threads, on_batch=meters.batch(name, version)
        )
        self.game = Game(policy, self.worker, seed=seed)
        self.count_actions = meters.actions(name, version)
        meters.watch(
            name,
            version,
            waiting=lambda: self.worker.waiting,
            sessions=lambda: len(self.sessions),
            viewers=lambda: len(self.game.viewers),
        )

    async def act(
        self, obs: Any, rows: int | None, *, mask: Any, deterministic: bool, session: str | None, start: Any
    ) -> Any:
        """Actions [N, ...] for observations [N, ...]; `rows` is None for a single one. Raises Refused."""
        if not deterministic and not self.policy.draws:
            raise Refused(400, f"{self.name} version {self.version} acts deterministically only")
        count = rows or 1
        if not self.policy.remembers:
            found = await self.worker.act(obs, count, mask, deterministic=deterministic)
        elif session is None:
            raise Refused(400, f"{self.name} has a memory of each episode, and needs a session in each request")
        elif count > self.worker.limits.max_batch:
            raise Refused(413, f"a session may have {self.worker.limits.max_batch} observations, got {count}")
        else:
            found = await self.worker.ask(Ask(session, obs, rows, start, mask, deterministic))
        self.count_actions(count)
        return found

    def about(self, share: float) -> dict[str, Any]:
        policy = self.policy
        return {
            "version": self.version,
            "agent": policy.kind,
            "env": policy.env,
            "observation_space": str(policy.observation_space),
            "action_space": str(policy.action_space),
            "recurrent": policy.remembers,
            "share": share,
        }


@dataclass
class Model:
    """The versions of one model, and their weights in requests that name none."""

    name: str
    versions: dict[str, Version]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        self._names = [name for name, weight in self.weights.items() if weight > 0.0]
        total = sum(self.weights.values())
        self._edges = list(itertools.accumulate(self.weights[name] / total for name in self._names))

    def at(self, number: float) -> Version:
        """The version at a number from 0 to 1 of the split."""
        place = min(bisect.bisect_right(self._edges, number), len(self._names) - 1)
        return self.versions[self._names[place]]

    def about(self) -> dict[str, Any]:
        total = sum(self.weights.values())
        versions = [one.about(self.weights[name] / total) for name, one in self.versions.items()]
        return {"name": self.name, "versions": versions}


class Service:
    """All models; `ready` once they are loaded, until the server stops."""

    def __init__(self, *, seed: int = 0) -> None:
        self.models: dict[str, Model] = {}
        self.meters = Meters()
        self.ready = False
        self._draws = np.random.default_rng(seed)
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, name: str, versions: Sequence[Version], weights: Mapping[str, float]) -> None:
        """Serve a model; UsageError if its versions do not agree on their spaces."""
        first = versions[0].policy
        for version in versions[1:]:
            for what in ("observation_space", "action_space"):
                ours, theirs = getattr(first, what), getattr(version.policy, what)
                if ours != theirs:
                    kind = what.replace("_space", "s")
                    raise UsageError(f"{name} version {version.version} has {kind} {theirs}, the first has {ours}")
        self.models[name] = Model(name, {one.version: one for one in versions}, weights)

    def find(self, model: str, version: str | None, *, session: str | None = None) -> Version:
        """The version that a request names, else one drawn by the split, the same for all requests of a session."""
        found = self.models.get(model)
        if found is None:
            raise Refused(404, f"no model {model!r} is served{nearest(model, self.models)}")
        if version is None:
            return found.at(self._draws.random() if session is None else _number(session))
        if version not in found.versions:
            raise Refused(404, f"{model} has no version {version!r}; choose from {', '.join(found.versions)}")
        return found.versions[version]

    @property
    def versions(self) -> list[Version]:
        return [version for model in self.models.values() for version in model.versions.values()]

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server's loop runs, and all models are loaded."""
        self._loop, self.ready = loop, True

    def stop(self) -> None:
        """From any thread: further health checks fail, and the games end, which would keep the server waiting."""
        self.ready = False
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._end_games)

    def _end_games(self) -> None:
        for version in self.versions:
            version.game.stop()

    def close(self) -> None:
        """Answer everything that waits, and end all threads."""
        for version in self.versions:
            version.worker.close()


def _number(session: str) -> float:
    """A number from 0 to 1 for a session, the same in every process."""
    return int.from_bytes(hashlib.sha256(session.encode()).digest()[:6], "big") / 2.0**48
