"""Lost lives, by hand."""

import dataclasses

import pytest
import torch

from gymnast.agents.base import LearningError
from gymnast.agents.experience.lives import Lives
from gymnast.envs.step import Step


def step(lives: list[int] | None, *, terminated: bool = False, truncated: bool = False) -> Step:
    """A step of two rows; the first may end."""
    return Step(
        obs=torch.zeros(2, 1),
        start=torch.zeros(2, dtype=torch.bool),
        next_obs=torch.zeros(2, 1),
        reward=torch.zeros(2),
        terminated=torch.tensor([terminated, False]),
        truncated=torch.tensor([truncated, False]),
        num_active=2,
        num_ended=None,
        lives=None if lives is None else torch.tensor(lives),
    )


def test_a_life_is_lost_where_fewer_are_left_than_before() -> None:
    lives = Lives()
    assert lives.lost(step([3, 3])).tolist() == [False, False]  # nothing to compare with
    assert lives.lost(step([2, 3])).tolist() == [True, False]
    assert lives.lost(step([2, 4])).tolist() == [False, False]  # one more
    assert lives.lost(step([2, 3])).tolist() == [False, True]


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_the_next_episode_is_not_compared_with_the_last(end: str) -> None:
    lives = Lives()
    lives.lost(step([5, 5]))
    assert lives.lost(step([4, 5], **{end: True})).tolist() == [True, False]
    assert lives.left is not None
    assert lives.left.tolist() == [0, 5]
    assert lives.lost(step([3, 5])).tolist() == [False, False]


def test_an_environment_without_lives_is_refused() -> None:
    with pytest.raises(LearningError, match="life_loss needs an environment that reports lives"):
        Lives().lost(dataclasses.replace(step([1, 1]), lives=None))
