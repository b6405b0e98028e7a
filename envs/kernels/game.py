"""Games that have the rules of one row only: the simple way to write one."""

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
        ValueError: a device other than a CPU or a CUDA GPU.
    """

    has_tensors = False
    compiles_on_cpu = False

    def __init__(self, *, device: torch.device) -> None:
        super().__init__(device=device)
        if device.type not in ("cpu", "cuda"):
            name = type(self).__name__
            raise ValueError(f"{name} has rules of one row only, which need the device cpu or cuda, not {device}")

    @abstractmethod
    def row_rules(self) -> RowRules:
        """The rules of one row."""

    def initial(self, draws: Draws) -> State:
        self._refuse()

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        self._refuse()

    def observe(self, state: State) -> Tensor:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError(f"{type(self).__name__} has rules of one row only, none of tensors")
