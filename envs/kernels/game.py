"""Games that have the rules of one row only: the simple way to write one, for CPUs."""

from __future__ import annotations

from abc import abstractmethod
from typing import NoReturn

import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State


class RowGame(Game):
    """A `Game` without rules of tensors.

    Raises:
        ValueError: a device other than the CPU.
    """

    compiles_on_cpu = False

    def __init__(self, *, device: torch.device) -> None:
        super().__init__(device=device)
        if device.type != "cpu":
            self._refuse(device)

    @abstractmethod
    def row_rules(self) -> RowRules:
        """The rules of one row."""

    def initial(self, draws: Draws) -> State:
        self._refuse(draws.bits(0).device)

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        self._refuse(action.device)

    def observe(self, state: State) -> Tensor:
        self._refuse(self.device)

    def _refuse(self, device: torch.device) -> NoReturn:
        raise ValueError(f"{type(self).__name__} has rules of one row only, which need the device cpu, not {device}")
