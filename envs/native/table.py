"""Finite games on the device, played by their transition tables."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.step import TransitionTable

GRID = 2**24
"""Draws are multiples of 1 / GRID."""


class TableGame(Game):
    """A Markov decision process with S states and A actions, from its arrays.

    ## Description
    A step draws one number and takes the first outcome whose cumulative probability exceeds it, as Gymnasium's toy text
    does; where each action has one outcome it draws none. A draw u is a multiple of 2**-24, so that u < p for a float64
    p is the same as u < ceil(2**24 p) / 2**24, which float32 holds: the outcome of a draw is exactly that of the
    float64 table, on every device, and has its probability to within 2**-24.

    ## Action Space
    `Discrete(A)`

    ## Observation Space
    `Discrete(S)`: the state.

    ## Rewards
    The table's, in float32.

    ## Starting State
    Drawn from the table's `initial` in the same way.

    ## Episode End
    Terminated when the table says so.

    ## Arguments
    * `table`: what happens; its time limit is not part of the rules and is ignored.
    * `allowed` (None): the allowed actions, bool [S, A].

    Raises:
        ValueError: probabilities that do not sum to 1.

    ## Version History
    * v0: first version
    """

    render_fps = 4

    def __init__(self, table: TransitionTable, *, device: torch.device, allowed: np.ndarray | None = None) -> None:
        super().__init__(device=device)
        states, actions, outcomes = table.probability.shape
        self.observation_space, self.action_space = gym.spaces.Discrete(states), gym.spaces.Discrete(actions)
        self.table, self._actions, self._outcomes = table, actions, outcomes
        _check(table.probability, "outcomes of each state and action")
        _check(table.initial, "first states")
        bounds, first = _bounds(table.probability), table.initial.nonzero()[0]
        first_bounds = _bounds(table.initial)[first]
        self._bounds = self._constant(bounds.reshape(-1, outcomes)[:, :-1])  # [S * A, K - 1]
        self._next_state = self._constant(table.next_state.ravel())
        self._reward = self._constant(table.reward.ravel().astype(np.float32))
        self._terminated = self._constant(table.terminated.ravel())
        self._first = self._constant(first)
        self._first_bounds = self._constant(first_bounds[:-1])
        self._allowed = None if allowed is None else self._constant(allowed)
        self._arrays: dict[str, Any] = {"bounds": bounds, "first": first, "first_bounds": first_bounds}
        if allowed is not None:
            self._arrays["allowed"] = allowed

    def _constant(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self.device)

    def initial(self, draws: Draws) -> State:
        drawn = torch.searchsorted(self._first_bounds, draws.uniform(0), right=True)
        return {"state": self._first[drawn]}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        outcome = state["state"] * self._actions + action
        if self._outcomes > 1:
            passed = self._bounds[outcome] <= draws.uniform(0)[:, None]  # [N, K - 1]
            outcome = outcome * self._outcomes + passed.sum(1)
        return {"state": self._next_state[outcome]}, self._reward[outcome], self._terminated[outcome]

    def observe(self, state: State) -> Tensor:
        return state["state"]

    def action_mask(self, state: State) -> Tensor | None:
        return None if self._allowed is None else self._allowed[state["state"]]

    def row_rules(self) -> RowRules:
        table = self.table
        return RowRules.of(
            "gymnast.envs.kernels.table",
            allow=None if self._allowed is None else "allow",
            outcomes=self._outcomes,
            next_state=table.next_state,
            reward=table.reward.astype(np.float32),
            terminated=table.terminated,
            **self._arrays,
        )

    def transition_table(self) -> TransitionTable:
        return self.table


def _bounds(probability: np.ndarray) -> np.ndarray:
    """Cumulative probabilities [..., K], float32: a draw is below one if and only if it is below the float64 one."""
    exact: np.ndarray = np.cumsum(probability, -1)
    bounds: np.ndarray = (np.ceil(exact * GRID) / GRID).astype(np.float32)
    return bounds


def _check(probability: np.ndarray, name: str) -> None:
    totals = np.sum(probability, -1)
    if not (np.abs(totals - 1.0) < 1e-9).all() or (probability < 0).any():
        raise ValueError(f"the probabilities of {name} must be >= 0 and sum to 1; sums range to {np.max(totals)}")
