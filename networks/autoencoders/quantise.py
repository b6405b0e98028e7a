"""Vector quantisation with a codebook of running means (van den Oord et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEAD = 0.5
"""Running count of a code, in uses a batch, below which it is replaced."""
GONE = 1e-6
"""Running count below which a code means nothing."""


class Quantiser(nn.Module):
    """Vectors [N, D] as the nearest of K codes, which follow the means of what they stand for (appendix A.1).

    A code that batches use less than half a time on average becomes one of their vectors (Dhariwal et al. 2020).
    The first batch gives all codes their first values. With `apart` a vector becomes a code only if its squared
    distance from all others is more than this share of the vectors' variance, and codes without any use are no choice:
    otherwise codes that differ by next to nothing take each other's place for ever, and no model could predict which.
    """

    codes: Tensor
    """float32 [K, D]."""
    counts: Tensor
    """Running number of vectors of a batch with each code, float32 [K]; all 0 before the first batch."""
    sums: Tensor
    """Running sums of those vectors, float32 [K, D]."""

    def __init__(self, codes: int, size: int, *, decay: float, apart: float = 0.0) -> None:
        super().__init__()
        self.decay, self.apart = decay, apart
        self.register_buffer("codes", torch.zeros(codes, size))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, size))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Numbers of the nearest codes, int64 [N]."""
        distance = self.codes.square().sum(1) - 2 * vectors @ self.codes.T
        if self.apart:
            distance = distance.masked_fill(self.counts < GONE, torch.inf)
        return distance.argmin(1)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The codes [N, D], whose gradient goes to the vectors unchanged, and their numbers int64 [N]."""
        index = self.nearest(vectors)
        chosen = self.codes[index]
        return vectors + (chosen - vectors).detach(), index

    @torch.no_grad()
    def follow(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Move the codes towards the means of the vectors [N, D] that have them, and replace the dead ones."""
        if not self.counts.any():
            self._restart(torch.ones_like(self.counts, dtype=torch.bool), vectors, generator)
        index = self.nearest(vectors)
        counts = torch.bincount(index, minlength=len(self.codes)).to(vectors.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, index, vectors)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.codes.copy_(self.sums / self.counts.clamp(min=GONE).unsqueeze(1))
        self._restart(self.counts < DEAD, vectors, generator)

    def _restart(self, dead: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        """Give dead codes, bool [K], the values of drawn vectors and a count of 1."""
        drawn = vectors[torch.randint(len(vectors), (len(dead),), generator=generator, device=vectors.device)]
        if self.apart:
            dead = dead & self._far(drawn, dead, self.apart * vectors.var(0, correction=0).sum())
        mask = dead.unsqueeze(1)
        self.codes.copy_(torch.where(mask, drawn, self.codes))
        self.sums.copy_(torch.where(mask, drawn, self.sums))
        self.counts.copy_(torch.where(dead, torch.ones_like(self.counts), self.counts))

    def _far(self, drawn: Tensor, dead: Tensor, least: Tensor) -> Tensor:
        """Which of K vectors, one for each code, lie further than `least`, squared, from the codes and those before."""
        near = (torch.cdist(drawn, self.codes).square() <= least) & (self.counts >= GONE)
        twins = (torch.cdist(drawn, drawn).square() <= least).tril(-1) & dead
        return ~(near | twins).any(1)
