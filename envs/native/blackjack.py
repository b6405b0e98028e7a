"""Blackjack-v1 on the device."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.canvas import Canvas
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.step import Obs

MOST_DRAWN = 10
"""Cards that the dealer may need past the first two: six aces are a soft 16, a 6 makes that a hard 12, five aces 17."""


class Blackjack(Game):
    """Come closer to 21 than the dealer without going over (Sutton & Barto 2018, example 5.1).

    ## Description
    Gymnasium's Blackjack-v1, all rows at once: an infinite deck; an ace counts 11 (it is usable) if that does not go
    over 21, else 1; the dealer draws up to 17.

    ## Action Space
    `Discrete(2)`: stick (0), hit (1).

    ## Observation Space
    `Tuple(Discrete(32), Discrete(11), Discrete(2))`: the player's sum, the dealer's open card (1 is an ace), whether
    the player has a usable ace; a dict with the keys "0", "1", "2".

    ## Rewards
    1 for winning, -1 for losing, 0 for a draw and for each step before; see `natural` and `sab`.

    ## Starting State
    Two cards each.

    ## Episode End
    Terminated when the player sticks or goes over 21.

    ## Arguments
    * `sab` (True, as the id has it): the rules of Sutton & Barto: an ace and a ten as the first two cards win unless
      the dealer has them too.
    * `natural` (False): without `sab`, to win with an ace and a ten as the first two cards gives 1.5.

    ## Version History
    * v1: as Gymnasium's v1
    """

    render_fps = 4

    def __init__(self, *, device: torch.device, natural: bool = False, sab: bool = True) -> None:
        super().__init__(device=device)
        self.observation_space = gym.spaces.Tuple(
            (gym.spaces.Discrete(32), gym.spaces.Discrete(11), gym.spaces.Discrete(2))
        )
        self.action_space = gym.spaces.Discrete(2)
        self.natural, self.sab = bool(natural), bool(sab)

    def initial(self, draws: Draws) -> State:
        open_card, hidden, one, other = (_card(draws, index) for index in range(4))
        ace = (one == 1) | (other == 1)
        hard = one + other
        return {"hard": hard, "ace": ace, "natural": ace & (hard == 11), "open": open_card, "hidden": hidden}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        cards = torch.stack([_card(draws, index) for index in range(MOST_DRAWN)])
        hit = action == 1
        drawn = torch.where(hit, cards[0], 0)
        hard, ace = state["hard"] + drawn, state["ace"] | (drawn == 1)
        bust = hard > 21
        stuck = self._settle(state, cards)
        after = {**state, "hard": hard, "ace": ace, "natural": state["natural"] & ~hit}
        return after, torch.where(hit, -bust.to(torch.float32), stuck), ~hit | bust

    def _settle(self, state: State, cards: Tensor) -> Tensor:
        """The reward of sticking, float32 [N], if the dealer draws these cards, int64 [10, N]."""
        hand = torch.cat([torch.stack([state["open"], state["hidden"]]), cards])
        totals = _total(hand.cumsum(0), (hand == 1).cumsum(0) > 0)[1:]  # of the first 2, 3, … cards
        needed = ((totals >= 17).cumsum(0) == 0).sum(0, keepdim=True)
        dealer = totals.gather(0, needed)[0]
        player = _total(state["hard"], state["ace"])
        reward = (player - torch.where(dealer > 21, 0, dealer)).sign().to(torch.float32)
        if self.sab:
            both = (hand[:2].sum(0) == 11) & (hand[:2] == 1).any(0)
            return torch.where(state["natural"] & ~both, 1.0, reward)
        return torch.where(state["natural"] & (reward == 1), 1.5, reward) if self.natural else reward

    def observe(self, state: State) -> Obs:
        usable = state["ace"] & (state["hard"] <= 11)
        return {"0": _total(state["hard"], state["ace"]), "1": state["open"], "2": usable.to(torch.int64)}

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.blackjack", natural=self.natural, sab=self.sab)

    def render(self, state: State) -> np.ndarray:
        """The dealer's open card and the player's sum as counters, a usable ace in white; uint8 [80, 256, 3]."""
        canvas = Canvas(80, 256, (30, 90, 60))
        usable = bool(state["ace"]) and int(state["hard"]) <= 11
        for top, count in ((10, int(state["open"])), (50, int(state["hard"]) + 10 * usable)):
            for index in range(count):
                white = usable and top == 50 and index < 11
                colour = (250, 250, 250) if white else (245, 161, 66)
                canvas.box(4 + 8 * index, top, 9 + 8 * index, top + 19, colour)
        return canvas.pixels


def _card(draws: Draws, index: int) -> Tensor:
    """A card's value, int64 [N]: 1 is an ace; 10, jack, queen and king are 10."""
    return (draws.integer(index, 13) + 1).clamp(max=10)


def _total(hard: Tensor, ace: Tensor) -> Tensor:
    """A hand's sum, whose aces count 1 in `hard`."""
    return hard + 10 * (ace & (hard <= 11))
