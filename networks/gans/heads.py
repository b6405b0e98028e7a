"""Heads of a discriminator, over the features of its backbone."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gymnast.networks.autoencoders.variational import Normal
from gymnast.networks.gans.minibatch import MinibatchDiscrimination
from gymnast.networks.layers.init import initialise

Condition = Literal["projection", "concatenation"]
CONDITIONS: tuple[str, ...] = get_args(Condition)
HIDDEN = 128
"""Units of a layer between features and output."""
VECTOR = 8
"""Numbers of each vector of minibatch discrimination."""


class Score(nn.Module):
    """Features [B, F] to scores [B]; high ones mean real.

    With `kernels` of minibatch discrimination it sees the other examples of the batch too. `condition` is how it reads
    a condition [B, C]: `projection` adds the product of the features and a linear map of it (Miyato & Koyama 2018, eq.
    3), `concatenation` puts both through a hidden layer (Mirza & Osindero 2014).
    """

    def __init__(
        self,
        features: int,
        *,
        kernels: int = 0,
        conditions: int = 0,
        condition: Condition = "projection",
        init: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.minibatch: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        self.hidden: nn.Module = nn.Identity()
        self.projects = bool(conditions) and condition == "projection"
        self.kernels, width = kernels, features + kernels
        if self.projects:
            self.projection = nn.Linear(conditions, features, bias=False)
        elif conditions:
            self.hidden = nn.Sequential(nn.Linear(width + conditions, HIDDEN), nn.LeakyReLU(0.2))
            width = HIDDEN
        self.output = nn.Linear(width, 1)
        initialise(self, init, activation="leaky-relu", generator=generator)
        if kernels:
            self.minibatch = MinibatchDiscrimination(features, kernels, VECTOR, generator=generator)

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        given = torch.cat([features, self.minibatch(features)], 1) if self.kernels else features
        if condition is None:
            score: Tensor = self.output(given)
        elif self.projects:
            score = self.output(given) + (self.projection(condition) * features).sum(1, keepdim=True)
        else:
            score = self.output(self.hidden(torch.cat([given, condition], 1)))
        return score.squeeze(1)


class Codes(nn.Module):
    """What features [B, F] say about the codes that an example was generated from (Q of Chen et al. 2016).

    A code is one of `categories` (none if 0), and `numbers` that are uniform between -1 and 1.
    """

    def __init__(self, features: int, categories: int, numbers: int, *, init: str, generator: torch.Generator) -> None:
        super().__init__()
        self.categories, self.numbers = categories, numbers
        self.hidden = nn.Sequential(nn.Linear(features, HIDDEN), nn.LeakyReLU(0.2))
        self.output = nn.Linear(HIDDEN, categories + 2 * numbers)
        initialise(self, init, activation="leaky-relu", generator=generator)

    @property
    def size(self) -> int:
        """Numbers of a code: a category is one-hot."""
        return self.categories + self.numbers

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Codes [number, size] from the prior."""
        device = generator.device
        drawn = torch.rand(number, self.numbers, generator=generator, device=device) * 2 - 1
        if not self.categories:
            return drawn
        category = torch.randint(self.categories, (number,), generator=generator, device=device)
        return torch.cat([nn.functional.one_hot(category, self.categories).float(), drawn], 1)

    def log_density(self, features: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Of codes [B, size] given features: log probabilities of the categories [B], and densities of the numbers."""
        category, numbers = torch.split(codes, [self.categories, self.numbers], 1)
        parts = self.output(self.hidden(features))
        logits, parameters = torch.split(parts, [self.categories, 2 * self.numbers], 1)
        return (category * logits.log_softmax(1)).sum(1), Normal.of(parameters).log_density(numbers)
