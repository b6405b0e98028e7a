"""The state of a dream over codes: the last observations' codes and what led to them, as rows of numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gymnast.networks.world_models.token_world import ABSENT, BEGINS, FOLLOWS


class Context:
    """Up to `steps` time steps as float32 [N, M]: of each its kind, the action before it [A] and its codes [K].

    The newest is the last; absent ones come first.
    """

    def __init__(self, *, steps: int, places: int, action_size: int) -> None:
        self.steps, self.places, self.action_size = steps, places, action_size
        self.size = 1 + action_size + places
        """Numbers of a time step."""

    def empty(self, rows: int, *, device: torch.device) -> Tensor:
        """Contexts without a time step."""
        return torch.zeros((rows, self.steps * self.size), device=device)

    def new(self, codes: Tensor) -> Tensor:
        """Contexts of new episodes, after their first observations' codes [N, K]."""
        action = torch.zeros((len(codes), self.action_size), device=codes.device)
        return self._added(self.empty(len(codes), device=codes.device), BEGINS, codes, action)

    def followed(self, state: Tensor, codes: Tensor, action: Tensor) -> Tensor:
        """Contexts after actions [N, A] and codes [N, K]; the oldest time step is dropped."""
        return self._added(state, FOLLOWS, codes, action)

    def opened(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes int64 [N, T, K], actions [N, T, A], kinds int64 [N, T], without steps that are absent in all rows."""
        steps = state.view(len(state), self.steps, self.size)
        kind = steps[..., 0].long()
        first = int((kind == ABSENT).all(0).sum())
        steps = steps[:, first:]
        action, codes = steps[..., 1 : self.action_size + 1], steps[..., self.action_size + 1 :]
        return codes.long(), action, kind[:, first:]

    def _added(self, state: Tensor, kind: int, codes: Tensor, action: Tensor) -> Tensor:
        block = functional.pad(torch.cat([action, codes.to(action.dtype)], 1), (1, 0), value=float(kind))
        return torch.cat([state[:, self.size :], block], 1)
