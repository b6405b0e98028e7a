"""Evolution of policies: a genetic algorithm, and evolution strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.search.policy_search import PolicySearch, PolicySearchConfig, at_least


@dataclass(frozen=True)
class GeneticAlgorithmConfig(PolicySearchConfig):
    """Genetic algorithm (Such et al. 2017)."""

    population_size: int = 100
    """Policies per generation, including the elite."""
    parents: int = 20
    """Best policies of a generation, from which the next one is bred."""
    sigma: ScheduleLike = 0.05
    """Standard deviation of mutations: a number or a schedule over env steps."""
    crossover: float = 0.0
    """Probability that a child has two parents and takes each parameter from either of them."""
    elite_candidates: int = 10
    """Best policies of a generation that play again to become the elite, which survives unchanged."""
    elite_episodes: int = 3
    """Extra episodes of each elite candidate; with 0 the best of the generation is the elite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "population_size")
        at_least(self, 1, "parents", "elite_candidates")
        at_least(self, 0, "elite_episodes")
        for name in ("parents", "elite_candidates"):
            if getattr(self, name) > self.population_size:
                raise ValueError(f"{name} must be <= population_size {self.population_size}, got {getattr(self, name)}")
        schedule(self.sigma, name="sigma")
        if not 0.0 <= self.crossover <= 1.0:
            raise ValueError(f"crossover must be between 0 and 1, got {self.crossover}")


@dataclass(frozen=True)
class EvolutionStrategiesConfig(PolicySearchConfig):
    """Evolution strategies (Salimans et al. 2017)."""

    population_size: int = 16
    """Policies per generation: half are the centre plus noise, half the centre minus the same noise."""
    sigma: ScheduleLike = 0.2
    """Standard deviation of the noise: a number or a schedule over env steps."""
    optimizer: str = "adam"
    """Optimizer of the estimated gradient: any elementwise torch optimizer in lower case, or nature-rmsprop."""
    learning_rate: ScheduleLike = 0.05
    """Step size: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    weight_decay: float = 0.0
    """Weight decay: this times the parameters is subtracted from the estimated gradient, so that they stay small
    compared with the noise. Salimans et al. use 0.005. If all candidates are equally good, adam takes full-sized
    steps on the decay only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population_size < 2 or self.population_size % 2:
            raise ValueError(f"population_size must be an even number >= 2, got {self.population_size}")
        schedule(self.sigma, name="sigma", low=1e-8)
        schedule(self.learning_rate, name="learning_rate")
        optimizers.check(self.optimizer, self.optimizer_eps)
        if self.optimizer_eps is not None and not 0.0 < self.optimizer_eps < float("inf"):
            raise ValueError(f"optimizer_eps must be > 0, got {self.optimizer_eps}")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be >= 0, got {self.weight_decay}")


def best_first(fitness: Tensor) -> Tensor:
    """Indices from the fittest to the least fit, int64 [C]; ties keep their order."""
    return fitness.argsort(descending=True, stable=True)


def crossed(first: Tensor, second: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Uniform crossover, [C, P]: with probability `rate` a row mixes entries of both parents, else copies the first."""
    uniform = torch.rand(first.shape, generator=generator, device=first.device)
    crosses = torch.rand((len(first), 1), generator=generator, device=first.device) < rate
    return torch.where(crosses & (uniform < 0.5), second, first)


def centred_ranks(fitness: Tensor) -> Tensor:
    """Centred ranks from -0.5 (lowest) to 0.5, [C] with C > 1; ties get their mean rank (Salimans et al. 2017)."""
    ordered = fitness.sort().values
    below = torch.searchsorted(ordered, fitness)
    up_to = torch.searchsorted(ordered, fitness, right=True)
    return (below + up_to - 1) / (2 * (len(fitness) - 1)) - 0.5


def es_gradient(shaped: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Ascent direction [P], 1/(C sigma) times the sum of fitness times noise (Salimans et al. 2017, algorithm 1).

    The noise [C/2, P] is antithetic: the first half of the shaped fitness [C] belongs to the centre plus sigma times
    the noise, the second half to the centre minus it.
    """
    plus, minus = shaped.chunk(2)
    return (plus - minus) @ noise / (len(shaped) * sigma)


class GeneticAlgorithm(PolicySearch):
    """Truncation selection and Gaussian mutations, with an elite (Such et al. 2017, algorithm 1).

    The first generation is freshly initialised. After that the elite survives, and every other policy is a random
    parent plus noise. The best of a generation play again to become the elite, in a separate selection and update,
    so the previous elite must win in new episodes.
    """

    config: GeneticAlgorithmConfig
    defaults = GeneticAlgorithmConfig()

    def prepare(self) -> None:
        self.sigma = schedule(self.config.sigma, name="sigma")
        self.elite = self.first.clone()
        self.generations = 0
        """Generations completed so far."""
        self.population = torch.zeros(0, self.network.size, device=self.device)
        """The policies of the generation, the previous elite first; [C, P]."""
        self.fitness = torch.zeros(0, dtype=torch.float64)
        """Their mean returns, [C], while the best of them play again; empty before that."""

    @property
    def parameters(self) -> Tensor:
        return self.elite

    def propose(self) -> None:
        """The first generation, or one bred only from the elite."""
        if self.generations:
            self._breed(self.elite.unsqueeze(0))
        else:
            self._begin_population(self.initial(self.config.population_size - 1))

    def candidate(self, index: int) -> Tensor:
        return self.population[index]

    def select(self, fitness: Tensor) -> Metrics:
        config = self.config
        if not len(self.fitness):
            self.fitness = fitness
            if config.elite_episodes:
                best = best_first(fitness)[: config.elite_candidates]
                self.begin(best.tolist(), config.elite_episodes)
                return self._metrics()
        winner = int(best_first(fitness)[0])
        metrics = {**self._metrics(), "elite_return": fitness[winner]}
        self.elite = self.population[self.trials.candidates[winner]].clone()
        self.generations += 1
        order = best_first(self.fitness)[: config.parents]
        self._breed(self.population[order.to(self.device)])
        return metrics

    def _breed(self, parents: Tensor) -> None:
        """Breed a generation from parents [T, P]."""
        count, generator = self.config.population_size - 1, self.generator
        first, second = torch.randint(len(parents), (2, count), generator=generator, device=self.device)
        children = parents[first]
        if self.config.crossover:
            children = crossed(children, parents[second], self.config.crossover, generator)
        self._begin_population(children + self.sigma(self.env_step) * self.noise(count))

    def _begin_population(self, others: Tensor) -> None:
        self.population = torch.cat([self.elite.unsqueeze(0), others])
        self.fitness = self.fitness[:0]
        self.begin(range(len(self.population)), self.config.episodes)

    def _metrics(self) -> Metrics:
        return {
            "fitness_mean": self.fitness.mean(),
            "fitness_max": self.fitness.max(),
            "generation": torch.tensor(float(self.generations)),
        }

    def scheduled(self) -> dict[str, float]:
        """The standard deviation of mutations at the current env step."""
        return {"sigma": self.sigma(self.env_step)}

    def learned(self) -> dict[str, Any]:
        return {"elite": self.elite.clone(), "generations": self.generations}

    def load_learned(self, state: dict[str, Any]) -> None:
        self.elite, self.generations = self.own(state["elite"]), state["generations"]

    def generation(self) -> dict[str, Any]:
        return {"population": self.population.clone(), "fitness": self.fitness.clone()}

    def load_generation(self, state: dict[str, Any]) -> None:
        self.population, self.fitness = self.own(state["population"]), state["fitness"].cpu().clone()


class EvolutionStrategies(PolicySearch):
    """Follows the gradient of the mean fitness under Gaussian noise (Salimans et al. 2017, algorithm 1).

    The noise is antithetic, fitness is shaped to centred ranks, and an optimizer takes the step.
    """

    config: EvolutionStrategiesConfig
    defaults = EvolutionStrategiesConfig()

    def prepare(self) -> None:
        self.sigma = schedule(self.config.sigma, name="sigma")
        self.learning_rate = schedule(self.config.learning_rate, name="learning_rate")
        self.centre = nn.Parameter(self.first.clone())
        self.optimizer = optimizers.build(
            self.config.optimizer, self.centre, lr=self.learning_rate(0), eps=self.config.optimizer_eps
        )
        self.directions = torch.zeros(0, self.network.size, device=self.device)
        """The generation's noise at standard deviation 1, [C/2, P]."""
        self.spread = 0.0
        """Its standard deviation."""

    @property
    def parameters(self) -> Tensor:
        return self.centre.detach()

    def propose(self) -> None:
        self.directions, self.spread = self.noise(self.config.population_size // 2), self.sigma(self.env_step)
        self.begin(range(self.config.population_size), self.config.episodes)

    def candidate(self, index: int) -> Tensor:
        """The first half of the candidates moves along the directions, the second half against them."""
        pairs = len(self.directions)
        spread = self.spread if index < pairs else -self.spread
        return self.parameters + spread * self.directions[index % pairs]

    def select(self, fitness: Tensor) -> Metrics:
        shaped = centred_ranks(fitness).to(self.device, self.directions.dtype)
        ascent = es_gradient(shaped, self.directions, self.spread)
        self.centre.grad = self.config.weight_decay * self.parameters - ascent
        optimizers.set_learning_rate(self.optimizer, self.learning_rate(self.env_step))
        self.optimizer.step()
        self.propose()
        return {
            "fitness_mean": fitness.mean(),
            "fitness_max": fitness.max(),
            "grad_norm": torch.linalg.vector_norm(ascent),
            "parameter_norm": torch.linalg.vector_norm(self.parameters),
        }

    def scheduled(self) -> dict[str, float]:
        """Standard deviation of the noise and learning rate at the current env step."""
        return {"sigma": self.sigma(self.env_step), "learning_rate": self.learning_rate(self.env_step)}

    def learned(self) -> dict[str, Any]:
        return {"centre": self.parameters.clone(), "optimizer": optimizers.state_of(self.optimizer)}

    def load_learned(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.centre.copy_(self.own(state["centre"]))
        optimizers.load_state(self.optimizer, state["optimizer"])

    def generation(self) -> dict[str, Any]:
        return {"directions": self.directions.clone(), "spread": self.spread}

    def load_generation(self, state: dict[str, Any]) -> None:
        self.directions, self.spread = self.own(state["directions"]), state["spread"]
