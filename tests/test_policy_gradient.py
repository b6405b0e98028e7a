"""Returns, advantages and losses of policy gradients: by hand, and against loops written from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from gymnast.agents.maths import means, returns
from gymnast.agents.maths import policy_gradient as pg
from gymnast.agents.maths.returns import discounted_returns, gae, lambda_returns, linear_recurrence, vtrace

LENGTHS = pytest.mark.parametrize("steps", [1, 2, 3, 5, 16, 17, 31, 32, 33, 128])
ENDS = [("none", -1)] + [(how, index) for how in ("terminated", "truncated", "both") for index in range(6)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def rollout(steps: int, envs: int = 3, *, seed: int = 0, gamma: float = 0.9, rate: float = 0.2) -> dict[str, Tensor]:
    """Random steps; the value of a successor is the next row's, but where an episode ends another's."""
    random = rng(seed)
    terminated, truncated = random.random((2, steps, envs)) < rate
    boundary = terminated | truncated
    value, final = random.normal(size=(steps + 1, envs)), random.normal(size=(steps, envs))
    next_value = np.where(boundary, final, value[1:])
    arrays = {
        "reward": random.normal(size=(steps, envs)),
        "discount": gamma * (1.0 - terminated),
        "value": value[:-1],
        "next_value": next_value,
    }
    fields = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    return {**fields, "boundary": torch.from_numpy(boundary)}


def exact(fields: dict[str, Tensor]) -> list[np.ndarray]:
    return [fields[name].double().numpy() for name in ("reward", "discount", "value", "next_value", "boundary")]


def loop_gae(fields: dict[str, Tensor], lam: float) -> np.ndarray:
    """The sum of (discount * lam)^l * delta_{t+l} up to the end of the episode (Schulman et al. 2016, eq. 16)."""
    reward, discount, value, next_value, boundary = exact(fields)
    advantage = np.zeros_like(reward)
    for t, n in np.ndindex(*reward.shape):
        factor = 1.0
        for k in range(t, len(reward)):
            advantage[t, n] += factor * (reward[k, n] + discount[k, n] * next_value[k, n] - value[k, n])
            factor *= lam * discount[k, n]
            if boundary[k, n]:
                break
    return advantage


def loop_lambda(fields: dict[str, Tensor], lam: float) -> np.ndarray:
    reward, discount, _, next_value, boundary = exact(fields)
    following = next_value[-1]
    returns = np.zeros_like(reward)
    for t in reversed(range(len(reward))):
        after = next_value[t] if t == len(reward) - 1 else np.where(boundary[t], next_value[t], following)
        following = returns[t] = reward[t] + discount[t] * ((1 - lam) * next_value[t] + lam * after)
    return returns


def loop_vtrace(fields: dict[str, Tensor], log_ratio: Tensor, *, rho_bar: float, c_bar: float) -> np.ndarray:
    """V(x_s) + the sum of gamma^(t-s) * (c_s ... c_{t-1}) * rho_t * delta_t (Espeholt et al. 2018, eq. 1)."""
    reward, discount, value, next_value, boundary = exact(fields)
    ratio = np.exp(log_ratio.double().numpy())
    target = value.copy()
    for s, n in np.ndindex(*reward.shape):
        factor = 1.0
        for t in range(s, len(reward)):
            delta = reward[t, n] + discount[t, n] * next_value[t, n] - value[t, n]
            target[s, n] += factor * min(rho_bar, ratio[t, n]) * delta
            factor *= discount[t, n] * min(c_bar, ratio[t, n])
            if boundary[t, n]:
                break
    return target


@LENGTHS
def test_linear_recurrence_is_the_loop(steps: int) -> None:
    random = rng(steps)
    x, a = random.normal(size=(steps, 8)), random.uniform(0.9, 1.0, (steps, 8))
    a[random.random(a.shape) < 0.05] = 0.0
    a[-1] = np.nan  # there is nothing after the last step
    y, following = np.zeros_like(x), np.zeros(8)
    for t in reversed(range(steps)):
        following = y[t] = x[t] + (a[t] * following if t < steps - 1 else 0.0)
    largest = np.abs(y).max()
    fast = linear_recurrence(torch.from_numpy(x).float(), torch.from_numpy(a).float())
    assert_allclose(fast, y, rtol=1e-5, atol=1e-5 * largest)
    assert_allclose(linear_recurrence(torch.from_numpy(x), torch.from_numpy(a)), y, rtol=1e-12, atol=1e-12)


@LENGTHS
def test_doubling_and_the_loop_are_the_same(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, a = torch.randn(2, steps, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for limit in (0, steps):
        monkeypatch.setattr(returns, "LOOP_UP_TO", limit)
        results.append(linear_recurrence(x, a))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_doubling_is_differentiable() -> None:
    x, a = (torch.randn(20, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(linear_recurrence, (x, a))


def test_returns_by_hand() -> None:
    reward, discount = tensor(1, 2, 3).unsqueeze(1), tensor(0.5, 0.0, 0.5).unsqueeze(1)
    returns = discounted_returns(reward, discount, tensor(8))
    assert returns.squeeze(1).tolist() == [1 + 0.5 * 2, 2, 3 + 0.5 * 8]


def test_gae_by_hand() -> None:
    reward, value, next_value = (tensor(*row).unsqueeze(1) for row in ([1, 0, 2, 1], [0.5, 1, 2, 3], [1, 2, 10, 4]))
    discount = tensor(0.5, 0.5, 0.5, 0.5).unsqueeze(1)
    boundary = torch.tensor([[False], [False], [True], [False]])  # the third step was truncated, its successor worth 10
    delta = [1 + 0.5 * 1 - 0.5, 0 + 0.5 * 2 - 1, 2 + 0.5 * 10 - 2, 1 + 0.5 * 4 - 3]
    advantage = gae(reward, discount, value, next_value, boundary, 0.5)
    assert delta == [1, 0, 5, 0]
    assert advantage.squeeze(1).tolist() == [1 + 0.25 * (0 + 0.25 * 5), 0.25 * 5, 5, 0]
    discount[2] = 0.0  # and now it was terminated
    assert gae(reward, discount, value, next_value, boundary, 0.5).squeeze(1).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
@pytest.mark.parametrize(("how", "index"), ENDS)
def test_an_end_at_every_index(how: str, index: int, lam: float) -> None:
    fields = rollout(6, 1, rate=0.0)
    if how != "none":
        fields["boundary"][index] = True
        fields["next_value"][index] = 7.0  # of the final observation, which the next row does not begin with
        if how != "truncated":
            fields["discount"][index] = 0.0
    advantage, returns = gae(**fields, lam=lam), lambda_returns_of(fields, lam)
    assert_allclose(advantage, loop_gae(fields, lam), rtol=1e-5, atol=1e-6)
    assert_allclose(returns, loop_lambda(fields, lam), rtol=1e-5, atol=1e-6)
    log_ratio = torch.randn(6, 1, generator=torch.Generator().manual_seed(1))
    target, _ = vtrace(log_ratio, **fields)
    assert_allclose(target, loop_vtrace(fields, log_ratio, rho_bar=1, c_bar=1), rtol=1e-5, atol=1e-6)
    if how == "none":
        return
    other = {name: field.clone() for name, field in fields.items()}
    for name in ("reward", "value", "next_value"):  # nothing of what comes after is seen before
        other[name][index + 1 :] = 100.0
    assert torch.equal(gae(**other, lam=lam)[: index + 1], advantage[: index + 1])
    assert torch.equal(lambda_returns_of(other, lam)[: index + 1], returns[: index + 1])
    assert torch.equal(vtrace(log_ratio, **other)[0][: index + 1], target[: index + 1])
    other["next_value"][index] = 50.0  # the value of the final observation counts after a truncation alone
    seen = not torch.equal(gae(**other, lam=lam)[index], advantage[index])
    assert seen == (how == "truncated")


def lambda_returns_of(fields: dict[str, Tensor], lam: float | Tensor) -> Tensor:
    return lambda_returns(*(fields[name] for name in ("reward", "discount", "next_value", "boundary")), lam)


@LENGTHS
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_advantages_and_returns_are_the_loops(steps: int, lam: float) -> None:
    fields = rollout(steps, seed=steps)
    advantage, returns = gae(**fields, lam=lam), lambda_returns_of(fields, lam)
    assert_allclose(advantage, loop_gae(fields, lam), rtol=1e-5, atol=1e-5)
    assert_allclose(returns, loop_lambda(fields, lam), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(advantage + fields["value"], returns, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gae(**fields, lam=torch.tensor(lam)), advantage)
    torch.testing.assert_close(lambda_returns_of(fields, torch.tensor(lam)), returns)


def test_returns_are_those_of_lambda_one() -> None:
    fields = rollout(40)
    fields["boundary"].copy_(fields["discount"] == 0.0)  # no truncation within
    last = fields["next_value"][-1]
    returns = discounted_returns(fields["reward"], fields["discount"], last)
    assert_allclose(returns, loop_lambda(fields, 1.0), rtol=1e-5, atol=1e-5)


@LENGTHS
@pytest.mark.parametrize(("rho_bar", "c_bar"), [(1.0, 1.0), (2.0, 0.5), (0.5, 1.5)])
def test_vtrace_is_the_loop(steps: int, rho_bar: float, c_bar: float) -> None:
    fields = rollout(steps, seed=steps)
    log_ratio = torch.randn(steps, 3, generator=torch.Generator().manual_seed(steps))
    target, advantage = vtrace(log_ratio, **fields, rho_clip=rho_bar, c_clip=c_bar, pg_rho_clip=3.0)
    expected = loop_vtrace(fields, log_ratio, rho_bar=rho_bar, c_bar=c_bar)
    assert_allclose(target, expected, rtol=1e-4, atol=1e-5)
    reward, discount, value, next_value, boundary = exact(fields)
    following = np.concatenate([expected[1:], next_value[-1:]])  # vs_{t+1}, section 4.2
    following = np.where(boundary, next_value, following)
    rho = np.minimum(3.0, np.exp(log_ratio.double().numpy()))
    assert_allclose(advantage, rho * (reward + discount * following - value), rtol=1e-4, atol=1e-5)


def test_vtrace_by_hand() -> None:
    column = {"reward": tensor(1, 1), "discount": tensor(0.5, 0.5), "value": tensor(2, 4), "next_value": tensor(4, 8)}
    fields = {name: field.unsqueeze(1) for name, field in column.items()}
    fields["boundary"] = torch.zeros(2, 1, dtype=torch.bool)
    log_ratio = tensor(math.log(0.5), math.log(3.0)).unsqueeze(1)
    target, advantage = vtrace(log_ratio, **fields)
    # deltas are 1 + 2 - 2 = 1 and 1 + 4 - 4 = 1, rhos 0.5 and 1: v_1 = 4 + 1 and v_0 = 2 + 0.5 * 1 + 0.5 * 0.5 * 1
    assert_allclose(target.squeeze(1), [2.75, 5.0])
    assert_allclose(advantage.squeeze(1), [0.5 * (1 + 0.5 * 5 - 2), 1 + 0.5 * 8 - 4])


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_vtrace_of_the_policy_that_acted(lam: float) -> None:
    fields = rollout(30)
    target, advantage = vtrace(torch.zeros(30, 3), **fields, lam=lam)
    torch.testing.assert_close(target, lambda_returns_of(fields, lam), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(advantage, gae(**fields, lam=lam), rtol=1e-4, atol=1e-5)


def test_vtrace_of_far_policies_stays_finite() -> None:
    fields = rollout(30)
    for log_ratio in (-1e8, -200.0, 200.0):
        for result in vtrace(torch.full((30, 3), log_ratio), **fields):
            assert result.isfinite().all()


def batch(rows: int = 64) -> tuple[dict[str, Tensor], Tensor, np.ndarray]:
    """Numbers of rows of which a third do not count and are large, their shares, and which count."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.arange(rows) % 3 > 0
    fields = {
        name: torch.where(chosen, torch.randn(rows, generator=generator), 1e6 if name == "log_prob" else -1e6)
        for name in ("log_prob", "old_log_prob", "advantage", "value", "old_value", "target", "entropy")
    }
    return fields, means.shares(chosen.float()), chosen.numpy()


def chosen_rows() -> tuple[dict[str, Tensor], Tensor, dict[str, np.ndarray]]:
    fields, weight, chosen = batch()
    return fields, weight, {name: field.double().numpy()[chosen] for name, field in fields.items()}


def test_losses_are_means_over_the_rows_that_count() -> None:
    given, weight, rows = chosen_rows()
    g, r = given, rows
    ratio = np.exp(r["log_prob"] - r["old_log_prob"])
    surrogate = np.minimum(ratio * r["advantage"], ratio.clip(0.8, 1.2) * r["advantage"])
    near = r["old_value"] + (r["value"] - r["old_value"]).clip(-0.3, 0.3)
    squares = (r["value"] - r["target"]) ** 2, (near - r["target"]) ** 2
    log_ratio = g["log_prob"] - g["old_log_prob"]
    for mine, expected in (
        (pg.policy_gradient_loss(g["log_prob"], g["advantage"], weight), -(r["log_prob"] * r["advantage"]).mean()),
        (pg.clipped_surrogate(g["log_prob"], g["old_log_prob"], g["advantage"], 0.2, weight), -surrogate.mean()),
        (pg.value_loss(g["value"], g["target"], weight), 0.5 * squares[0].mean()),
        (
            pg.clipped_value_loss(g["value"], g["old_value"], g["target"], 0.3, weight),
            0.5 * np.maximum(*squares).mean(),
        ),
        (pg.entropy_loss(g["entropy"], weight), -r["entropy"].mean()),
        (pg.approx_kl(log_ratio, weight), (ratio - 1 - np.log(ratio)).mean()),
        (pg.clip_fraction(log_ratio, 0.2, weight), (np.abs(ratio - 1) > 0.2).mean()),
        (
            means.explained_variance(g["value"], g["target"], weight),
            1 - (r["target"] - r["value"]).var() / r["target"].var(),
        ),
    ):
        assert mine.shape == ()
        assert mine.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    scaled = pg.normalised(g["advantage"], weight)[weight > 0]
    assert_allclose(scaled, (r["advantage"] - r["advantage"].mean()) / r["advantage"].std(), rtol=1e-4, atol=1e-5)


def test_rows_that_do_not_count_have_no_gradient() -> None:
    fields, weight, chosen = batch()
    log_prob = fields["log_prob"].clone().requires_grad_()
    loss = pg.clipped_surrogate(log_prob, fields["old_log_prob"], fields["advantage"], 0.2, weight)
    (grad,) = torch.autograd.grad(loss, log_prob)
    assert grad.isfinite().all()
    assert (grad[~chosen] == 0).all()


def test_losses_by_hand() -> None:
    weight = means.shares(tensor(1, 1))
    log_prob, advantage = tensor(math.log(0.5), math.log(0.25)), tensor(2, -4)
    assert pg.policy_gradient_loss(log_prob, advantage, weight).item() == pytest.approx(-3 * math.log(2))
    # ratios 2 and 0.5 of old probabilities 0.25 and 0.5; 2 is clipped to 1.2, and so is 0.5 to 0.8
    surrogate = pg.clipped_surrogate(log_prob, tensor(math.log(0.25), math.log(0.5)), advantage, 0.2, weight)
    assert surrogate.item() == pytest.approx(-(1.2 * 2 - 0.8 * 4) / 2)
    assert pg.value_loss(tensor(1, 2), tensor(3, 2), weight).item() == 1.0
    # moved by 3 and kept within 1: its error of 3 is larger than that of 1; by -1: nothing is clipped
    assert pg.clipped_value_loss(tensor(3, 1), tensor(0, 2), tensor(4, 0), 1.0, weight).item() == 0.5 * (9 + 1) / 2
    assert pg.approx_kl(tensor(math.log(2), 0), weight).item() == pytest.approx((1 - math.log(2)) / 2)
    assert pg.clip_fraction(tensor(math.log(1.3), math.log(1.1)), 0.2, weight).item() == 0.5


@pytest.mark.parametrize(("sign", "clipped"), [(1.0, 1.5), (-1.0, 0.5)])
def test_where_the_surrogate_is_clipped_it_has_no_gradient(sign: float, clipped: float) -> None:
    for ratio, expected in ((clipped, 0.0), (2.0 - clipped, -sign * (2.0 - clipped)), (1.1, -sign * 1.1)):
        log_prob = tensor(math.log(ratio)).requires_grad_()
        loss = pg.clipped_surrogate(log_prob, tensor(0), tensor(sign), 0.2, tensor(1))
        (grad,) = torch.autograd.grad(loss, log_prob)
        assert grad.item() == pytest.approx(expected)


def test_at_ratio_one_the_surrogate_s_gradient_is_the_policy_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    log_prob, advantage = torch.randn(2, 50, generator=generator)
    weight = means.shares((torch.arange(50) % 4 > 0).float())
    log_prob.requires_grad_()
    for clip in (0.2, torch.tensor(0.2)):
        (grad,) = torch.autograd.grad(
            pg.clipped_surrogate(log_prob, log_prob.detach(), advantage, clip, weight), log_prob
        )
        (expected,) = torch.autograd.grad(pg.policy_gradient_loss(log_prob, advantage, weight), log_prob)
        torch.testing.assert_close(grad, expected)


def test_approx_kl_is_the_divergence_on_average() -> None:
    old, new = tensor(0.5, 0.3, 0.2), tensor(0.4, 0.4, 0.2)
    estimate = pg.approx_kl((new / old).log(), old)  # each action as often as the old policy draws it
    assert estimate.item() == pytest.approx((old * (old / new).log()).sum().item(), rel=1e-4)
    assert pg.approx_kl(torch.randn(1000), means.shares(torch.ones(1000))) > 0


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000, 4096, 100_000])
@pytest.mark.parametrize("number", [0.0, 0.1, -3.7, 1e-6, 12345.678])
def test_what_does_not_vary(rows: int, number: float) -> None:
    values, weight = torch.full((rows,), number), means.shares(torch.ones(rows))
    assert (pg.normalised(values, weight) == 0).all()
    assert means.explained_variance(torch.arange(float(rows)), values, weight) == 0
    few = means.shares((torch.arange(rows) == 0).float())  # one row counts
    assert (pg.normalised(torch.cat([values[:1], torch.randn(rows - 1)]), few) == 0).all()


def test_where_no_row_counts_everything_is_zero() -> None:
    fields, _, _ = batch()
    weight = means.shares(torch.zeros(64))
    for result in all_losses(fields, weight, 0.2).values():
        assert (result == 0).all()


def all_losses(fields: dict[str, Tensor], weight: Tensor, clip: float | Tensor) -> dict[str, Tensor]:
    f, log_ratio = fields, fields["log_prob"] - fields["old_log_prob"]
    return {
        "policy": pg.policy_gradient_loss(f["log_prob"], f["advantage"], weight),
        "surrogate": pg.clipped_surrogate(f["log_prob"], f["old_log_prob"], f["advantage"], clip, weight),
        "value": pg.value_loss(f["value"], f["target"], weight),
        "clipped_value": pg.clipped_value_loss(f["value"], f["old_value"], f["target"], clip, weight),
        "entropy": pg.entropy_loss(f["entropy"], weight),
        "kl": pg.approx_kl(log_ratio, weight),
        "fraction": pg.clip_fraction(log_ratio, clip, weight),
        "explained": means.explained_variance(f["value"], f["target"], weight),
        "normalised": pg.normalised(f["advantage"], weight),
    }


@pytest.mark.parametrize("steps", [5, 40])
def test_estimates_compile_without_a_break(steps: int) -> None:
    fields = rollout(steps)
    log_ratio = torch.randn(steps, 3)

    def estimates(fields: dict[str, Tensor], log_ratio: Tensor, lam: Tensor) -> tuple[Tensor, ...]:
        returns = discounted_returns(fields["reward"], fields["discount"], fields["next_value"][-1])
        return (
            gae(**fields, lam=lam),
            lambda_returns_of(fields, lam),
            returns,
            *vtrace(log_ratio, **fields),
        )

    _same_compiled(estimates, fields, log_ratio, torch.tensor(0.9))


def test_losses_compile_without_a_break() -> None:
    fields, weight, _ = batch()
    _same_compiled(all_losses, fields, weight, torch.tensor(0.2))


def _same_compiled(function: Callable[..., Any], *args: Any) -> None:
    compiled = torch.compile(function, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*args), function(*args))
