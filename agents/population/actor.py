"""How a population acts: all members at once, each in its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.agents.population.noise import Noise
from gymnast.envs.step import Obs
from gymnast.networks.distributions.choice_kernel import draw
from gymnast.networks.distributions.choices import Categorical
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.stacked.norm import StackedNorm
from gymnast.networks.stacked.policy import StackedActorCritic

LARGEST = 1.0 - 2.0**-20
"""Upper bound of uniform numbers for choices on a device: times a sum of probabilities it is below that sum."""


class PopulationActor:
    """Acts with shared parameters [M, P] in M * N rows; the observations determine N.

    While sampling it records the values that learning needs; otherwise it takes the most probable actions.
    """

    def __init__(
        self,
        network: StackedActorCritic,
        distribution: Distribution,
        parameters: Tensor,
        noise: Noise,
        *,
        norm: StackedNorm | None,
        draws: bool,
        masks: bool,
    ) -> None:
        self.network, self.distribution, self.parameters, self.norm = network, distribution, parameters, norm
        self.noise, self.draws, self.masks = noise, draws, masks

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators of its noise; a recording must know them."""
        return self.noise.generators

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        output, value = self.network(self.parameters, obs if self.norm is None else self.norm(obs))
        rows = output.shape[1]
        output, value = output.flatten(0, 1), value.flatten(0, 1)  # [M * N, ...]
        mask = action_mask if self.masks else None
        if mask is not None:
            output = self.distribution.masked(output, mask)
        if not self.draws:
            return Acted(self.distribution.to_env(self.distribution.mode(output)))
        if isinstance(self.distribution, Categorical):
            raw, log_prob = chosen(output, self.noise.uniform(rows).flatten())
        else:
            raw = drawn(output, self.noise.normal(rows, *self.distribution.shape).flatten(0, 1))
            log_prob = self.distribution.log_prob(output, raw)
        return Acted(self.distribution.to_env(raw), log_prob, value, raw=raw, mask=mask)

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])


def chosen(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Choices int64 [R] in proportion to exp(logits [R, A]) by uniform numbers [R], and their log-probabilities."""
    if not logits.is_cpu:
        return chosen_on_device(logits, uniform)
    choice, log_prob = draw(logits.numpy(), uniform.numpy())
    return torch.from_numpy(choice), torch.from_numpy(log_prob)


def chosen_on_device(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Like `chosen`, by functions of tensors only."""
    log_probability = logits.log_softmax(-1)
    below = log_probability.exp().cumsum(-1)
    at = uniform.clamp(max=LARGEST).unsqueeze(-1) * below[:, -1:]
    raw = (below <= at).sum(-1)  # the first whose sum is above
    return raw, log_probability.gather(-1, raw.unsqueeze(-1)).squeeze(-1)


def drawn(output: Tensor, noise: Tensor) -> Tensor:
    """Normal numbers [R, D] of means and log standard deviations [R, 2 D], by standard normal ones."""
    mean, log_std = output.chunk(2, -1)
    return torch.addcmul(mean, log_std.exp(), noise)
