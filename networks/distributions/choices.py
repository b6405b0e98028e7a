"""Distributions over choices: one of several, several of them, or bits."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.networks.distributions.counted import gumbel

BLOCKED = -1e8
"""The logit of a choice that may not be taken: its probability is exactly 0, yet every number stays finite."""
ABSENT = 2 * BLOCKED
"""The logit of a choice that does not exist: not taken even if all existing ones are blocked."""
SMALLEST = 2.0**-25
"""Replaces an exponential number of 0, so that its logarithm is finite."""


class Categorical:
    """One logit for each of the actions of a Discrete space."""

    scales = 0
    shape: tuple[int, ...] = ()
    dtype = torch.int64

    def __init__(self, space: spaces.Discrete) -> None:
        self.outputs, self.start = int(space.n), int(space.start)
        self.env_dtype = torch_dtype(space)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return self.act(output, generator)[0]

    @property
    def uniforms(self) -> int:
        return self.outputs

    def drawn_by(self, output: Tensor, uniform: Tensor) -> Tensor:
        return (output + gumbel(uniform)).argmax(-1)

    def mode(self, output: Tensor) -> Tensor:
        return output.argmax(-1)

    def log_prob(self, output: Tensor, raw: Tensor) -> Tensor:
        return _chosen(output.log_softmax(-1), raw)

    def entropy(self, output: Tensor) -> Tensor:
        return _entropy(output.log_softmax(-1))

    def act(self, output: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if output.is_cpu and output.dim() == 2 and output.dtype == torch.float32:
            from gymnast.networks.distributions.choice_kernel import draw  # loads Numba

            choice, chosen = draw(output.detach().numpy(), torch.rand(len(output), generator=generator).numpy())
            return torch.from_numpy(choice), torch.from_numpy(chosen)
        log_probability = output.log_softmax(-1)
        raw = _drawn(log_probability, generator)
        return raw, _chosen(log_probability, raw)

    def log_prob_entropy(self, output: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_probability = output.log_softmax(-1)
        return _chosen(log_probability, raw), _entropy(log_probability)

    def kl(self, output: Tensor, other: Tensor) -> Tensor:
        return _kl(output.log_softmax(-1), other.log_softmax(-1))

    def masked(self, output: Tensor, mask: Tensor | None) -> Tensor:
        return _masked(output, mask)

    def to_env(self, raw: Tensor) -> Tensor:
        return (raw + self.start if self.start else raw).to(self.env_dtype)


class MultiCategorical:
    """Independent choices, their logits one after the other: the parts of a MultiDiscrete space, flattened."""

    scales = 0
    dtype = torch.int64

    def __init__(self, space: spaces.MultiDiscrete, *, device: torch.device) -> None:
        sizes = np.asarray(space.nvec).flatten()
        self.outputs = int(sizes.sum())
        self.shape: tuple[int, ...] = (len(sizes),)
        self.env_shape, self.env_dtype = space.shape, torch_dtype(space)
        self.start = torch.from_numpy(np.asarray(space.start).flatten().astype(np.int64)).to(device)  # [n]
        self.widest = int(sizes.max())
        column = np.arange(self.widest)
        first = np.cumsum(sizes) - sizes
        index = np.where(column < sizes[:, None], first[:, None] + column, self.outputs)  # [n, C]
        self.index = torch.from_numpy(index.flatten()).to(device)  # columns of the padded outputs
        self.even = bool((sizes == sizes.max()).all())

    def _logits(self, output: Tensor) -> Tensor:
        """Outputs [..., P] to [..., n, C]; smaller parts are padded with absent choices."""
        parts = (self.shape[0], -1)
        if self.even:
            return output.unflatten(-1, parts)  # type: ignore[no-any-return, no-untyped-call]
        padded = functional.pad(output, (0, 1), value=ABSENT)
        return padded.index_select(-1, self.index).unflatten(-1, parts)  # type: ignore[no-any-return, no-untyped-call]

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return _drawn(self._logits(output).log_softmax(-1), generator)

    @property
    def uniforms(self) -> int:
        return self.shape[0] * self.widest

    def drawn_by(self, output: Tensor, uniform: Tensor) -> Tensor:
        logits = self._logits(output)
        return (logits + gumbel(uniform).view(-1, self.shape[0], self.widest)).argmax(-1)

    def mode(self, output: Tensor) -> Tensor:
        return self._logits(output).argmax(-1)

    def log_prob(self, output: Tensor, raw: Tensor) -> Tensor:
        return _chosen(self._logits(output).log_softmax(-1), raw).sum(-1)

    def entropy(self, output: Tensor) -> Tensor:
        return _entropy(self._logits(output).log_softmax(-1)).sum(-1)

    def act(self, output: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        log_probability = self._logits(output).log_softmax(-1)
        raw = _drawn(log_probability, generator)
        return raw, _chosen(log_probability, raw).sum(-1)

    def log_prob_entropy(self, output: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_probability = self._logits(output).log_softmax(-1)
        return _chosen(log_probability, raw).sum(-1), _entropy(log_probability).sum(-1)

    def kl(self, output: Tensor, other: Tensor) -> Tensor:
        return _kl(self._logits(output).log_softmax(-1), self._logits(other).log_softmax(-1)).sum(-1)

    def masked(self, output: Tensor, mask: Tensor | None) -> Tensor:
        return _masked(output, mask)

    def to_env(self, raw: Tensor) -> Tensor:
        return reshaped((raw + self.start).to(self.env_dtype), self.env_shape)


class Bernoulli:
    """Independent bits of a MultiBinary space, flattened: the logit of each being 1. A blocked one is 0."""

    scales = 0
    dtype = torch.int64

    def __init__(self, space: spaces.MultiBinary) -> None:
        self.outputs = math.prod(space.shape)
        self.shape: tuple[int, ...] = (self.outputs,)
        self.env_shape, self.env_dtype = space.shape, torch_dtype(space)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(output.shape, generator=generator, dtype=output.dtype, device=output.device)
        return (drawn < output.sigmoid()).long()

    @property
    def uniforms(self) -> int:
        return self.outputs

    def drawn_by(self, output: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < output.sigmoid()).long()

    def mode(self, output: Tensor) -> Tensor:
        return (output > 0).long()

    def log_prob(self, output: Tensor, raw: Tensor) -> Tensor:
        return functional.logsigmoid(torch.where(raw > 0, output, -output)).sum(-1)

    def entropy(self, output: Tensor) -> Tensor:
        size = output.abs()  # H(l) = H(-l): no difference of large numbers
        return (functional.softplus(-size) + size * torch.sigmoid(-size)).sum(-1)

    def act(self, output: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        raw = self.sample(output, generator)
        return raw, self.log_prob(output, raw)

    def log_prob_entropy(self, output: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_prob(output, raw), self.entropy(output)

    def kl(self, output: Tensor, other: Tensor) -> Tensor:
        one, two = (torch.stack([x, -x], -1) for x in (output, other))
        return _kl(functional.logsigmoid(one), functional.logsigmoid(two)).sum(-1)

    def masked(self, output: Tensor, mask: Tensor | None) -> Tensor:
        return _masked(output, mask)

    def to_env(self, raw: Tensor) -> Tensor:
        return reshaped(raw.to(self.env_dtype), self.env_shape)


def _drawn(log_probability: Tensor, generator: torch.Generator) -> Tensor:
    """Choices of those probabilities, [..., C] to int64 [...]: the first of exponential clocks to ring."""
    clock = torch.empty_like(log_probability).exponential_(generator=generator).clamp_(min=SMALLEST)
    return (log_probability - clock.log_()).argmax(-1)


def _chosen(log_probability: Tensor, raw: Tensor) -> Tensor:
    """Of each row, [..., C] and [...] to [...]."""
    return log_probability.gather(-1, raw.unsqueeze(-1)).squeeze(-1)


def _entropy(log_probability: Tensor) -> Tensor:
    return -(log_probability.exp() * log_probability).sum(-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL divergence [...] of log-probabilities [..., C]."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _masked(output: Tensor, mask: Tensor | None) -> Tensor:
    return output if mask is None else torch.where(mask, output, BLOCKED)


def reshaped(action: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Actions [..., n] as [..., *shape]."""
    return action.reshape(*action.shape[:-1], *shape)


def torch_dtype(space: gym.Space[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, space.dtype)).dtype
