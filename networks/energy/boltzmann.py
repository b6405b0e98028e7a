"""A Boltzmann machine of a few units, whose distribution is computed by enumeration or sampled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gymnast.networks.energy.states import LARGEST, states


class Boltzmann(nn.Module):
    """Binary units s with energy -b s - s J s / 2 (Ackley, Hinton & Sejnowski 1985).

    J is symmetric and connects every unit with every other. V visible units come first, then H hidden ones, over which
    the probability of a visible state is a sum.

    Raises:
        ValueError: no visible units, a negative number of hidden ones, or more than `LARGEST` units.
    """

    rows: Tensor
    every: Tensor

    def __init__(self, visible: int, hidden: int = 0, *, generator: torch.Generator) -> None:
        super().__init__()
        if visible < 1 or hidden < 0 or visible + hidden > LARGEST:
            raise ValueError(
                f"a Boltzmann machine has 1 visible unit or more and at most {LARGEST} in all, "
                f"got {visible} visible and {hidden} hidden"
            )
        units = visible + hidden
        self.visible, self.hidden = visible, hidden
        self.pairs = nn.Parameter(0.1 * torch.randn(units * (units - 1) // 2, generator=generator))
        """J above its diagonal, row by row."""
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("rows", torch.triu_indices(units, units, 1), persistent=False)
        self.register_buffer("every", states(units, dtype=torch.float32), persistent=False)

    @property
    def weight(self) -> Tensor:
        """J, [V + H, V + H]."""
        above = torch.zeros(len(self.bias), len(self.bias), device=self.bias.device)
        above = above.index_put((self.rows[0], self.rows[1]), self.pairs)
        return above + above.T

    def energy(self, units: Tensor) -> Tensor:
        """Energy of states of all units [B, V + H], [B]."""
        return -(units @ self.bias) - ((units @ self.weight) * units).sum(1) / 2

    def log_probability(self) -> Tensor:
        """log p of every state of the visible units, in the order of `states`, [2^V]; exact, and has a gradient."""
        logs = -self.energy(self.every).view(2**self.visible, 2**self.hidden)
        return logs.logsumexp(1) - logs.flatten().logsumexp(0)

    @torch.no_grad()
    def gibbs(self, units: Tensor, sweeps: int, generator: torch.Generator, *, clamped: bool = False) -> Tensor:
        """States of all units [B, V + H] after so many sweeps over them in order; `clamped` visible units stay."""
        units, weight = units.clone(), self.weight
        for _ in range(sweeps):
            for unit in range(self.visible if clamped else 0, units.shape[1]):
                chance = (units @ weight[unit] + self.bias[unit]).sigmoid()
                drawn = torch.rand(chance.shape, generator=generator, device=chance.device)
                units[:, unit] = (drawn < chance).to(units.dtype)
        return units

    def divergence(self, clamped: Tensor, free: Tensor) -> Tensor:
        """Mean energy of states with data in their visible units, less that of free ones, both [B, V + H].

        Its gradient is the learning rule of Ackley et al.: products of units in the free phase less those in the
        clamped one.
        """
        return self.energy(clamped.detach()).mean() - self.energy(free.detach()).mean()

    def phases(self, data: Tensor, sweeps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States [B, V + H] sampled with the data [B, V] clamped, and free ones that start from them."""
        start = torch.rand(len(data), self.hidden, generator=generator, device=data.device).round()
        clamped = torch.cat([data, start], 1)
        if self.hidden:
            clamped = self.gibbs(clamped, sweeps, generator, clamped=True)
        return clamped, self.gibbs(clamped, sweeps, generator)
