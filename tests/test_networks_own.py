"""A user's own backbone is tried before anything starts: one line on what does not fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import PPO
from gymnast.networks import build
from gymnast.networks.own import observations

SPACE = spaces.Box(-1.0, 1.0, (3,), np.float32)


class Own(nn.Module):
    """One layer of 4 units, and something done to what it gives."""

    def __init__(self, after: Callable[[Tensor], Any] = lambda features: features, out_features: Any = 4) -> None:
        super().__init__()
        self.layer, self.after, self.out_features = nn.Linear(3, 4), after, out_features

    def forward(self, obs: Tensor) -> Any:
        return self.after(self.layer(obs))


class Writes(Own):
    def forward(self, obs: Tensor) -> Any:
        obs += 1.0
        return self.layer(obs)


class OnMeta(Own):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4, device="meta")


class Raises(Own):
    def forward(self, obs: Tensor) -> Any:
        raise KeyError("two\nlines")


def built(module: nn.Module, space: Any = SPACE) -> nn.Module:
    return build(module, space, generator=torch.Generator())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(out_features=5), r"Own returned float32 \[2, 4\]; its features must be a float32 tensor \[2, 5\]"),
        (Own(out_features=-4), "integer attribute out_features >= 1"),
        (Own(out_features="4"), "integer attribute out_features >= 1"),
        (Own(out_features=True), "integer attribute out_features >= 1"),
        (Own(lambda features: (features, None)), "Own returned a tuple"),
        (Own(lambda features: None), "Own returned a NoneType"),
        (Own(lambda features: features.numpy()), "Own returned a ndarray"),
        (Own(lambda features: features.half()), r"Own returned float16 \[2, 4\]"),
        (Own(lambda features: features.long()), r"Own returned int64 \[2, 4\]"),
        (Own(lambda features: features.mean(0, keepdim=True)), r"Own returned float32 \[1, 4\]"),
        (Own(lambda features: features[:, None]), r"Own returned float32 \[2, 1, 4\]"),
        (Own(lambda features: features * torch.nan), "Own returned features that are infinite or not a number"),
        (Writes(), "Writes writes to its observations"),
        (OnMeta(), "network OnMeta failed on 2 observations of Box"),
        (Raises(), r"Raises failed on 2 observations of Box\(.*\): KeyError: 'two\\nlines'"),
    ],
)
def test_what_is_no_backbone_is_refused_in_one_line(module: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        built(module)
    assert "\n" not in str(caught.value)


def test_lazy_layers_get_their_sizes_and_learn() -> None:
    class Lazy(nn.Module):
        out_features = np.int64(4)

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LazyLinear(4)

        def forward(self, obs: Tensor) -> Tensor:
            features: Tensor = self.layer(obs)
            return features

    assert built(Lazy()).layer.weight.shape == (4, 3)  # type: ignore[union-attr]
    agent = PPO(SPACE, spaces.Discrete(2), network=Lazy())
    assert agent.predict(np.zeros(3, np.float32)) in (0, 1)


def test_trying_changes_no_statistics() -> None:
    norm = nn.BatchNorm1d(4)
    module = Own(norm)
    built(module)
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [0.0] * 4
    assert int(norm.num_batches_tracked or 0) == 0


@pytest.mark.parametrize(
    ("space", "right"),
    [
        (spaces.Box(-1.0, 1.0, (2,), np.float64), torch.full((2, 2), -1.0)),
        (spaces.Box(-np.inf, np.inf, (1,), np.float32), torch.zeros(2, 1)),
        (spaces.Box(0, 255, (1, 2), np.uint8), torch.zeros(2, 1, 2, dtype=torch.uint8)),
        (spaces.Discrete(3, start=-2), torch.tensor([-2, -2])),
        (spaces.MultiDiscrete([2, 2], start=[1, 4]), torch.tensor([[1, 4]] * 2)),
        (spaces.MultiBinary(2), torch.zeros(2, 2, dtype=torch.int8)),
    ],
)
def test_observations_are_those_that_environments_give(space: Any, right: Tensor) -> None:
    found = observations(space, torch.device("cpu"))
    assert found.dtype == right.dtype
    assert torch.equal(found, right)


def test_parts_are_named_as_those_of_environments() -> None:
    space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Discrete(2),))})
    found = observations(space, torch.device("cpu"))
    assert found["a"].tolist() == [0, 0]
    assert found["b"]["0"].tolist() == [0, 0]
