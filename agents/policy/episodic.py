"""Episodic novelty: how unlike the rest of its episode an observation is (NGU, Badia et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.maths.means import shares
from gymnast.agents.optim.phases import Part
from gymnast.agents.policy.inverse_features import InverseFeatures
from gymnast.agents.policy.novelty import Experience, Trained
from gymnast.envs.step import Obs, Step

SIZE = 32
"""Numbers of an embedding."""
NEIGHBOURS = 10
EPSILON = 1e-4
CLUSTER = 0.008
"""Distances below this share of the mean one count as 0."""
CONSTANT = 1e-3
LARGEST = 8.0
"""An observation that is more similar than this to the others is worth nothing."""
CAPACITY = 30_000
"""Observations remembered of an episode; later ones overwrite the first."""


class EpisodicNovelty:
    """1 / (sqrt(sum of kernels of the nearest neighbours in the episode) + c), by Badia et al. 2020, algorithm 1.

    Neighbours are sought among the embeddings of the episode's earlier observations, its first one included. The kernel
    of a squared distance d is epsilon / (d / d_m + epsilon), where d_m is the mean of all neighbours' distances so far.
    Embeddings are features of inverse dynamics. It is the episodic factor of NGU, without the life-long one.
    """

    needs_successors = True

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        device: torch.device,
        seed: np.random.SeedSequence,
    ) -> None:
        weights, order = seed.spawn(2)
        generator = torch.Generator().manual_seed(torch_seed(weights))
        self.features = InverseFeatures(observation_space, action_space, size=SIZE, generator=generator, device=device)
        modules: dict[str, nn.Module] = {"features": self.features}
        self.trained = Trained(self.features, modules, torch.Generator(device).manual_seed(torch_seed(order)))
        self.memory = torch.zeros((num_envs, 64, SIZE), device=device)
        """Embeddings of each row's episode; it grows up to CAPACITY."""
        self.counts = torch.zeros(num_envs, dtype=torch.int64, device=device)
        """Observations seen in each row's episode, [N]."""
        self.start = torch.ones(num_envs, dtype=torch.bool, device=device)
        """Rows whose next observation begins an episode."""
        self.distance = torch.zeros(2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        """Sum and number of the neighbours' squared distances."""

    @torch.no_grad()
    def reward(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        active = torch.ones_like(self.start) if step.active is None else step.active
        self.counts = torch.where(self.start, 0, self.counts)
        self._remember(self.features(obs), self.start & active)
        found = self.features(step.next_obs)
        novelty = self._novelty(found, active)
        self._remember(found, active)
        self.start = torch.where(active, step.start, self.start)
        return novelty

    def _novelty(self, found: Tensor, active: Tensor) -> Tensor:
        """The reward of embeddings [N, F]."""
        used = min(int(self.counts.max()), CAPACITY)
        known = torch.arange(used, device=found.device) < self.counts.unsqueeze(1)  # [N, L]
        squared = (self.memory[:, :used] - found.unsqueeze(1)).square().sum(2).masked_fill(~known, torch.inf)
        nearest = squared.topk(min(NEIGHBOURS, used), 1, largest=False).values  # [N, k]
        there = nearest.isfinite()
        counted = there & active.unsqueeze(1)
        self.distance[0] += torch.where(counted, nearest, 0.0).sum()
        self.distance[1] += counted.sum()
        mean = (self.distance[0] / self.distance[1].clamp(min=1.0)).clamp(min=1e-12).to(nearest.dtype)
        relative = (nearest / mean - CLUSTER).clamp(min=0.0)
        similarity = torch.where(there, EPSILON / (relative + EPSILON), 0.0).sum(1).sqrt() + CONSTANT
        return torch.where(similarity > LARGEST, 0.0, 1.0 / similarity)

    def _remember(self, embedding: Tensor, rows: Tensor) -> None:
        """Append embeddings [N, F] of the rows bool [N]."""
        length = self.memory.shape[1]
        if int(self.counts.max()) >= length < CAPACITY:
            self.memory = torch.cat([self.memory, torch.zeros_like(self.memory)], 1)[:, :CAPACITY]
        place = (self.counts % self.memory.shape[1]).view(-1, 1, 1).expand(-1, 1, SIZE)
        kept = torch.where(rows.view(-1, 1, 1), embedding.unsqueeze(1), self.memory.gather(1, place))
        self.memory.scatter_(1, place, kept)
        self.counts = self.counts + rows

    def learn(self, experience: Experience) -> Metrics:
        steps = experience.rows()
        self.features.see(steps.obs, steps.weight)

        def loss_of(index: Tensor) -> Tensor:
            some = steps.taken(index)
            features, following = self.features.pair(some)
            return self.features.loss(features, following, some.action, shares(some.weight))

        return {"intrinsic_loss": self.trained.learn(len(steps.weight), loss_of)}

    def cut_off(self, rows: Sequence[int]) -> None:
        self.start[list(rows)] = True

    def update_parts(self) -> Iterator[Part]:
        yield Part(self, "_novelty", "learn")
        yield Part(self.trained.optimizer, "step", "optimizer")

    def state_dict(self) -> dict[str, Any]:
        """With the memory of the episodes under way."""
        used = min(int(self.counts.max()), CAPACITY)
        own = {"counts": self.counts.clone(), "start": self.start.clone(), "distance": self.distance.clone()}
        return {**self.trained.state_dict(), **own, "memory": self.memory[:, :used].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; with another number of rows all of them begin an episode."""
        self.trained.load_state_dict(state)
        self.distance.copy_(state["distance"])
        if len(state["counts"]) != len(self.counts):
            self.start.fill_(True)
            return
        self.counts.copy_(state["counts"])
        self.start.copy_(state["start"])
        length, memory = self.memory.shape[1], state["memory"].to(self.memory.device)
        while length < memory.shape[1]:
            length = min(2 * length, CAPACITY)
        self.memory = self.memory.new_zeros((len(memory), length, SIZE))
        self.memory[:, : memory.shape[1]] = memory
