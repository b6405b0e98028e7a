"""Losses and rewards of discriminators (`agents/maths/adversarial.py`)."""

import math

import pytest
import torch
from torch import Tensor

from gymnast.agents.maths import adversarial
from gymnast.agents.maths.adversarial import discriminator_loss, discriminator_reward, with_absorbing


def sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def test_the_loss_is_the_binary_cross_entropy() -> None:
    expert, policy = [2.0, -1.0, 0.5], [0.5, -3.0]
    right = [math.log(sigmoid(logit)) for logit in expert]
    wrong = [math.log(1.0 - sigmoid(logit)) for logit in policy]
    naive = -0.5 * (sum(right) / 3 + sum(wrong) / 2)
    assert float(discriminator_loss(torch.tensor(expert), torch.tensor(policy))) == pytest.approx(naive, rel=1e-6)
    assert float(discriminator_loss(torch.zeros(4), torch.zeros(4))) == pytest.approx(math.log(2))


def test_the_logits_with_the_absorbing_state_are_those_of_all_that_is_visited() -> None:
    """Of ten visits the expert spends 2 in the absorbing state and the policy 6; the rest are three transitions."""
    p, q = torch.tensor([4.0, 3.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])
    logit, absorbing = with_absorbing((p / 8).log() - (q / 4).log(), torch.tensor(2 / 8), torch.tensor(6 / 4))
    torch.testing.assert_close(logit, (p / q).log())  # the logarithm of the ratio of visits out of ten
    assert float(absorbing) == pytest.approx(math.log(2 / 6))
    same, equal = with_absorbing(torch.zeros(2), torch.tensor(0.3), torch.tensor(0.3))
    assert (same.tolist(), float(equal)) == ([0.0, 0.0], 0.0)  # nothing tells the policy from the expert


@pytest.mark.parametrize(("form", "wanted"), [("positive", -math.log(0.2)), ("negative", math.log(0.8))])
def test_the_reward_forms(form: adversarial.RewardForm, wanted: float) -> None:
    logit = math.log(4.0)  # D = 0.8
    assert float(discriminator_reward(torch.tensor(logit), form)) == pytest.approx(wanted, rel=1e-6)
    assert float(discriminator_reward(torch.tensor(logit), "airl")) == pytest.approx(math.log(0.8 / 0.2), rel=1e-6)


def test_rewards_stay_finite_where_the_discriminator_is_certain() -> None:
    logits = torch.tensor([-1e4, 1e4])
    assert discriminator_reward(logits, "positive").tolist() == pytest.approx([math.log1p(math.exp(-20.0)), 20.0])
    assert discriminator_reward(logits, "negative").tolist() == pytest.approx([-20.0, -math.log1p(math.exp(-20.0))])
    assert discriminator_reward(logits, "airl").tolist() == [-20.0, 20.0]


def test_accuracy_is_the_mean_of_both_kinds() -> None:
    expert, policy = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([1.0, -1.0])
    assert float(adversarial.accuracy(expert, policy)) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_the_optimal_discriminator_is_the_log_ratio() -> None:
    """The loss on two known distributions, 10 transitions each, has no gradient at log p/q, and is larger beside it."""
    p, q = torch.tensor([5, 3, 2]), torch.tensor([1, 3, 6])

    def loss(logit: Tensor) -> Tensor:
        return discriminator_loss(logit.repeat_interleave(p), logit.repeat_interleave(q))

    logit = (p.double() / q).log().requires_grad_()
    best = loss(logit)
    (gradient,) = torch.autograd.grad(best, logit)
    assert gradient.abs().max() < 1e-12
    for change in 0.1 * torch.eye(3, dtype=torch.float64):
        assert loss(logit + change) > best
        assert loss(logit - change) > best


def test_the_penalties_by_hand() -> None:
    squared = torch.tensor([4.0, 0.25])  # norms 2 and 1/2
    assert float(adversarial.gradient_penalty(squared)) == pytest.approx((1.0 + 0.25) / 2)
    assert float(adversarial.r1_penalty(squared)) == pytest.approx(0.5 * 4.25 / 2)
    zero = torch.zeros(2, requires_grad=True)
    adversarial.gradient_penalty(zero.square()).backward()  # type: ignore[no-untyped-call]
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
