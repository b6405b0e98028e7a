"""gymnast/Chain-v0 on the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.rows import transition_table as tables
from gymnast.envs.small import chain
from gymnast.envs.step import TransitionTable


class Chain(Game):
    """Walk along a line of states: the near end pays little at once, the far end pays much.

    ## Description
    The rules of `gymnast.envs.small.chain.Chain`, all rows at once.

    ## Action Space
    `Discrete(2)`: 0 goes left, 1 goes right.

    ## Observation Space
    `Discrete(length)`: the state, 0 at the left end.

    ## Rewards
    `left_reward` (0.1) for going left in state 0, `right_reward` (1) for going right in the last state, 0 otherwise.

    ## Starting State
    State 0.

    ## Episode End
    Terminated by going left in state 0 or right in the last state; truncated after 100 steps (the id's time limit).

    ## Arguments
    `length` (5), at least 1; `left_reward`; `right_reward`.

    ## Version History
    * v0: first version
    """

    render_fps = 4

    def __init__(
        self,
        length: int = 5,
        *,
        device: torch.device,
        left_reward: float = 0.1,
        right_reward: float = 1.0,
    ) -> None:
        super().__init__(device=device)
        self.single = chain.Chain(length, left_reward=left_reward, right_reward=right_reward, render_mode="rgb_array")
        self.observation_space, self.action_space = self.single.observation_space, self.single.action_space
        self.length, self.left_reward, self.right_reward = length, float(left_reward), float(right_reward)

    def initial(self, draws: Draws) -> State:
        return {"at": torch.zeros_like(draws.bits(0))}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        target = state["at"] + 2 * action - 1
        at = target.clamp(0, self.length - 1)
        reward = torch.where(target < 0, self.left_reward, torch.where(target == self.length, self.right_reward, 0.0))
        return {"at": at}, reward, at != target

    def observe(self, state: State) -> Tensor:
        return state["at"]

    def row_rules(self) -> RowRules:
        return RowRules.of(
            "gymnast.envs.kernels.chain",
            length=self.length,
            left_reward=self.left_reward,
            right_reward=self.right_reward,
        )

    def transition_table(self) -> TransitionTable | None:
        return tables.transition_table(self.single, math.inf)

    def render(self, state: State) -> np.ndarray:
        """The line of states, uint8 [32, 32 length, 3], the current one orange."""
        self.single.state = int(state["at"])
        picture = self.single.render()
        assert picture is not None
        return picture
