"""The variational autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import check_numbers
from gymnast.agents.supervised.autoencoders.generative import Generative, GenerativeConfig
from gymnast.agents.supervised.autoencoders.plain import used
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.task import Outputs, linear_head
from gymnast.networks.autoencoders.outputs import DISTRIBUTIONS, Output
from gymnast.networks.autoencoders.variational import Normal, Progress, freed, importance_weighted, narrow
from gymnast.networks.layers.inputs import Obs

ACTIVE = 0.01
"""Variance of a latent's mean over the data from which it counts as used (Burda et al. 2016, section 5.2)."""


@dataclass(frozen=True)
class VariationalConfig(GenerativeConfig):
    """A bound on the likelihood of the data (Kingma & Welling 2014)."""

    losses: ClassVar[tuple[str, ...]] = DISTRIBUTIONS

    loss: Literal["auto", "gaussian", "bernoulli"] = "auto"
    """Distribution of the decoder: gaussian (auto), or bernoulli for numbers between 0 and 1."""
    latent_size: int = 16
    """Numbers of the latent."""
    beta: float = 1.0
    """Factor of the rate in the loss (Higgins et al. 2017)."""
    free_bits: float = 0.0
    """Nats of each latent number that cost nothing (Kingma et al. 2016)."""
    anneal: int = 1_000
    """Updates before the rate's factor is beta: 0 in the first half, growing in the second (Bowman et al. 2016)."""
    output_std: float | None = None
    """Deviation of the gaussian decoder. Default: learned, the same for all numbers (Rybkin et al. 2021)."""
    likelihood_samples: int = 0
    """Samples of the importance-weighted log-likelihood in evaluations (Burda et al. 2016); 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "beta", "free_bits", "anneal", "likelihood_samples")
        if self.output_std is not None and not 0.0 < self.output_std < float("inf"):
            raise ValueError(f"output_std must be > 0, got {self.output_std}")
        if self.output_std is not None and self.chosen_loss != "gaussian":
            raise ValueError(f"output_std needs loss gaussian, got {self.loss}")


class Variational(Generative):
    """Encodes observations as distributions over latents, and decodes latents as distributions over observations."""

    name, Config = "autoencoder-variational", VariationalConfig
    sampling = ("temperature",)
    config: VariationalConfig

    def output(self, spread: float) -> Output:
        return Output(self.config.chosen_loss, spread=spread, std=self.config.output_std)

    def latents(self, features: int) -> dict[str, nn.Module]:
        self.latent_size = self.config.latent_size
        layer = linear_head(features, 2 * self.latent_size, self.config, self.generator)
        return {"latent": narrow(layer), "progress": Progress(self.config.anneal)}

    def posterior(self, obs: Obs) -> Normal:
        """The distribution over latents."""
        return Normal.of(self.network.heads["latent"](self.network.backbone(obs)))

    def encode(self, obs: Obs) -> Tensor:
        return self.posterior(obs).mean

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        heads = self.network.heads
        target = self.target(batch.obs)
        posterior = self.posterior(batch.obs)
        distortion = heads["output"].error(heads["decoder"](posterior.sample(generator)), target).mean()
        rate = posterior.rate()
        cost = freed(rate, self.config.free_bits)
        loss = distortion + heads["progress"].step() * self.config.beta * cost
        # Of one number, so that gradients are of a size for max_grad_norm whatever is restored
        return loss / target[0].numel(), {"loss": loss, "distortion": distortion, "rate": rate.sum(1).mean()}

    def outputs(self, batch: Observations) -> Outputs:
        config, heads, generator = self.config, self.network.heads, self.same(batch)
        target = self.target(batch.obs)
        posterior = self.posterior(batch.obs)

        def log_likelihood(latent: Tensor) -> Tensor:
            error: Tensor = heads["output"].error(heads["decoder"](latent), target)
            return -error

        found = {
            "latent": posterior.mean,
            "rate": posterior.rate().sum(1),
            "distortion": -log_likelihood(posterior.sample(generator)),
            **self.compared(target, self.decode(posterior.mean)),
            **self.sampled(batch),
        }
        if config.likelihood_samples:
            found["likelihood"] = importance_weighted(posterior, log_likelihood, config.likelihood_samples, generator)
        return found

    def measures(self, outputs: Outputs) -> dict[str, float]:
        rate, distortion = (outputs[name].double().mean().item() for name in ("rate", "distortion"))
        found = {
            "loss": distortion + self.config.beta * rate,
            "elbo": -(distortion + rate),
            "rate": rate,
            "distortion": distortion,
            **self.reconstruction(outputs),
            **used(outputs["latent"]),
            "active": (outputs["latent"].double().var(0, correction=0) > ACTIVE).double().mean().item(),
        }
        if "likelihood" in outputs:
            found["log_likelihood"] = outputs["likelihood"].double().mean().item()
        return found | self.sample_measures(outputs)

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Means of observations [number, *shape] whose latents are drawn from the prior."""
        return self.decode(self.from_normal(number, generator))
