"""The gradients of off-policy actor-critics that are written down: those of autograd, where they apply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import OffPolicyActorCritic
from gymnast.agents.off_policy.closed_form import ClosedForm, closed_form
from gymnast.replay.transitions import Batch
from tests.test_off_policy import ROWS, a_batch, agent

CASES: list[tuple[str, dict[str, Any]]] = [
    ("sac", {}),
    ("sac", {"critics": 3, "policy_value": "mean"}),
    ("sac", {"critics": 3, "target_subset": 2, "policy_value": "first"}),
    ("sac", {"critics": 1, "policy_hidden_sizes": (24, 40, 16)}),
    ("redq", {}),
    ("td3", {}),
    ("ddpg", {}),
]


def found_for(own: OffPolicyActorCritic) -> ClosedForm | None:
    return closed_form(own.losses, own.weights, own.policy_weights, own.targets)


def with_wide_deviations(own: OffPolicyActorCritic, obs: torch.Tensor) -> None:
    """Let half of one log standard deviation lie beyond its bound, where it has no gradient."""
    with torch.no_grad():
        own.network.layers.biases[-1][0, -1] += 2.001 - own.network(obs)[:, -1].median()


def assert_equal(own: OffPolicyActorCritic, batch: Batch) -> None:
    """The closed form writes autograd's gradients of both losses, and has their other results."""
    closed, draws = found_for(own), own._draw(len(batch.reward))
    assert closed is not None
    pairs = (
        (own.losses.of_critics, closed.of_critics, own.weights),
        (own.losses.of_policy, closed.of_policy, own.policy_weights),
    )
    for loss_of, gradient_of, weights in pairs:
        loss, expected, metrics = loss_of(batch, draws)
        weights.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        by_autograd = weights.grad.clone()
        weights.grad.fill_(np.nan)  # what it does not write shows
        found, own_metrics = gradient_of(batch, draws)
        torch.testing.assert_close(weights.grad, by_autograd, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found, expected.detach())
        torch.testing.assert_close(own_metrics, metrics)
        assert by_autograd.any()


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_the_closed_form_equals_autograd(name: str, changes: dict[str, Any]) -> None:
    own, batch = agent(name, **changes), a_batch()
    if own.config.policy == "stochastic":
        with_wide_deviations(own, batch.obs)
    assert_equal(own, batch)


@pytest.mark.parametrize(("rows", "units"), [(100, 70), (256, 256)])
def test_it_equals_autograd_for_batches_of_many_columns(rows: int, units: int) -> None:
    """Where products are made of wide tiles, and of what is left beside them."""
    own = agent(hidden_sizes=(units, units), policy_hidden_sizes=(units, units))
    drawn = torch.Generator().manual_seed(0)
    obs, action, reward, next_obs = (torch.randn(rows, n, generator=drawn) for n in (3, 2, 1, 3))
    rest = {"discount": torch.full((rows,), 0.9), "weight": torch.ones(rows), "index": torch.arange(rows)}
    assert_equal(own, Batch(obs, action.tanh(), reward[:, 0], next_obs=next_obs, next_mask=None, **rest))


def test_an_update_uses_it_and_learns_the_same() -> None:
    one, other, batch = agent(), agent(), a_batch()
    for update in (other._update, other._policy_update):
        update._learn = update._by_backward
    for _ in range(20):
        for own in (one, other):
            draws: Any = own._draw(ROWS)
            own._update(batch, draws)
            entropy, _ = own._policy_update(batch, draws)
            own.temperature.learn(entropy)
            own._update_targets()
    torch.testing.assert_close(one.weights.data, other.weights.data, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.policy_weights.data, other.policy_weights.data, rtol=1e-3, atol=1e-4)


def test_elsewhere_autograd_finds_the_gradients() -> None:
    image = spaces.Box(0, 255, (1, 44, 44), np.uint8)
    for own in (
        agent("tqc"),
        agent("crossq"),
        agent("droq"),
        agent(activation="tanh"),
        agent(space=spaces.Discrete(3)),
    ):
        assert found_for(own) is None
    seen = OffPolicyActorCritic(image, spaces.Box(-1, 1, (2,)), agent().config, seed=0)
    assert found_for(seen) is None
