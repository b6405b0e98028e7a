"""CMA-ES (Hansen 2016) by package `cma`, its state kept as plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import LearningError


class Search:
    """Finds a vector [P] of high fitness from one generation of candidates to the next.

    A `CMAEvolutionStrategy` is a function of its first mean, its random numbers and the fitness of all candidates
    since. So the state holds only these, and a search is restored by repeating its arithmetic: exact, and without the
    package's pickles. It never touches NumPy's global generator.
    """

    def __init__(self, size: int, *, population: int, sigma: float, seed: int) -> None:
        self.population, self.sigma, self.seed = population, sigma, seed
        self.rounds = 0
        """Searches begun so far; each draws numbers of its own."""
        self.first = np.zeros(size)
        """The mean at the beginning of this round, float64 [P]."""
        self.fitness: list[np.ndarray] = []
        """Of every generation of this round, float64 [C]."""
        self._strategy: Any = None
        self._asked: list[np.ndarray] = []

    def begin(self) -> None:
        """Start a new round from the current mean, with the first deviation in all directions."""
        self.first = self.mean()
        self.rounds += 1
        self.fitness, self._strategy, self._asked = [], None, []

    def mean(self) -> np.ndarray:
        """The centre of the candidates, float64 [P]."""
        return np.array(self._current().mean)

    def deviation(self) -> float:
        """The overall standard deviation of the candidates."""
        return float(self._current().sigma)

    def ask(self) -> np.ndarray:
        """The candidates of the next generation, float64 [C, P]; the same ones until `tell`."""
        strategy = self._current()
        if not self._asked:
            self._asked = strategy.ask()
        return np.stack(self._asked)

    def tell(self, fitness: Tensor) -> None:
        """Learn from the fitness [C] of the candidates asked for; LearningError if it is not finite."""
        values = fitness.double().cpu().numpy()
        if not np.isfinite(values).all():
            raise LearningError("a controller's return in the dream is not finite: the model has diverged")
        self.ask()
        self._learn(values)
        self.fitness.append(values)

    def _learn(self, fitness: np.ndarray) -> None:
        self._strategy.tell(self._asked, (-fitness).tolist())  # it minimises
        self._asked = []

    def _current(self) -> Any:
        """The strategy of this round, brought to its state by what was told so far."""
        if self._strategy is None:
            import cma  # takes a second, which --help need not wait for

            numbers = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.rounds])))
            options = {
                "popsize": self.population,
                "randn": lambda *shape: numbers.standard_normal(shape),
                "seed": math.nan,  # it would seed NumPy's global generator
                "verbose": -9,
            }
            self._strategy = cma.CMAEvolutionStrategy(self.first, self.sigma, options)
            for fitness in self.fitness:
                self._asked = self._strategy.ask()
                self._learn(fitness)
        return self._strategy

    def state_dict(self) -> dict[str, Any]:
        fitness = np.array(self.fitness).reshape(-1, self.population)
        return {
            "seed": self.seed,
            "rounds": self.rounds,
            "first": torch.from_numpy(self.first.copy()),
            "fitness": torch.from_numpy(fitness),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; ValueError if it belongs to another number of parameters or candidates."""
        first, fitness = state["first"].numpy().copy(), state["fitness"].numpy()
        if first.shape != self.first.shape or fitness.shape[1:] != (self.population,):
            raise ValueError(
                f"the saved search has {len(first)} parameters and {fitness.shape[1]} candidates, this one has "
                f"{len(self.first)} and {self.population}"
            )
        self.seed, self.rounds, self.first = state["seed"], state["rounds"], first
        self.fitness, self._strategy, self._asked = list(fitness.copy()), None, []
