"""Novelty rewards:  random network distillation, and counts of visits."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.maths.means import shares, weighted_mean
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.phases import Part
from gymnast.envs.step import Obs, map_obs
from gymnast.networks import build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.images import Layout, is_image
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Vector
from gymnast.networks.layers.normalise import RunningNorm

FEATURES = 128
"""Numbers of an embedding."""
LEARNING_RATE = 1e-4
MINIBATCHES = 4
CLIP = 5.0
"""Normalised observations are clipped to this (Burda et al. 2019, section 2.4)."""
BITS = 32
"""Bits of a hash: about four billion cells."""


class Intrinsic(Protocol):
    """Interface of a novelty reward."""

    def reward(self, next_obs: Obs) -> Tensor:
        """The novelty of observations [N, ...], float32 [N]."""
        ...

    def learn(self, obs: Obs, weight: Tensor) -> Metrics:
        """Learn from a rollout's observations [T, N, ...] whose weight [T, N] is not 0."""
        ...

    def update_parts(self) -> Iterator[Part]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_intrinsic(
    kind: str, observation_space: gym.Space[Any], device: torch.device, seed: np.random.SeedSequence
) -> Intrinsic | None:
    """The reward `rnd` or `counts`, or None for `none`."""
    if kind == "none":
        return None
    kinds: dict[str, type[RandomNetwork] | type[Counts]] = {"rnd": RandomNetwork, "counts": Counts}
    return kinds[kind](observation_space, device, seed)


class RandomNetwork:
    """Distance of a trained network from a random one (Burda et al. 2019, section 2.2): small if familiar.

    Both see normalised observations; of images the last frame of a stack, as in section 3.2, with its colours if
    they are the last axis.
    """

    def __init__(self, observation_space: gym.Space[Any], device: torch.device, seed: np.random.SeedSequence) -> None:
        weights, order = seed.spawn(2)
        generator = torch.Generator().manual_seed(torch_seed(weights))
        self.generator = torch.Generator(device).manual_seed(torch_seed(order))
        self.layout = Layout.of(observation_space) if is_image(observation_space) else None
        seen, backbone = observation_space, "auto"
        if self.layout is not None:
            self.channels = self.layout.shape[-1] if self.layout.is_last else 1
            seen = spaces.Box(-np.inf, np.inf, (self.channels, *self.layout.planes[1:]))
            backbone = "nature-cnn"
        self.norm = RunningNorm(seen, clip=CLIP, device=device)
        self.target = _embedding(backbone, seen, generator, deep=False).to(device).requires_grad_(False)
        self.predictor = _embedding(backbone, seen, generator, deep=True).to(device)
        self.weights = FlatParameters(self.predictor)
        self.optimizer = optimizers.build("adam", self.weights.parameter, lr=LEARNING_RATE)

    @torch.no_grad()
    def reward(self, next_obs: Obs) -> Tensor:
        return self._error(self.norm(self._seen(next_obs)))

    def _seen(self, obs: Any) -> Any:
        return obs if self.layout is None else self.layout.to_planes(obs)[:, -self.channels :].float() / 255

    def _error(self, seen: Any) -> Tensor:
        """Mean squared distance of each row, [B]."""
        error: Tensor = (self.predictor(seen) - self.target(seen)).square().mean(1)
        return error

    def learn(self, obs: Obs, weight: Tensor) -> Metrics:
        seen, counted = map_obs(lambda part: part.flatten(0, 1), obs), weight.flatten()
        self.norm.update(self._seen(seen), counted)
        loss = counted.new_zeros(())
        for index in self._parts(len(counted)):
            chosen = map_obs(partial(torch.Tensor.index_select, dim=0, index=index), seen)
            loss = weighted_mean(self._error(self.norm(self._seen(chosen))), shares(counted[index]))
            self.weights.grad.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return {"intrinsic_loss": loss.detach()}

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_error", "forward")
        yield Part(self.optimizer, "step", "optimizer")

    def _parts(self, rows: int) -> Iterator[Tensor]:
        order = torch.rand(rows, generator=self.generator, device=self.generator.device).argsort()
        yield from order.tensor_split(min(MINIBATCHES, rows))

    def state_dict(self) -> dict[str, Any]:
        modules = {"norm": self.norm, "target": self.target, "predictor": self.predictor}
        states = {name: copy.deepcopy(dict(part.state_dict())) for name, part in modules.items()}
        return {
            **states,
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("norm", "target", "predictor"):
            getattr(self, name).load_state_dict(state[name])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        self.generator.set_state(state["generator"].cpu())


class Counts:
    """1/sqrt(n) for an observation whose cell was seen n times (Bellemare et al. 2016, section 4, without a model).

    Each discrete observation is its own cell; for others the signs of random projections form the cell (SimHash, Tang
    et al. 2017, section 2.2). The table is on the CPU.
    """

    def __init__(self, observation_space: gym.Space[Any], device: torch.device, seed: np.random.SeedSequence) -> None:
        self.vector = Vector(observation_space)
        size = self.vector.out_features
        generator = torch.Generator().manual_seed(torch_seed(seed))
        exact = isinstance(observation_space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        self.projection = None if exact and size <= 62 else torch.randn(size, BITS, generator=generator).to(device)
        self.powers = (2 ** torch.arange(size if self.projection is None else BITS)).to(device)
        self.visits: dict[int, int] = {}

    @torch.no_grad()
    def reward(self, next_obs: Obs) -> Tensor:
        seen = self.vector(next_obs)
        bits = seen if self.projection is None else seen @ self.projection
        rewards = []
        for cell in ((bits > 0) * self.powers).sum(1).tolist():
            self.visits[cell] = visits = self.visits.get(cell, 0) + 1
            rewards.append(1.0 / math.sqrt(visits))
        return torch.tensor(rewards, device=seen.device)

    def learn(self, obs: Obs, weight: Tensor) -> Metrics:
        return {"cells": torch.tensor(float(len(self.visits)))}

    def update_parts(self) -> Iterator[Part]:
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        cells, visits = list(self.visits), list(self.visits.values())
        projection = self.powers.new_zeros(0) if self.projection is None else self.projection.clone()
        return {"cells": torch.tensor(cells), "visits": torch.tensor(visits), "projection": projection}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.visits = dict(zip(state["cells"].tolist(), state["visits"].tolist(), strict=True))
        if self.projection is not None:
            self.projection.copy_(state["projection"])


def _embedding(backbone: str, space: gym.Space[Any], generator: torch.Generator, *, deep: bool) -> nn.Sequential:
    """Observations to FEATURES numbers; the predictor is deeper than its target."""
    base = build(backbone, space, init="orthogonal", generator=generator)
    width = int(base.out_features)  # type: ignore[arg-type]
    hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()] if deep else []
    head = nn.Sequential(*hidden, nn.Linear(width, FEATURES))
    initialise(head, "orthogonal", activation="relu", generator=generator)
    return nn.Sequential(base, head)
