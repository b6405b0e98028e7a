"""Novelty rewards: their interface, random network distillation, and counts of visits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.maths.means import shares, weighted_mean
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.phases import Part
from gymnast.envs.step import Obs, Step, map_obs
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


class Experience(NamedTuple):
    """T steps of N rows that a novelty reward learns from; those of weight 0 do not count."""

    obs: Obs
    """[T, N, ...]"""
    weight: Tensor
    """[T, N]"""
    action: Tensor
    """[T, N, ...], values of the action space."""
    next_obs: Obs | None
    """[T, N, ...], the true successors, for a reward that needs them."""

    def rows(self) -> Experience:
        """The same steps as rows [T * N, ...]."""
        return self._map(partial(torch.Tensor.flatten, start_dim=0, end_dim=1))

    def taken(self, index: Tensor) -> Experience:
        """The rows of these numbers, int64 [B]."""
        return self._map(partial(torch.Tensor.index_select, dim=0, index=index))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Experience:
        following = None if self.next_obs is None else map_obs(change, self.next_obs)
        return Experience(map_obs(change, self.obs), change(self.weight), change(self.action), following)


class Intrinsic(Protocol):
    """Interface of a novelty reward."""

    needs_successors: bool
    """Whether `learn` needs the successors."""

    def reward(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        """The novelty of each row's transition from observations [N, ...] by actions [N, ...], float32 [N]."""
        ...

    def learn(self, experience: Experience) -> Metrics: ...

    def cut_off(self, rows: Sequence[int]) -> None:
        """Their episodes ended unseen."""
        ...

    def update_parts(self) -> Iterator[Part]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Trained:
    """Parts of a novelty reward that learn from each rollout in a few minibatches, with all of its state.

    `learned` are the modules that the optimizer trains, `kept` further ones with state.
    """

    def __init__(self, learned: nn.Module, kept: dict[str, nn.Module], generator: torch.Generator) -> None:
        self.modules, self.generator = kept, generator
        self.weights = FlatParameters(learned)
        self.optimizer = optimizers.build("adam", self.weights.parameter, lr=LEARNING_RATE)

    def learn(self, rows: int, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        """One pass over `rows` in random minibatches, int64 [B] each; returns the last loss."""
        loss = self.weights.data.new_zeros(())
        order = torch.rand(rows, generator=self.generator, device=self.generator.device).argsort()
        for index in order.tensor_split(min(MINIBATCHES, rows)):
            loss = loss_of(index)
            self.weights.grad.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        states = {name: copy.deepcopy(dict(part.state_dict())) for name, part in self.modules.items()}
        return {
            **states,
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.modules.items():
            part.load_state_dict(state[name])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        self.generator.set_state(state["generator"].cpu())


class RandomNetwork:
    """Distance of a trained network from a random one (Burda et al. 2019, section 2.2): small if familiar.

    Both see normalised observations; of images the last frame of a stack, as in section 3.2, with its colours if
    they are the last axis.
    """

    needs_successors = False

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
        self.target = embedding(backbone, seen, generator, deep=False).to(device).requires_grad_(False)
        self.predictor = embedding(backbone, seen, generator, deep=True).to(device)
        modules = {"norm": self.norm, "target": self.target, "predictor": self.predictor}
        self.trained = Trained(self.predictor, modules, self.generator)

    @torch.no_grad()
    def reward(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        return self._error(self.norm(self._seen(step.next_obs)))

    def _seen(self, obs: Any) -> Any:
        return obs if self.layout is None else self.layout.to_planes(obs)[:, -self.channels :].float() / 255

    def _error(self, seen: Any) -> Tensor:
        """Mean squared distance of each row, [B]."""
        error: Tensor = (self.predictor(seen) - self.target(seen)).square().mean(1)
        return error

    def learn(self, experience: Experience) -> Metrics:
        steps = experience.rows()
        self.norm.update(self._seen(steps.obs), steps.weight)

        def loss_of(index: Tensor) -> Tensor:
            some = steps.taken(index)
            return weighted_mean(self._error(self.norm(self._seen(some.obs))), shares(some.weight))

        return {"intrinsic_loss": self.trained.learn(len(steps.weight), loss_of)}

    def cut_off(self, rows: Sequence[int]) -> None:
        """Nothing is remembered of an episode."""

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_error", "forward")
        yield Part(self.trained.optimizer, "step", "optimizer")

    def state_dict(self) -> dict[str, Any]:
        return self.trained.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trained.load_state_dict(state)


class Counts:
    """1/sqrt(n) for an observation whose cell was seen n times (Bellemare et al. 2016, section 4, without a model).

    Each discrete observation is its own cell; for others the signs of random projections form the cell (SimHash, Tang
    et al. 2017, section 2.2). The table is on the CPU.
    """

    needs_successors = False

    def __init__(self, observation_space: gym.Space[Any], device: torch.device, seed: np.random.SeedSequence) -> None:
        self.vector = Vector(observation_space)
        size = self.vector.out_features
        generator = torch.Generator().manual_seed(torch_seed(seed))
        exact = isinstance(observation_space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        self.projection = None if exact and size <= 62 else torch.randn(size, BITS, generator=generator).to(device)
        self.powers = (2 ** torch.arange(size if self.projection is None else BITS)).to(device)
        self.visits: dict[int, int] = {}

    @torch.no_grad()
    def reward(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        seen = self.vector(step.next_obs)
        bits = seen if self.projection is None else seen @ self.projection
        rewards = []
        for cell in ((bits > 0) * self.powers).sum(1).tolist():
            self.visits[cell] = visits = self.visits.get(cell, 0) + 1
            rewards.append(1.0 / math.sqrt(visits))
        return torch.tensor(rewards, device=seen.device)

    def cut_off(self, rows: Sequence[int]) -> None:
        """Nothing is remembered of an episode."""

    def learn(self, experience: Experience) -> Metrics:
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


def embedding(
    backbone: str, space: gym.Space[Any], generator: torch.Generator, *, deep: bool, size: int = FEATURES
) -> nn.Sequential:
    """Observations to `size` numbers; a predictor is deeper than its target."""
    base = build(backbone, space, init="orthogonal", generator=generator)
    width = int(base.out_features)  # type: ignore[arg-type]
    hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()] if deep else []
    head = nn.Sequential(*hidden, nn.Linear(width, size))
    initialise(head, "orthogonal", activation="relu", generator=generator)
    return nn.Sequential(base, head)
