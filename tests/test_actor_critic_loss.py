"""The loss of PPO and A2C: by hand, and its compiled forms and their gradients against autograd."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.maths.means import shares
from gymnast.agents.policy.loss import Coefficients, Slopes, actor_critic_loss, loss_of
from gymnast.agents.samples import Behaviour
from gymnast.networks.distributions.distributions import distribution

ROWS = 40
VALUE_COEF, ENTROPY_COEF = 0.7, 0.05


@pytest.mark.parametrize(
    ("clip", "value_clip", "expected"),
    [
        # Ratios 2 and 1 with advantages 1 and -1; errors 1, 2 of the first value and 0, 0.5 of the second.
        (0.2, None, -(1.2 - 1.0) / 2 + 0.5 * (0.5 + 2.0 + 0.125) / 2 - 0.1 * 0.5),
        (None, None, -(log(0.5) - log(0.25)) / 2 + 0.5 * (0.5 + 2.0 + 0.125) / 2 - 0.1 * 0.5),
        # The first value was 1.5 and is 1: within 0.1 of it, it is 1.4. The last one, 1.5, was 0: it is 0.1, 0.9 off.
        (0.2, 0.1, -(1.2 - 1.0) / 2 + 0.5 * (0.5 * 1.4**2 + 2.0 + 0.5 * 0.9**2) / 2 - 0.1 * 0.5),
    ],
    ids=["clipped", "plain", "values clipped"],
)
def test_loss_by_hand(clip: float | None, value_clip: float | None, expected: float) -> None:
    old = Behaviour(
        log_prob=torch.tensor([0.25, 0.25]).log(),
        advantage=torch.tensor([1.0, -1.0]),
        value=torch.tensor([[1.5, 0.0], [2.0, 0.0]]),
        target=torch.tensor([[0.0, 0.0], [0.0, 1.0]]),
    )
    log_prob = torch.tensor([0.5, 0.25]).log()
    loss, log_ratio, metrics = actor_critic_loss(
        log_prob,
        torch.tensor([[1.0, 0.0], [2.0, 1.5]]),
        entropy=torch.tensor([0.6, 0.4]),
        old=old,
        weight=torch.full((2,), 0.5),
        clip=None if clip is None else torch.tensor(clip),
        value_clip=None if value_clip is None else torch.tensor(value_clip),
        value_coef=0.5,
        entropy_coef=torch.tensor(0.1),
        normalise=False,
    )
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert log_ratio.tolist() == pytest.approx([log(2.0), 0.0])
    assert metrics["entropy"].item() == pytest.approx(0.5)
    assert metrics["loss"].item() == loss.item()


def random_rows(actions: Any, *, seed: int, masked: bool) -> tuple[Tensor, Tensor, Tensor, Behaviour, Tensor]:
    """Outputs, values, actions, what the policy that acted saw, and counts; rows that do not count hold anything."""
    generator = torch.Generator().manual_seed(seed)
    kind = distribution(actions, squash=False, device=torch.device("cpu"))
    output = 1.5 * torch.randn(ROWS, kind.outputs + kind.scales, generator=generator)
    if masked:
        mask = torch.rand(output.shape, generator=generator) < 0.6
        mask[:, 1] = True
        output = kind.masked(output, mask)
    raw, log_prob = kind.act(output, generator)
    value, old_value, target = torch.randn(3, ROWS, 1, generator=generator)
    moved, advantage = torch.randn(2, ROWS, generator=generator)
    old = Behaviour(log_prob + 0.4 * moved, advantage, old_value, target)
    count = (torch.rand(ROWS, generator=generator) < 0.8).float()
    for part in (old.advantage, old.value, old.target):
        part[count == 0.0] *= 1e6
    old.log_prob[count == 0.0] -= 500.0
    return output, value, raw, old, count


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("value_clip", [None, 0.3])
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize(
    ("actions", "masked"),
    [(spaces.Discrete(4), False), (spaces.Discrete(4), True), (spaces.Box(-1, 1, (2,)), False)],
    ids=["discrete", "masked", "box"],
)
def test_compiled_loss_and_slopes_are_autograds(
    actions: Any, masked: bool, clip: float | None, value_clip: float | None, normalise: bool, seed: int
) -> None:
    output, value, raw, old, count = random_rows(actions, seed=seed, masked=masked)
    kind = distribution(actions, squash=False, device=torch.device("cpu"))
    output.requires_grad_()
    value.requires_grad_()
    log_prob, entropy = kind.log_prob_entropy(output, raw)
    loss, log_ratio, metrics = actor_critic_loss(
        log_prob,
        value,
        entropy=entropy,
        old=old,
        weight=shares(count),
        clip=None if clip is None else torch.tensor(clip),
        value_clip=None if value_clip is None else torch.tensor(value_clip),
        value_coef=VALUE_COEF,
        entropy_coef=torch.tensor(ENTROPY_COEF),
        normalise=normalise,
    )
    expected = torch.autograd.grad(loss, (output, value))
    found = torch.empty_like(output), torch.empty_like(value), torch.empty(ROWS)
    losses = loss_of(
        *(part.detach().numpy() for part in (output, value, raw)),
        Behaviour(*(part.numpy() for part in old)),  # type: ignore[arg-type]
        count.numpy(),
        Coefficients(
            clip=-1.0 if clip is None else clip,
            value_clip=-1.0 if value_clip is None else value_clip,
            value_coef=VALUE_COEF,
            entropy_coef=ENTROPY_COEF,
            normalise=normalise,
        ),
        Slopes(*(part.detach().numpy() for part in found)),
    )
    assert expected[0].abs().max() > 1e-3
    for mine, theirs in zip(found, (*expected, log_ratio), strict=True):
        torch.testing.assert_close(mine.detach(), theirs, rtol=1e-4, atol=1e-6)
    for name, mine in zip(("loss", "policy_loss", "value_loss", "entropy"), losses, strict=True):
        assert mine == pytest.approx(metrics[name].item(), rel=1e-4, abs=1e-5)
