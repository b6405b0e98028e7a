"""A restricted Boltzmann machine: visible and hidden units, and no weights inside either layer."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.energy.states import LARGEST, states

Units = Literal["bernoulli", "gaussian"]
UNITS: tuple[str, ...] = get_args(Units)
CELLS = 2**22
"""Numbers that the pseudo-likelihood holds at once, at most."""


class RBM(nn.Module):
    """Visible units v and binary hidden units h with energy -b v - c h - h W v (Smolensky 1986; Hinton 2002).

    Bernoulli visible units are 0 or 1; data in between count as probabilities. Gaussian ones have unit variance: in
    their energy |v - b|^2 / 2 takes the place of -b v (Welling et al. 2005).

    The weights are those of `layer`, which reads inputs x as they are in the data. The units are v = (x - shift) /
    scale, so `sigmoid(layer(x))` is the probability of the hidden units, and the layer can begin an encoder.

    Args:
        layer: from V inputs to H hidden units.
        units: kind of the visible units.
        shift: of the inputs, [V]; 0 by default.
        scale: of the inputs, [V]; 1 by default.

    Raises:
        ValueError: another kind of units.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, layer: nn.Linear, *, units: Units = "bernoulli", shift: Tensor | None = None, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {units!r}")
        self.layer, self.units = layer, units
        like = layer.weight.detach()[0]
        self.visible_bias = nn.Parameter(torch.zeros_like(like))
        self.register_buffer("shift", torch.zeros_like(like) if shift is None else shift.to(like))
        self.register_buffer("scale", torch.ones_like(like) if scale is None else scale.to(like))

    @property
    def weight(self) -> Tensor:
        """W between units, [H, V]."""
        return self.layer.weight * self.scale

    @property
    def hidden_bias(self) -> Tensor:
        """c of the hidden units, [H]."""
        return self.layer.bias + self.layer.weight @ self.shift

    def visible(self, inputs: Tensor) -> Tensor:
        """Inputs [B, V] as visible units."""
        return (inputs - self.shift) / self.scale

    def inputs(self, visible: Tensor) -> Tensor:
        """Visible units [B, V] as inputs."""
        return visible * self.scale + self.shift

    def hidden_logits(self, visible: Tensor) -> Tensor:
        """Log odds [B, H] of the hidden units given the visible ones [B, V]."""
        logits: Tensor = self.layer(self.inputs(visible))
        return logits

    def visible_mean(self, hidden: Tensor) -> Tensor:
        """Means [B, V] of the visible units given the hidden ones [B, H]."""
        total = self.visible_bias + (hidden @ self.layer.weight) * self.scale
        return total.sigmoid() if self.units == "bernoulli" else total

    def sample_hidden(self, visible: Tensor, generator: torch.Generator) -> Tensor:
        """Hidden units [B, H] drawn given the visible ones."""
        return drawn(self.hidden_logits(visible).sigmoid(), generator)

    def sample_visible(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Visible units [B, V] drawn given the hidden ones."""
        mean = self.visible_mean(hidden)
        if self.units == "bernoulli":
            return drawn(mean, generator)
        return mean + torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)

    @torch.no_grad()
    def gibbs(self, visible: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Visible units [B, V] after so many steps of block Gibbs sampling from these."""
        for _ in range(steps):
            visible = self.sample_visible(self.sample_hidden(visible, generator), generator)
        return visible

    def free_energy(self, visible: Tensor) -> Tensor:
        """F(v) = -log of the sum of exp(-E(v, h)) over h, [B]."""
        if self.units == "bernoulli":
            own = -(visible @ self.visible_bias)
        else:
            own = (visible - self.visible_bias).square().sum(1) / 2
        return own - functional.softplus(self.hidden_logits(visible)).sum(1)

    def divergence(self, data: Tensor, chain: Tensor) -> Tensor:
        """Mean free energy of data less that of samples of the model, both visible units; its gradient learns.

        With samples of k Gibbs steps from the data the gradient is that of contrastive divergence (Hinton 2002), with
        those of a chain that goes on over the updates that of persistent one (Tieleman 2008).
        """
        return self.free_energy(data).mean() - self.free_energy(chain.detach()).mean()

    def reconstruction(self, visible: Tensor) -> Tensor:
        """Means [B, V] of the visible units given the probabilities of the hidden ones."""
        return self.visible_mean(self.hidden_logits(visible).sigmoid())

    @torch.no_grad()
    def log_partition(self) -> float:
        """log Z, by a sum over all states of the hidden units, or of the visible ones if they are fewer and binary.

        Raises:
            ValueError: more than `LARGEST` units in both.
        """
        weight, bias, hidden_bias = self.weight.double(), self.visible_bias.double(), self.hidden_bias.double()
        count, width = weight.shape
        if self.units == "bernoulli" and width < count:
            every = states(width).to(weight.device)
            logs = every @ bias + functional.softplus(every @ weight.T + hidden_bias).sum(1)
        else:
            every = states(count).to(weight.device)
            total = bias + every @ weight
            logs = every @ hidden_bias
            if self.units == "bernoulli":
                logs = logs + functional.softplus(total).sum(1)
            else:
                logs = logs + (total.square() - bias.square()).sum(1) / 2 + width * math.log(2 * math.pi) / 2
        return float(logs.logsumexp(0))

    @property
    def is_enumerable(self) -> bool:
        """Whether `log_partition` can be computed."""
        count, width = self.layer.weight.shape
        return count <= LARGEST or (self.units == "bernoulli" and width <= LARGEST)

    @torch.no_grad()
    def log_likelihood(self, visible: Tensor) -> Tensor:
        """log p(v) of units [B, V], [B], exact; ValueError as `log_partition`."""
        return -self.free_energy(visible).double() - self.log_partition()

    @torch.no_grad()
    def log_pseudo_likelihood(self, visible: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Mean of log p(v_i | all other units) over the units `chosen` (all by default), [B] (Besag 1975).

        The visible units are Bernoulli and 0 or 1. A unit that is a coin has log 0.5, about -0.69.

        Raises:
            ValueError: Gaussian units, which have none in closed form.
        """
        if self.units != "bernoulli":
            raise ValueError(f"the pseudo-likelihood is of bernoulli units, and these are {self.units}")
        index = torch.arange(visible.shape[1], device=visible.device) if chosen is None else chosen
        weight, logits = self.weight, self.hidden_logits(visible)
        now = functional.softplus(logits).sum(1, keepdim=True)
        total = torch.zeros(len(visible), dtype=torch.float64, device=visible.device)
        for part in torch.split(index, max(CELLS // logits.numel(), 1)):
            change = 1 - 2 * visible[:, part]  # [B, P]
            flipped = logits.unsqueeze(1) + change.unsqueeze(2) * weight[:, part].T
            gain = change * self.visible_bias[part] + functional.softplus(flipped).sum(2) - now
            total += functional.logsigmoid(-gain).double().sum(1)
        return total / len(index)

    def score_matching(self, visible: Tensor) -> Tensor:
        """Score matching objective of each example of Gaussian units, mean over the units, [B]; smaller is better.

        It differs from the Fisher divergence between data and model by a constant of the data (Hyvärinen 2005).

        Raises:
            ValueError: Bernoulli units, which have no score.
        """
        if self.units != "gaussian":
            raise ValueError(f"score matching is of gaussian units, and these are {self.units}")
        probability = self.hidden_logits(visible).sigmoid()
        score = self.visible_mean(probability) - visible
        curvature = (probability * (1 - probability)) @ self.weight.square() - 1
        return (score.square() / 2 + curvature).mean(1)


def drawn(probability: Tensor, generator: torch.Generator) -> Tensor:
    """Units that are 1 with these probabilities, else 0."""
    chance = torch.rand(probability.shape, generator=generator, device=probability.device, dtype=probability.dtype)
    return (chance < probability).to(probability.dtype)
