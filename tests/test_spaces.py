"""Spaces come back from JSON as they were."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from gymnast.storage.space_json import decode, encode

SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [0, 2]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Box(-1.0, 1.0, (3, 2), np.float32),
    spaces.Box(np.array([-np.inf, 0.5]), np.array([np.inf, 2.5]), dtype=np.float64),
    spaces.Box(0, 255, (4, 8, 8), np.uint8),
    spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(0.0, 1.0, (1,))]),
    spaces.Dict(b=spaces.Discrete(2), a=spaces.Discrete(3)),  # keywords keep their order
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Tuple([spaces.MultiBinary(1)])}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_round_trip(space: gym.Space) -> None:
    text = json.dumps(encode(space), allow_nan=False)
    assert decode(json.loads(text)) == space


def test_a_space_without_a_form_is_named() -> None:
    with pytest.raises(ValueError, match="a Text space cannot be kept"):
        encode(spaces.Text(5))


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(ValueError, match="unknown space 'Sphere'"):
        decode({"type": "Sphere"})
