"""Real steps of N rows, one after the other, for a model to watch and to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gymnast.agents.base import Actor
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, map_obs
from gymnast.evaluation.play import episode_seeds

MEMORY = 2**30
"""Bytes of observations that are kept, at most; longer episodes are left unfinished."""


@dataclass(frozen=True)
class Stream:
    """T steps of N rows on the CPU; episodes follow each other."""

    obs: Obs
    """[T, N, ...], before each action."""
    start: Tensor
    """bool [T, N], which of them begin an episode."""
    action: Tensor
    """[T, N, ...]"""
    next_obs: Obs
    """[F, ...], the successors of steps whose own is not the next `obs`: the final observations, and the last ones."""
    successor: Tensor
    """int64 [T, N], the place of a step's successor in `next_obs`, or -1 if it is the next `obs`."""
    reward: Tensor
    """float32 [T, N]"""
    terminated: Tensor
    """bool [T, N]"""
    ended: Tensor
    """bool [T, N], terminated or truncated."""
    active: Tensor
    """bool [T, N], False for steps that only began an episode."""

    def __len__(self) -> int:
        return len(self.reward)

    def after(self, time: Tensor, row: Tensor) -> Obs:
        """The true successors of these steps, int64 [K] each: observations [K, ...]."""
        place = self.successor[time, row]
        following = (time + 1).clamp(max=len(self) - 1)

        def of(obs: Obs, final: Obs) -> Obs:
            if isinstance(obs, dict) and isinstance(final, dict):
                return {name: of(part, final[name]) for name, part in obs.items()}
            assert isinstance(obs, Tensor)
            assert isinstance(final, Tensor)
            own = (place < 0).view(-1, *[1] * (obs.ndim - 2))
            return torch.where(own, obs[following, row], final[place.clamp(min=0)])

        return of(self.obs, self.next_obs)

    def window(self, time: Tensor, row: Tensor, length: int) -> tuple[Obs, Tensor, Tensor]:
        """What was seen up to these moments, int64 [K]: observations, the actions before them, starts [K, length, ...].

        Where an episode starts, the action before is that of the episode before (of the first step: its own).
        """
        times = time.unsqueeze(1) + torch.arange(1 - length, 1)
        rows = row.unsqueeze(1)
        seen = map_obs(lambda part: part[times, rows], self.obs)
        return seen, self.action[(times - 1).clamp(min=0), rows], self.start[times, rows]


def play(
    actor: Actor, env: Env, *, episodes: int, seed: int, least: int = 0, each: Callable[[], None] = lambda: None
) -> Stream:
    """Play until so many episodes have ended, and `least` steps were taken; `each` is called before and after steps."""
    env.reset(episode_seeds=episode_seeds(seed, episodes) if env.seeds_episodes else None)
    kept: list[Obs] = []
    columns: list[list[Tensor]] = []
    finals: list[Obs] = []
    places: list[Tensor] = []
    stored = count = 0
    obs, start, mask = env.obs, env.start, env.action_mask
    each()
    while (count < episodes or len(kept) < least) and stored < MEMORY:
        action = actor.act(obs, start, mask).action
        step = env.step(action)
        each()
        active = torch.ones_like(start) if step.active is None else step.active
        kept.append(map_obs(Tensor.cpu, obs))
        columns.append([part.cpu() for part in (start, action, step.reward, step.terminated, step.ended, active)])
        rows = step.ended.cpu().nonzero().flatten()
        place = torch.full((env.num_envs,), -1)
        place[rows] = torch.arange(count, count + len(rows))
        places.append(place)
        finals.append(map_obs(lambda part, rows=rows: part.cpu()[rows], step.next_obs))  # type: ignore[misc]
        count, stored = count + len(rows), stored + _bytes(kept[-1])
        obs, start, mask = step.obs, step.start, step.action_mask
    left = (places[-1] < 0).nonzero().flatten()
    places[-1][left] = torch.arange(count, count + len(left))
    finals.append(map_obs(lambda part: part.cpu()[left], step.next_obs))
    begun, action, reward, terminated, ended, active = (torch.stack(column) for column in zip(*columns, strict=True))
    return Stream(
        _joined(kept, torch.stack),
        begun,
        action,
        _joined(finals, torch.cat),
        torch.stack(places),
        reward,
        terminated,
        ended,
        active,
    )


def _joined(parts: list[Obs], join: Callable[[list[Tensor]], Tensor]) -> Obs:
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts if isinstance(part, dict)], join) for name in first}
    return join([part for part in parts if isinstance(part, Tensor)])


def _bytes(obs: Obs) -> int:
    return sum(map(_bytes, obs.values())) if isinstance(obs, dict) else obs.nbytes
