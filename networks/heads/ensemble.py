"""Several heads on one backbone, and the fixed random networks that are added to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.heads.q import DuelingHead, ImplicitHead, QHead, QNetwork
from gymnast.networks.layers.inputs import Obs


class EnsembleHead(nn.Module):
    """H heads side by side: features [B, F] to [B, A, H * K].

    The gradient that enters the features is `share` times the sum of theirs, by default their mean, as in Osband et al.
    2016, section 6.1.
    """

    def __init__(self, heads: Sequence[QHead | DuelingHead | ImplicitHead], *, share: float | None = None) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.share = 1.0 / len(heads) if share is None else share
        self._inner_scale = heads[0].gradient_scale

    @property
    def gradient_scale(self) -> float:
        """Factor of the gradient that enters the features, beside that of a sum over heads."""
        return self._inner_scale * self.share

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        features = torch.lerp(features.detach(), features, self.share)  # the same numbers
        return torch.cat([head(features, noise) for head in self.heads], 2)


class PriorNetwork(QNetwork):
    """A network of H heads, to each of which a fixed random function, times `scale`, is added (Osband et al. 2018).

    `prior` maps observations to one number per action and head, [B, A, H], which moves all `quantiles` of a head alike.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: EnsembleHead,
        prior: QNetwork,
        *,
        scale: float,
        quantiles: int,
        noise_size: int = 0,
        fractions: int = 0,
    ) -> None:
        super().__init__(backbone, head, noise_size=noise_size, fractions=fractions)
        self.prior, self.scale, self.quantiles = prior.requires_grad_(False), scale, quantiles

    def outputs(self, obs: Obs, features: Tensor, noise: Tensor | None = None) -> Tensor:
        output = super().outputs(obs, features, noise)  # [B, A, H * K]
        prior: Tensor = self.prior(obs).unsqueeze(3).expand(-1, -1, -1, self.quantiles)
        each = output.shape[2] // prior.shape[2]  # with the fractions of implicit quantiles, which stay
        return torch.add(output, functional.pad(prior, (0, each - self.quantiles)).flatten(2), alpha=self.scale)
