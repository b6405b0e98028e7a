"""An autoregressive prior over the codes of an example (van den Oord et al. 2017, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.layers.init import initialise


class CodePrior(nn.Module):
    """The distribution of P numbers of K codes, each given those before it, by a GRU (Cho et al. 2014).

    The GRU reads the code before each place, and which place it is, for a place may have codes of its own. In a grid of
    `columns`, row by row, it also reads the code above.
    """

    def __init__(
        self, codes: int, places: int, units: int, *, columns: int = 0, init: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.codes, self.places, self.columns = codes, places, columns
        self.before = nn.Embedding(codes + 1, units)
        """The last one stands for the beginning."""
        if columns:
            self.above = nn.Embedding(codes + 1, units)
            """The last one stands for the edge."""
        self.place = nn.Embedding(places, units)
        self.layer = nn.GRU(units, units, batch_first=True)
        self.output = nn.Linear(units, codes)
        initialise(self, init, activation=None, generator=generator)
        nn.init.zeros_(self.output.weight)  # every code is as likely as any other at first

    def forward(self, index: Tensor) -> Tensor:
        """Negative log-likelihoods [B] in nats of codes int64 [B, P]."""
        begin = index.new_full((len(index), 1), self.codes)
        inputs = self.before(torch.cat([begin, index[:, :-1]], 1)) + self.place.weight
        if self.columns:
            inputs = inputs + self.above(torch.cat([begin.expand(-1, self.columns), index[:, : -self.columns]], 1))
        logits = self.output(self.layer(inputs)[0])
        return functional.cross_entropy(logits.transpose(1, 2), index, reduction="none").sum(1)

    @torch.no_grad()
    def sample(self, number: int, generator: torch.Generator) -> Tensor:
        """Codes int64 [number, P], drawn one place after the other."""
        begin = torch.full((number, 1), self.codes, dtype=torch.int64, device=self.place.weight.device)
        state, drawn = None, [begin]
        for place in range(self.places):
            inputs = self.before(drawn[-1]) + self.place.weight[place]
            if self.columns:
                inputs = inputs + self.above(drawn[place + 1 - self.columns] if place >= self.columns else begin)
            output, state = self.layer(inputs, state)
            drawn.append(torch.multinomial(self.output(output[:, 0]).softmax(1), 1, generator=generator))
        return torch.cat(drawn[1:], 1)
