"""Random orders of examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Passes:
    """Endless passes over examples, each in a new random order; a batch may begin in one pass and end in the next."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        """On the CPU."""
        self._rest = torch.zeros(0, dtype=torch.int64)

    def draw(self, size: int, count: int) -> Tensor:
        """The next `size` of the numbers 0 <= i < count, int64 [size]; the same `count` until `restart`."""
        parts, missing = [], size
        while missing:
            if not len(self._rest):
                self._rest = torch.randperm(count, generator=self.generator)
            parts.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(parts[-1])
        return torch.cat(parts)

    def restart(self) -> None:
        """Begin the next batch with a new pass: of other examples, perhaps."""
        self._rest = self._rest[:0]

    def state_dict(self) -> dict[str, Any]:
        """The numbers that are left of a pass, and the generator."""
        return {"rest": self._rest.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rest = state["rest"].clone()
        self.generator.set_state(state["generator"].cpu())
