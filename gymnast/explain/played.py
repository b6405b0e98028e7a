"""The steps that are looked at: observations, what the network made of them, and the numbers that bound them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gymnast.agents.base import Decision
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, map_obs
from gymnast.evaluation.play import greedy_actor
from gymnast.explain.form import Form
from gymnast.explain.subject import Subject
from gymnast.fitting.probe_data import Policy, random_policy, record

BATCH = 128
"""Observations that go through the network together."""
MEDIAN = 512
"""Observations of which the median is taken, at most."""


@dataclass(frozen=True)
class Played:
    """N steps, on the device of the network."""

    x: Tensor
    """float32 [N, ...], the observations in the environment's units."""
    action: Tensor
    """[N, ...], values of the action space."""
    reward: Tensor
    """float32 [N]"""
    episode: Tensor
    """int64 [N], the number of the episode."""
    features: Tensor
    """float32 [N, F]"""
    preference: Tensor | None = None
    """[N, P], of an agent."""
    value: Tensor | None = None
    """[N], of an agent that has learned values."""
    memory: Tensor | None = None
    """[N, M], before the observations, of a recurrent agent."""
    mask: Tensor | None = None
    """bool [N, P], the allowed choices, if the environment has them."""

    @cached_property
    def longest(self) -> slice:
        """The steps of the longest episode; of several the first."""
        _, lengths = torch.unique_consecutive(self.episode, return_counts=True)
        place = int(lengths.argmax())
        start = int(lengths[:place].sum())
        return slice(start, start + int(lengths[place]))


@dataclass
class _Watcher:
    """Acts, and keeps each decision with the memory before it."""

    subject: Subject
    act: Policy
    decisions: list[Decision] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)

    def __call__(self, obs: Obs, start: Tensor, action_mask: Tensor | None) -> Tensor:
        memory = None
        if self.subject.memory_size:
            last = self.decisions[-1].memory if self.decisions else None
            memory = torch.zeros((1, self.subject.memory_size), device=self.subject.device) if last is None else last
            memory = torch.where(start.unsqueeze(1), 0.0, memory)
            self.before.append(memory)
        self.decisions.append(self.subject.decide(self.subject.form.floats(obs), memory, action_mask))
        if action_mask is not None:
            self.masks.append(action_mask)
        return self.act(obs, start, action_mask)


def play(subject: Subject, env: Env, steps: int, seed: np.random.SeedSequence) -> Played:
    """Play that many steps: an agent greedily, and with random actions for an encoder."""
    of_episodes, of_actions = seed.spawn(2)
    if subject.agent is None:
        act = random_policy(env.single_action_space, int(of_actions.generate_state(1)[0]))
        found = record(env, act, None, steps, seed=of_episodes)
        x = _floats(found.obs, subject)
        with torch.no_grad():
            features = torch.cat([subject.features(part) for part in torch.split(x, BATCH)])
        return Played(x, found.action, found.reward, found.episode, features)
    with torch.random.fork_rng(devices=[]):
        actor = greedy_actor(subject.agent, env, seed=int(of_actions.generate_state(1)[0]))
        watcher = _Watcher(subject, lambda obs, start, mask: actor.act(obs, start, mask).action)
        found = record(env, watcher, None, steps, seed=of_episodes)
    made = watcher.decisions
    values = [one.value for one in made if one.value is not None]
    return Played(
        x=_floats(found.obs, subject),
        action=found.action.to(subject.device),
        reward=found.reward,
        episode=found.episode,
        features=torch.cat([one.features for one in made]),
        preference=torch.cat([one.preference for one in made]),
        value=torch.cat(values) if values else None,
        memory=torch.cat(watcher.before) if watcher.before else None,
        mask=torch.cat(watcher.masks) if watcher.masks else None,
    )


def _floats(obs: Obs, subject: Subject) -> Tensor:
    return subject.form.floats(map_obs(lambda part: part.to(subject.device), obs))


@dataclass(frozen=True)
class Range:
    """Where the numbers of an observation lie; all [...]."""

    low: Tensor
    high: Tensor
    """The space's bounds; where it has none, three deviations around the mean of those played, and all of these."""
    bound_low: Tensor
    bound_high: Tensor
    """The space's bounds, which may be infinite."""
    middle: Tensor
    """The median of those played, or of `MEDIAN` evenly spread ones; of a choice the most frequent alternative."""
    deviation: Tensor
    """The standard deviation of those played."""
    whole: Tensor | bool
    """Which numbers are whole, all or none of them or bool [K]."""

    @property
    def span(self) -> Tensor:
        return self.high - self.low

    @staticmethod
    def of(form: Form, x: Tensor) -> Range:
        """Of the observations [N, ...] of a form."""
        low, high = form.bounds(x.device)
        mean, deviation = x.mean(0), x.std(0, correction=0)
        known = low.isfinite() & high.isfinite() & (high - low < 1e6)
        reach = torch.where(deviation > 0, 3.0 * deviation, 1.0)
        seen_low, seen_high = torch.minimum(mean - reach, x.amin(0)), torch.maximum(mean + reach, x.amax(0))
        return Range(
            low=torch.where(known, low, torch.maximum(seen_low, low)),
            high=torch.where(known, high, torch.minimum(seen_high, high)),
            bound_low=low,
            bound_high=high,
            middle=_middle(form, x[torch.linspace(0, len(x) - 1, min(len(x), MEDIAN)).long()]),
            deviation=deviation,
            whole=form.whole(x.device),
        )


def _middle(form: Form, x: Tensor) -> Tensor:
    """The median of observations [N, ...], of a choice the most frequent alternative."""
    middle = x.median(0).values
    for choice in [place for part in form.parts for place in part.choices]:
        often = x[:, choice].sum(0).argmax()
        middle[choice] = functional.one_hot(often, choice.stop - choice.start).to(middle.dtype)
    return middle
