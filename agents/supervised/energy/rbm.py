"""The task that fits restricted Boltzmann machines to observations, one or a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.observations import Observations, OfObservations
from gymnast.agents.supervised.shown import Grid, Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, ready
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.build import BackboneName
from gymnast.networks.energy.rbm import RBM, UNITS, Units, drawn
from gymnast.networks.energy.stack import Stack
from gymnast.networks.layers.init import Init
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.restored import from_vector

SAMPLE = 10_000
"""Training examples from which the scale of the units and their first biases are taken, at most."""
MEASURED = 256
"""Units of a layer whose pseudo-likelihood is measured, at most."""
SHOWN = 10
"""Examples, reconstructions and samples in a picture."""
FILTERS = 100
"""Filters in a picture, at most: those with the largest weights."""
CHAIN = 1000
"""Gibbs steps from noise to a sample."""


@dataclass(frozen=True)
class RBMConfig(FitConfig):
    """Restricted Boltzmann machines over observations."""

    losses: ClassVar[tuple[str, ...]] = ("cd", "pcd")

    loss: Literal["auto", "cd", "pcd"] = "auto"
    """Contrastive divergence (auto; Hinton 2002), or the persistent one, whose chains go on (Tieleman 2008)."""
    gibbs_steps: int = 1
    """Steps of Gibbs sampling in an update, the k of CD-k."""
    units: Units = "bernoulli"
    """Visible units: bernoulli (inputs scaled to [0, 1]) or gaussian (to mean 0 and variance 1)."""
    hidden_sizes: tuple[int, ...] = (128,)
    """Hidden units; of a stack those of each RBM, the lowest first."""
    layer_epochs: int = 10
    """Epochs before the next RBM of a stack begins to learn, on the hidden units of those below, which go on."""
    learning_rate: float = 1e-2
    """Step size at first, or the largest one of one-cycle."""
    network: BackboneName = "mlp"
    """The encoder that the weights are for: mlp, with sigmoid activations."""
    activation: str = "sigmoid"
    """Probabilities of binary hidden units: sigmoid."""
    init: Init = "xavier-normal"
    """Initial weights; any but lsuv."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fixed = {"network": "mlp", "activation": "sigmoid", "network_options": {}, "layer_norm": False, "mc_samples": 0}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} of an RBM must be {value or 'unset'}, got {getattr(self, name)}")
        if self.init == "lsuv":
            raise ValueError("init of an RBM must be any but lsuv, which scales activations")
        if self.units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {self.units!r}")
        if not self.hidden_sizes:
            raise ValueError("hidden_sizes must be one number or more, got none")
        for name in ("gibbs_steps", "layer_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


class Progress(nn.Module):
    """What training an RBM keeps from one update to the next: examples so far, and the chains [B, V] of each layer."""

    seen: Tensor

    def __init__(self, chains: list[Tensor]) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        for level, chain in enumerate(chains):
            self.register_buffer(f"chain{level}", chain)

    def chain(self, level: int) -> Tensor:
        """The visible units of the chains of a layer."""
        return self.get_buffer(f"chain{level}")


class Machine(OfObservations):
    """Fits a stack of RBMs, whose weights are those of the layers of an `MLP` with sigmoids."""

    name, Config, metric = "energy-rbm", RBMConfig, "score"
    sampling = ("steps",)
    config: RBMConfig
    network: FitNetwork

    def __init__(self, source: Source, config: RBMConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        levels = len(config.hidden_sizes)
        if (levels - 1) * config.layer_epochs >= source.epochs:
            raise ValueError(
                f"hidden_sizes of {levels} layers with layer_epochs {config.layer_epochs} need more than "
                f"{(levels - 1) * config.layer_epochs} epochs, got {source.epochs}"
            )
        backbone = self.backbone_of(self.generator)
        assert isinstance(backbone, MLP)
        step = max(len(self.train) // SAMPLE, 1)
        sample = backbone.read(self.inputs(self.train[::step]))
        stack = Stack([self._lowest(backbone, sample), *(RBM(_linear(layer)) for layer in backbone.layers[1:])])
        chains = [self._noise(rbm, config.batch_size, self.generator) for rbm in self._rbms(stack)]
        progress = Progress(chains if config.chosen_loss == "pcd" else [])
        self.network = ready(FitNetwork(backbone, {"stack": stack, "progress": progress}), device)
        self.stack = stack
        self.latent_size = config.hidden_sizes[-1]
        self.chosen = [_some(rbm.layer.in_features).to(device) for rbm in self._rbms(stack)]

    def _lowest(self, backbone: MLP, sample: Tensor) -> RBM:
        """The RBM over inputs, whose scale and first biases are those of a sample [N, V]."""
        layer = _linear(backbone.layers[0])
        if self.config.units == "gaussian":
            shift, scale = sample.mean(0), sample.std(0, correction=0)
        elif bool((sample >= 0).all() and (sample <= 1).all()):
            shift, scale = torch.zeros_like(sample[0]), torch.ones_like(sample[0])
        else:
            shift, scale = sample.amin(0), sample.amax(0) - sample.amin(0)
        scale = torch.where(scale > 1e-8, scale, torch.ones_like(scale))
        rbm = RBM(layer, units=self.config.units, shift=shift, scale=scale)
        with torch.no_grad():  # the weights were drawn for the units, and the layer reads inputs
            layer.weight.div_(scale)
            layer.bias.sub_(layer.weight @ shift)
            if self.config.units == "bernoulli":  # log odds (Hinton 2010)
                rbm.visible_bias.copy_(rbm.visible(sample).mean(0).clamp(0.01, 0.99).logit())
        return rbm

    @staticmethod
    def _rbms(stack: Stack) -> list[RBM]:
        return [stack[level] for level in range(len(stack))]

    @staticmethod
    def _noise(rbm: RBM, number: int, generator: torch.Generator) -> Tensor:
        """Visible units [number, V] that carry no information."""
        shape = number, rbm.layer.in_features
        if rbm.units == "gaussian":
            return torch.randn(shape, generator=generator, device=generator.device)
        return torch.randint(2, shape, generator=generator, device=generator.device).float()

    @property
    def learning(self) -> int:
        """Layers that learn now, from the lowest."""
        levels = len(self.stack)
        if levels == 1:
            return 1
        seen = int(self.network.heads["progress"].seen)
        return min(1 + seen // (self.config.layer_epochs * len(self.train)), levels)

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        config, progress = self.config, self.network.heads["progress"]
        inputs = self.network.backbone.read(self.augmented(batch.obs, generator))
        loss = torch.zeros((), device=self.device)
        for level in range(self.learning):
            rbm = self.stack[level]
            units = self.stack.up(inputs, level)
            start = progress.chain(level) if config.chosen_loss == "pcd" else units
            chain = rbm.gibbs(start, config.gibbs_steps, generator)
            if config.chosen_loss == "pcd":
                start.copy_(chain)
            loss = loss + rbm.divergence(units, chain)
        progress.seen += len(inputs)
        with torch.no_grad():
            units = self.stack.up(inputs, 0)
            error = (self.stack[0].reconstruction(units) - units).square().mean()
        return loss, {"error": error}

    def outputs(self, batch: Observations) -> Outputs:
        inputs = self.network.backbone.read(batch.obs)
        units = self.stack.up(inputs, 0)
        found = {"error": (self.stack[0].reconstruction(units) - units).square().mean(1)}
        found["free_energy"] = self.stack[0].free_energy(_binary(units, self.stack[0]))
        for level, chosen in enumerate(self.chosen):
            rbm = self.stack[level]
            units = _binary(self.stack.up(inputs, level), rbm)
            if rbm.units == "gaussian":
                found[f"score{level}"] = -rbm.score_matching(units)
            else:
                found[f"score{level}"] = rbm.log_pseudo_likelihood(units, chosen)
        return found

    def measures(self, outputs: Outputs) -> dict[str, float]:
        scores = {name: value.double().mean().item() for name, value in outputs.items() if name.startswith("score")}
        found = {"score": sum(scores.values()) / len(scores), "error": outputs["error"].double().mean().item()}
        if len(scores) > 1:
            found |= scores
        if self.stack[0].is_enumerable:
            energy = outputs["free_energy"].double().mean().item()
            found["log_likelihood"] = -energy - self.stack[0].log_partition()
        return found

    def decode(self, latent: Tensor) -> Tensor:
        """Inputs [B, V] whose hidden units of the highest RBM have the probabilities [B, H]."""
        for level in range(len(self.stack) - 1, -1, -1):
            latent = self.stack[level].visible_mean(latent)
        return self.stack[0].inputs(latent)

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Inputs [number, V] after Gibbs steps from noise: means given the last hidden units.

        Of observations that are bits they are drawn from those means.
        """
        rbm, steps = self.stack[0], CHAIN if self.draws.steps is None else self.draws.steps
        means = self.stack.sample(rbm.inputs(self._noise(rbm, number, generator)), steps, generator)
        return drawn(means, generator) if isinstance(self.observation_space, spaces.MultiBinary) else means

    def observed(self, values: Tensor) -> Obs:
        return from_vector(self.observation_space, values)

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        if self.layout is None:
            return {}
        rbm, number = self.stack[0], min(SHOWN, len(self.test))
        generator = torch.Generator(self.device).manual_seed(0)
        with torch.no_grad():
            inputs = self.network.backbone.read(self.batch(self.test[:number]).obs)
            restored = rbm.inputs(rbm.reconstruction(rbm.visible(inputs)))
            samples = self.drawn(number, generator)
            weight = rbm.weight
            columns = max(int(min(len(weight), FILTERS) ** 0.5), 1)
            largest = weight.norm(dim=1).argsort(descending=True)[: columns**2]
        rows = torch.stack([self._images(part) for part in (inputs, restored, samples)])
        filters = self._images(weight[largest])
        return {
            "samples": Grid.grey(rows, ("examples", "reconstructed", "samples")),
            "filters": Grid.grey(filters.view(columns, columns, *filters.shape[1:]), ("",) * columns),
        }

    def _images(self, vectors: Tensor) -> Tensor:
        """Vectors [N, V] as grey images [N, H, W], the mean of their channels."""
        assert self.layout is not None
        return self.layout.to_planes(vectors.cpu().reshape(-1, *self.layout.shape)).mean(1)


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


def _binary(units: Tensor, rbm: RBM) -> Tensor:
    """Units of which likelihoods are measured: 0 or 1 if they are Bernoulli."""
    return units if rbm.units == "gaussian" else units.round()


def _some(units: int) -> Tensor:
    """Up to `MEASURED` of so many units, always the same."""
    return torch.randperm(units, generator=torch.Generator().manual_seed(0))[:MEASURED].sort().values
