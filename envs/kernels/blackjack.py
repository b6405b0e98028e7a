"""Blackjack-v1, for one row."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.kernels.draws import integer, rule

FIELDS = (("hard", np.int64), ("ace", np.bool_), ("natural", np.bool_), ("open", np.int64), ("hidden", np.int64))
"""The player's sum with aces as 1, whether there is one, whether these are an ace and a ten; the dealer's cards."""


def begin(state: Any, draws: Any, options: Any) -> None:
    state.open, state.hidden = card(draws, 0), card(draws, 1)
    one, other = card(draws, 2), card(draws, 3)
    state.hard, state.ace, state.natural = one + other, one == 1 or other == 1, is_natural(one, other)


def act(state: Any, action: int, draws: Any, options: Any) -> tuple[float, bool]:
    if action == 0:
        return settled(state, draws, options), True
    drawn = card(draws, 0)
    state.hard += drawn
    state.ace, state.natural = state.ace or drawn == 1, False
    bust = state.hard > 21
    return (-1.0 if bust else 0.0), bust


def show(state: Any, obs: Any, options: Any) -> None:
    obs[0], obs[1] = total(state.hard, state.ace), state.open
    obs[2] = 1 if state.ace and state.hard <= 11 else 0


@rule
def settled(state: Any, draws: Any, options: Any) -> float:
    """The reward of sticking, after the dealer has drawn."""
    hard, ace, drawn = state.open + state.hidden, state.open == 1 or state.hidden == 1, 0
    while total(hard, ace) < 17:
        taken = card(draws, drawn)
        hard, ace, drawn = hard + taken, ace or taken == 1, drawn + 1
    player, dealer = total(state.hard, state.ace), total(hard, ace)
    if options.sab and state.natural and not is_natural(state.open, state.hidden):
        return 1.0
    if dealer > 21 or player > dealer:
        return 1.5 if options.natural and state.natural and not options.sab else 1.0
    return 0.0 if player == dealer else -1.0


@rule
def card(draws: Any, index: int) -> int:
    """A card's value: 1 is an ace; 10, jack, queen and king are 10."""
    return min(integer(draws, index, 13) + 1, 10)


@rule
def total(hard: int, ace: bool) -> int:
    """A hand's sum, whose aces count 1 in `hard`."""
    return hard + 10 if ace and hard <= 11 else hard


@rule
def is_natural(one: int, other: int) -> bool:
    """Whether two cards are an ace and a ten."""
    return one + other == 11 and (one == 1 or other == 1)
