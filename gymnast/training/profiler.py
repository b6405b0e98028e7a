"""Times the parts of a run (`--profile`) by putting timed functions in the place of its own.

A run without it calls its own functions, and pays nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch

from gymnast.agents.base import CudaGraphsConfig, Planner
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.optim.phases import Divided, Part
from gymnast.tabular import loop as tabular_loop
from gymnast.training.clock import Clock
from gymnast.training.flops import Flops, clock_of, peak
from gymnast.training.loop import Loop
from gymnast.training.parts import Parts
from gymnast.training.profile_result import EVENTS, LEARN, PASSES, REST, ROLLOUT, Profile


def check_profile(parts: Parts) -> None:
    """Raise ValueError if the options ask for a profile of a run whose parts cannot be timed."""
    if not parts.options.profile:
        return
    if parts.processes is not None:
        does = "act" if parts.processes == "actors" else "train"
        raise ValueError(f"profile cannot be combined with {parts.processes}, which {does} in other processes")
    if isinstance(parts.config, CudaGraphsConfig) and parts.config.cuda_graphs:
        raise ValueError("profile cannot be combined with cuda_graphs: a recording has no parts that could be timed")
    if isinstance(parts.agent, Planner):
        raise ValueError(f"profile times env steps, and {parts.name} plans without any")
    if tabular_loop.supports(parts.agent, parts.env):
        raise ValueError(
            f"profile cannot divide {parts.name} on {parts.env.id}: act, env and learn are one compiled function"
        )


class Profiler:
    """Times a loop between entering and leaving it as a context manager.

    On a GPU it waits for all work that a part has begun, so that its time is its own.
    """

    def __init__(self, loop: Loop, device: torch.device) -> None:
        self._loop, self._device = loop, device
        self._clock = Clock(EVENTS, clock_of(device))
        self._flops = Flops(self._clock)
        self._compiled = False
        self._own: list[tuple[Any, str, Any]] = []
        self._began = loop.env_step

    def __enter__(self) -> Profiler:
        loop, clock = self._loop, self._clock
        self._replace(loop, "advance", clock.timed(REST, loop.advance, warms_up=False))
        self._replace(loop.actor, "act", clock.timed("act", loop.actor.act))
        for name in ("step", "send", "receive"):
            self._replace(loop.env, name, clock.timed("env", getattr(loop.env, name)))
        self._replace(loop.agent, "store", clock.timed("store", loop.agent.store))
        self._replace(loop.agent, "learn", clock.timed(LEARN, loop.agent.learn))
        self._replace(loop, "fill", clock.timed(ROLLOUT, loop.fill))
        for part in self._update_parts():
            self._replace(part.owner, part.name, self._timed(part))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock.turn()
        for owner, name, own in reversed(self._own):
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

    def _update_parts(self) -> Iterator[Part]:
        yield Part(torch.Tensor, "backward", "backward")
        if isinstance(self._loop.agent, Divided):
            yield from self._loop.agent.update_parts()

    def _timed(self, part: Part) -> Any:
        """The part's function, timed in updates, and its operations counted if it is a pass."""
        function = getattr(part.owner, part.name)
        if inspect.isgeneratorfunction(function):
            return self._clock.timed_iterator(part.phase, function, within=LEARN)
        inner = None
        if isinstance(function, Compiled):  # the compiler does not see through a counter
            self._compiled = True
        elif part.phase in PASSES:
            key = id(part.owner), part.name
            inner = self._flops.counted(key, function, backward=part.phase == "backward")
        return self._clock.timed(part.phase, function, within=LEARN, inner=inner)

    def _replace(self, owner: Any, name: str, function: Any) -> None:
        self._own.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, function)

    def result(self) -> Profile:
        """Where the time went; measures this machine's peak."""
        return Profile(
            env_steps=self._loop.env_step - self._began,
            phases=dict(self._clock.seconds),
            calls=dict(self._clock.calls),
            divided=isinstance(self._loop.agent, Divided),
            flops=None if self._compiled or not self._flops.total else self._flops.total,
            peak=peak(self._device),
            device=str(self._device),
            threads=torch.get_num_threads(),
        )
