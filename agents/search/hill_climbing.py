"""Hill climbing: perturb the best policy so far, and keep improvements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.search.policy_search import PolicySearch, PolicySearchConfig, at_least


@dataclass(frozen=True)
class HillClimbingConfig(PolicySearchConfig):
    """Hill climbing with adaptive noise: smaller after a success, larger after a failure."""

    episodes: int = 3  # the best of many single episodes would be the luckiest
    """Episodes per candidate and generation; its fitness is their mean undiscounted return."""
    population_size: int = 8
    """Perturbations of the best policy tried per generation."""
    reevaluate: bool = True
    """Play the best policy again in each generation and judge it by all of its episodes, so that luck does not last."""
    noise_scale: float = 0.2
    """Initial standard deviation of the Gaussian perturbations."""
    min_noise_scale: float = 0.1
    """Smallest standard deviation."""
    max_noise_scale: float = 0.2
    """Largest standard deviation."""
    noise_shrink: float = 0.9
    """Factor of the standard deviation after a perturbation beat the best policy."""
    noise_growth: float = 1.1
    """Factor of the standard deviation after none did."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "population_size", "noise_growth")
        if not 0.0 < self.min_noise_scale <= self.noise_scale <= self.max_noise_scale < math.inf:
            raise ValueError(
                "noise_scale must be between min_noise_scale > 0 and max_noise_scale, "
                f"got {self.noise_scale}, {self.min_noise_scale} and {self.max_noise_scale}"
            )
        if not 0.0 < self.noise_shrink <= 1.0:
            raise ValueError(f"noise_shrink must be > 0 and <= 1, got {self.noise_shrink}")
        if not math.isfinite(self.noise_growth):
            raise ValueError(f"noise_growth must be finite, got {self.noise_growth}")


class HillClimbing(PolicySearch):
    """Keeps the best parameters and takes the best of several Gaussian steps if it improves on them.

    A generation is the best policy itself (if it is re-evaluated, and in the first generation) and its perturbations. A
    return that only equals the best is a failure, so a plateau is searched at growing distance.
    """

    config: HillClimbingConfig
    defaults = HillClimbingConfig()

    def prepare(self) -> None:
        self.best = self.first.clone()
        self.best_return, self.best_count = 0.0, 0
        """Mean return of the best policy, and the number of generations that it averages."""
        self.noise_scale = self.config.noise_scale
        self.steps = torch.zeros(0, self.network.size, device=self.device)
        """The generation's perturbations at standard deviation 1, [C, P]; the best policy's own is 0."""

    @property
    def parameters(self) -> Tensor:
        return self.best

    def propose(self) -> None:
        self.steps = self.noise(self.config.population_size)
        if self.config.reevaluate or not self.best_count:
            self.steps = torch.cat([torch.zeros_like(self.steps[:1]), self.steps])
        self.begin(range(len(self.steps)), self.config.episodes)

    def candidate(self, index: int) -> Tensor:
        return self.best + self.noise_scale * self.steps[index]

    def select(self, fitness: Tensor) -> Metrics:
        returns, config = fitness.tolist(), self.config
        played = len(returns) - config.population_size  # 1 if the best one was among them
        if played:
            self.best_count += 1
            self.best_return += (returns[0] - self.best_return) / self.best_count
        winner = max(range(played, len(returns)), key=returns.__getitem__)
        success = returns[winner] > self.best_return
        if success:
            self.best = self.candidate(winner)
            self.best_return, self.best_count = returns[winner], 1
            self.noise_scale = max(self.noise_scale * config.noise_shrink, config.min_noise_scale)
        else:
            self.noise_scale = min(self.noise_scale * config.noise_growth, config.max_noise_scale)
        self.propose()
        return {
            "fitness_mean": fitness.mean(),
            "fitness_max": fitness.max(),
            "best_return": torch.tensor(self.best_return),
            "success": torch.tensor(float(success)),
        }

    def scheduled(self) -> dict[str, float]:
        """The standard deviation of the perturbations."""
        return {"noise_scale": self.noise_scale}

    def learned(self) -> dict[str, Any]:
        return {
            "best": self.best.clone(),
            "best_return": self.best_return,
            "best_count": self.best_count,
            "noise_scale": self.noise_scale,
        }

    def load_learned(self, state: dict[str, Any]) -> None:
        self.best = self.own(state["best"])
        self.best_return, self.best_count = state["best_return"], state["best_count"]
        self.noise_scale = state["noise_scale"]

    def generation(self) -> dict[str, Any]:
        return {"steps": self.steps.clone()}

    def load_generation(self, state: dict[str, Any]) -> None:
        self.steps = self.own(state["steps"])
