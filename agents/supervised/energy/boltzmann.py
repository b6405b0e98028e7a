"""The task that fits a Boltzmann machine of a few units to observations of zeros and ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.observations import Observations, OfObservations
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.energy.boltzmann import Boltzmann
from gymnast.networks.energy.states import index_of, states
from gymnast.networks.layers.inputs import Obs, Vector
from gymnast.networks.layers.restored import from_vector
from gymnast.networks.modes import acting

UNUSED = ("network", "network_options", "activation", "layer_norm", "init", "augment", "augment_pad", "mc_samples")
"""Options of networks with layers, which a Boltzmann machine does not have."""


@dataclass(frozen=True)
class BoltzmannConfig(FitConfig):
    """A Boltzmann machine of at most 16 units."""

    losses: ClassVar[tuple[str, ...]] = ("exact", "gibbs")

    loss: Literal["auto", "exact", "gibbs"] = "auto"
    """The negative log-likelihood by a sum over all states (auto), or the difference of energies of Gibbs samples."""
    gibbs_steps: int = 5
    """Sweeps of Gibbs sampling in each phase of an update."""
    hidden_sizes: tuple[int, ...] = ()
    """Hidden units: one number, or none."""
    learning_rate: float = 1e-2
    """Step size at first, or the largest one of one-cycle."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(FitConfig):
            value = getattr(self, field.name)
            if field.name in UNUSED and value != ({} if field.name == "network_options" else field.default):
                raise ValueError(f"{field.name} {value} has no effect on a Boltzmann machine")
        if len(self.hidden_sizes) > 1:
            raise ValueError(f"hidden_sizes of a Boltzmann machine must be one number, got {len(self.hidden_sizes)}")
        if self.gibbs_steps < 1:
            raise ValueError(f"gibbs_steps must be >= 1, got {self.gibbs_steps}")


class BoltzmannMachine(OfObservations):
    """Fits the distribution of observations whose numbers are 0 or 1."""

    name, Config, metric = "energy-boltzmann", BoltzmannConfig, "log_likelihood"
    config: BoltzmannConfig
    encodes = False
    network: Boltzmann

    def __init__(self, source: Source, config: BoltzmannConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.vector = Vector(self.observation_space).to(device)
        hidden = sum(config.hidden_sizes)
        network = Boltzmann(self.vector.out_features, hidden, generator=self.generator)
        every = torch.cat([self.train, self.validation, self.test])
        for part in torch.split(every, 10_000):
            units = self.vector(self.batch(part).obs)
            if not bool(((units == 0) | (units == 1)).all()):
                raise ValueError(
                    f"a Boltzmann machine needs observations of zeros and ones, and {self.data.name} has others"
                )
        self.network = acting(network.to(device))

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        units = self.vector(batch.obs)
        if self.config.chosen_loss == "exact":
            return -self.network.log_probability()[index_of(units)].mean(), {}
        return self.network.divergence(*self.network.phases(units, self.config.gibbs_steps, generator)), {}

    def outputs(self, batch: Observations) -> Outputs:
        return {"state": index_of(self.vector(batch.obs))}

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Visible units [number, V], drawn from their exact distribution."""
        share = self.network.log_probability().exp()
        index = torch.multinomial(share, number, True, generator=generator)
        return states(self.network.visible, dtype=torch.float32).to(self.device)[index]

    def observed(self, values: Tensor) -> Obs:
        return from_vector(self.observation_space, values)

    def measures(self, outputs: Outputs) -> dict[str, float]:
        log_prob = self.network.log_probability().detach().double().cpu()
        state = outputs["state"]
        share = torch.bincount(state, minlength=len(log_prob)).double() / len(state)
        return {
            "log_likelihood": log_prob[state].mean().item(),
            "entropy": -torch.xlogy(share, share).sum().item(),
            "total_variation": (share - log_prob.exp()).abs().sum().item() / 2,
        }
