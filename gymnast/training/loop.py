"""The training loop: act, step, store, learn when due. `events.py` has everything periodic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gymnast.agents.base import Actor, Agent
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.step import Step
from gymnast.tabular import loop
from gymnast.training.episodes import WINDOW, EndedEpisodes, EpisodeStatistics
from gymnast.training.rollout_loop import DeviceRollout, rollout_of

if TYPE_CHECKING:
    from gymnast.training.compiled_rollout import CompiledRollout

PULSE = 0.1
"""Seconds between two checks of the terminal and of signals."""
COMPILED_CHUNK = 1_000_000
"""Env steps of the compiled loop between two pulses: about 50 ms."""


@dataclass
class Seconds:
    """Time spent in each part of the loop."""

    act: float = 0.0
    env: float = 0.0
    learn: float = 0.0  # storing included
    compiled: float = 0.0  # act, env and learn in one compiled function; act, env and store in one recording


class Loop:
    """One agent in one environment.

    With `overlap` the environment steps while the learner does the updates that became due in the previous step: the
    same updates from the same memory, but the pending action was chosen without them. Those due after the last step are
    done when the loop continues.
    """

    learners = 1
    """Processes that take as many steps as this one, all of which `env_step` counts."""
    whole = True
    """Whether the whole state can be read; not after a process that held a part of it is lost."""

    def __init__(self, agent: Agent, actor: Actor, env: Env, *, overlap: bool = False) -> None:
        self.agent = agent
        self.actor = actor
        self.env = env
        self.overlap = overlap
        self.env_step = 0
        self.episodes = EpisodeStatistics()
        if not env.host_counts:
            self.episodes.on_device = EndedEpisodes(WINDOW, device=env.device)
        self._rollout: DeviceRollout | CompiledRollout | None = rollout_of(agent, actor, env, self.episodes.on_device)
        if self._rollout is None and not overlap and isinstance(env, NativeEnv):
            from gymnast.training.compiled_rollout import compiled_rollout  # Numba

            self._rollout = compiled_rollout(agent, actor, env)
        self.seconds = Seconds()
        self.metrics: dict[str, Any] = {}
        """The metrics of the last update."""
        self.compiled = loop.supports(agent, env)

    @property
    def exact_resume(self) -> bool:
        """Whether a checkpoint can hold the environment's state."""
        return self.env.exact_resume

    def advance(self, until: int, pulse: Callable[[], bool]) -> None:
        """Train until `env_step >= until`, or until `pulse`, called every tenth of a second, returns True."""
        if self.compiled:
            self._advance_compiled(until, pulse)
        elif self._rollout is not None:
            self._advance_by_rollouts(self._rollout, until, pulse)
        else:
            self._advance(until, pulse)
        self.episodes.read(env_step=self.env_step)

    def _advance(self, until: int, pulse: Callable[[], bool]) -> None:
        agent, act = self.agent, self.actor.act
        env_step = self._step_while_learning if self.overlap else self.env.step
        obs, start, mask = self.env.obs, self.env.start, self.env.action_mask
        seconds, on_device = self.seconds, self.episodes.on_device
        now = perf_counter()
        next_pulse = now + PULSE
        while self.env_step < until:
            began = now
            acted = act(obs, start, mask)
            acted_at = perf_counter()
            step = env_step(acted.action)
            stepped_at = perf_counter()
            agent.store(obs, acted, step)
            self.env_step += step.num_active * self.learners
            if not self.overlap:
                self._learn()
            if step.num_ended:
                self.episodes.add_ended(step, env_step=self.env_step)
            elif step.num_ended is None and on_device is not None:
                on_device.add(step)
            obs, start, mask = step.obs, step.start, step.action_mask
            now = perf_counter()
            seconds.act += acted_at - began
            seconds.env += stepped_at - acted_at
            seconds.learn += now - stepped_at
            if now >= next_pulse:
                self.episodes.read(env_step=self.env_step)
                if pulse():
                    return
                now = perf_counter()
                next_pulse = now + PULSE

    def _advance_by_rollouts(
        self, play: DeviceRollout | CompiledRollout, until: int, pulse: Callable[[], bool]
    ) -> None:
        """Whole rollouts, so that `until` may be exceeded by less than one; a partial one is filled step by step."""
        rollout = play.rollout
        if rollout.length and self.env_step < until:
            left = (rollout.steps - rollout.length) * self.env.num_envs * self.learners
            self._advance(self.env_step + left, pulse)
        next_pulse = perf_counter() + PULSE
        while self.env_step < until and rollout.length == 0:
            began = perf_counter()
            self.fill(play)
            played = perf_counter()
            self._learn()
            now = perf_counter()
            self.seconds.compiled += played - began
            self.seconds.learn += now - played
            if now >= next_pulse:
                self.episodes.read(env_step=self.env_step)
                if pulse():
                    return
                next_pulse = perf_counter() + PULSE

    def fill(self, play: DeviceRollout | CompiledRollout) -> None:
        """Play a whole rollout."""
        self.env_step += play() * self.learners
        self.episodes.add_all(*play.ended_episodes(), env_step=self.env_step)

    def others(self) -> list[dict[str, Any]]:
        """The states of the other learners, `LearnerState`s as dicts."""
        return []

    def counts(self) -> dict[str, float]:
        """More numbers for the log, of the processes that act or learn."""
        return {}

    def close(self) -> None:
        """Stop everything outside this process; calling it twice is harmless."""

    def _learn(self) -> None:
        for _ in range(self.agent.updates_due(self.env_step)):
            self.metrics = self.agent.learn()

    def _step_while_learning(self, action: Tensor) -> Step:
        self.env.send(action)
        began = perf_counter()
        self._learn()
        learned = perf_counter() - began
        self.seconds.learn += learned
        self.seconds.env -= learned  # all of this call counts as the environment's
        return self.env.receive()

    def _advance_compiled(self, until: int, pulse: Callable[[], bool]) -> None:
        while self.env_step < until:
            began = perf_counter()
            steps = min(until - self.env_step, COMPILED_CHUNK)
            ended = loop.run(self.agent, self.actor, self.env, steps=steps)
            self.env_step, self.metrics = self.agent.env_step, ended.metrics
            self.episodes.add_all(ended.returns, ended.lengths, env_step=self.env_step)
            self.seconds.compiled += perf_counter() - began
            if pulse():
                return

    def state_dict(self) -> dict[str, Any]:
        """Counts and running statistics; agent, actor and environment keep their own."""
        # In a population they are numbers [M] of its members.
        metrics = {name: value if getattr(value, "ndim", 0) else float(value) for name, value in self.metrics.items()}
        return {"env_step": self.env_step, "episodes": self.episodes.state_dict(), "metrics": metrics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.env_step = state["env_step"]
        self.episodes.load_state_dict(state["episodes"])
        self.metrics = state["metrics"]
