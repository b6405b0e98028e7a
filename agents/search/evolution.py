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
    """Policies of a generation, the elite among them."""
    parents: int = 20
    """The best of them, from which the next generation comes."""
    sigma: ScheduleLike = 0.05
    """Standard deviation of a mutation: a number or a schedule of the env step."""
    crossover: float = 0.0
    """Probability that a child has two parents, and each of its parameters from either of them."""
    elite_candidates: int = 10
    """The best of a generation, which play again for the place of the elite that lives on unchanged."""
    elite_episodes: int = 3
    """Episodes that each of these plays for it; with 0 the best of the generation is the elite."""

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
    """Policies of a generation: half of them are the centre plus noise, the others the centre minus the same noise."""
    sigma: ScheduleLike = 0.2
    """Standard deviation of the noise: a number or a schedule of the env step."""
    optimizer: str = "adam"
    """Any elementwise optimizer of torch in lower case, or nature-rmsprop, which follows the estimated gradient."""
    learning_rate: ScheduleLike = 0.05
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer_eps: float | None = None
    """The optimizer's epsilon; by default its own."""
    weight_decay: float = 0.0
    """Times the parameters, what is taken from the estimated gradient: it keeps them small beside the noise.

    Salimans et al. have 0.005. Where all candidates are equally good, adam makes full steps of it alone.
    """

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
    """Indices from the fittest to the least fit, int64 [C]; of equals the first comes first."""
    return fitness.argsort(descending=True, stable=True)


def crossed(first: Tensor, second: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Uniform crossover, [C, P]: with probability `rate` a row takes each entry from either, else all of the first."""
    uniform = torch.rand(first.shape, generator=generator, device=first.device)
    crosses = torch.rand((len(first), 1), generator=generator, device=first.device) < rate
    return torch.where(crosses & (uniform < 0.5), second, first)


def centred_ranks(fitness: Tensor) -> Tensor:
    """Ranks from -0.5 (the least) to 0.5, [C] with C > 1; equals share the mean of theirs (Salimans et al. 2017)."""
    ordered = fitness.sort().values
    below = torch.searchsorted(ordered, fitness)
    up_to = torch.searchsorted(ordered, fitness, right=True)
    return (below + up_to - 1) / (2 * (len(fitness) - 1)) - 0.5


def es_gradient(shaped: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Ascent direction [P], 1/(C sigma) times the sum of fitness times noise (Salimans et al. 2017, algorithm 1).

    The noise [C/2, P] is antithetic: the first half of the shaped fitness [C] is that of the centre plus sigma times
    the noise, the second half that of the centre minus it.
    """
    plus, minus = shaped.chunk(2)
    return (plus - minus) @ noise / (len(shaped) * sigma)


class GeneticAlgorithm(PolicySearch):
    """Truncation selection and Gaussian mutations, with an elite (Such et al. 2017, algorithm 1).

    The first generation is freshly initialised. Then the elite lives on, and every other policy is one of the parents,
    chosen at random, plus noise. The best of a generation play again for the place of the elite, which is a selection
    and an update of its own; so the elite of before has to win by new episodes.
    """

    config: GeneticAlgorithmConfig
    defaults = GeneticAlgorithmConfig()

    def prepare(self) -> None:
        self.sigma = schedule(self.config.sigma, name="sigma")
        self.elite = self.first.clone()
        self.generations = 0
        """Generations that have been selected from."""
        self.population = torch.zeros(0, self.network.size, device=self.device)
        """The policies of the generation, the elite of before first; [C, P]."""
        self.fitness = torch.zeros(0, dtype=torch.float64)
        """Their mean returns, [C], while the best of them play again; empty before."""

    @property
    def parameters(self) -> Tensor:
        return self.elite

    def propose(self) -> None:
        """The first generation, or one from the elite alone."""
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
        """A generation from parents [T, P]."""
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
        """The noise of the generation, [C/2, P], for a standard deviation of 1."""
        self.spread = 0.0
        """Its standard deviation."""

    @property
    def parameters(self) -> Tensor:
        return self.centre.detach()

    def propose(self) -> None:
        self.directions, self.spread = self.noise(self.config.population_size // 2), self.sigma(self.env_step)
        self.begin(range(self.config.population_size), self.config.episodes)

    def candidate(self, index: int) -> Tensor:
        """The first half of the candidates goes into the directions, the second half into their opposites."""
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
