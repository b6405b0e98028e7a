"""Losses, targets and what outputs mean: by hand, against loops, and finite everywhere."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.maths import td
from gymnast.agents.maths.td import (
    allowed,
    categorical_projection,
    quantile_huber,
    rescale,
    unscale,
)
from gymnast.agents.value.q_network import build_values
from gymnast.agents.value.values import (
    VALUES,
    CategoricalValues,
    ImplicitValues,
    QuantileValues,
    RescaledValues,
    ScalarValues,
)
from gymnast.replay.transitions import Batch

CPU = torch.device("cpu")


def tensor(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The projection of a distribution onto its support.


def projection_oracle(probability: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """Algorithm 1 of Bellemare et al. 2017 atom by atom, in double precision; b on an atom gives it all the mass."""
    rows, last = [], len(support) - 1
    low, high = float(support[0]), float(support[-1])
    for p, r, g in zip(probability.tolist(), reward.tolist(), discount.tolist(), strict=True):
        row = [0.0] * (last + 1)
        for mass, atom in zip(p, support.tolist(), strict=True):
            b = (min(max(r + g * atom, low), high) - low) / (high - low) * last
            lower, upper = math.floor(b), math.ceil(b)
            if lower == upper:
                row[lower] += mass
            else:
                row[lower] += mass * (upper - b)
                row[upper] += mass * (b - lower)
        rows.append(row)
    return torch.tensor(rows)


def gathered(probability: Tensor, reward: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """The form for accelerators."""
    moved = reward.unsqueeze(1) + discount.unsqueeze(1) * support
    last = len(support) - 1
    position = ((moved - support[0]) / (support[-1] - support[0]) * last).clamp(0, last)
    return td._gathered(probability, position)


PROJECTIONS = pytest.mark.parametrize("project", [categorical_projection, gathered])


@PROJECTIONS
def test_projection_by_hand(project: Any) -> None:
    support = torch.tensor([0.0, 1.0, 2.0])
    probability = tensor([0.2, 0.3, 0.5])
    # r = 0.5, discount 0.5: atoms at 0.5, 1.0, 1.5, the middle one on an atom.
    assert project(probability, tensor(0.5), tensor(0.5), support)[0].tolist() == pytest.approx([0.1, 0.65, 0.25])
    # Terminal: all the mass at r = 1.25, split 3 to 1.
    assert project(probability, tensor(1.25), tensor(0.0), support)[0].tolist() == pytest.approx([0, 0.75, 0.25])
    # Clipped at both ends: -3, -1, 1 (discount 2), and everything above.
    assert project(probability, tensor(-3.0), tensor(2.0), support)[0].tolist() == pytest.approx([0.5, 0.5, 0])
    assert project(probability, tensor(9.0), tensor(1.0), support)[0].tolist() == pytest.approx([0, 0, 1])
    # Whole steps: the identity, and a shift by one atom.
    assert project(probability, tensor(0.0), tensor(1.0), support)[0].tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert project(probability, tensor(1.0), tensor(1.0), support)[0].tolist() == pytest.approx([0, 0.2, 0.8])


@PROJECTIONS
@pytest.mark.parametrize(
    ("atoms", "low", "high"), [(2, -1.0, 1.0), (11, 0.0, 1.0), (51, -10.0, 10.0), (101, -3.0, 7.7)]
)
def test_projection_equals_the_loop(project: Any, atoms: int, low: float, high: float) -> None:
    support = torch.linspace(low, high, atoms)
    rows = 300
    probability = (torch.randn(rows, atoms, generator=generator(0)) * 3).softmax(1)
    spacing = (high - low) / (atoms - 1)
    reward = torch.randn(rows, generator=generator(1)) * (high - low)
    reward[:100] = torch.randint(-2 * atoms, 2 * atoms, (100,), generator=generator(2)) * spacing  # whole steps
    discount = torch.rand(rows, generator=generator(3))
    discount[50:150] = 1.0
    discount[150:200] = 0.0
    projected = project(probability, reward, discount, support)
    torch.testing.assert_close(projected, projection_oracle(probability, reward, discount, support), rtol=0, atol=2e-5)
    assert (projected.double().sum(1) - probability.double().sum(1)).abs().max() < 1e-6
    assert (projected >= 0).all()


@PROJECTIONS
def test_projection_keeps_the_mean_where_nothing_is_clipped(project: Any) -> None:
    support = torch.linspace(-10, 10, 51)
    probability = torch.randn(200, 51, generator=generator(0)).softmax(1)
    reward = torch.rand(200, generator=generator(1)) * 2 - 1
    discount = torch.rand(200, generator=generator(2)) * 0.9  # |r| + discount * 10 <= 10
    mean = project(probability, reward, discount, support) @ support
    torch.testing.assert_close(mean, reward + discount * (probability @ support), rtol=0, atol=1e-5)


def test_projection_of_what_is_no_number_is_none() -> None:
    projected = categorical_projection(tensor([0.5, 0.5]), tensor(math.nan), tensor(0.9), torch.tensor([0.0, 1.0]))
    assert projected.isnan().any()


# Quantile regression.


def quantile_oracle(prediction: Tensor, target: Tensor, tau: Tensor, kappa: float) -> Tensor:
    """One pair after another, in double precision."""
    found = []
    for row in range(len(prediction)):
        fractions = tau[min(row, len(tau) - 1)].tolist()
        total = 0.0
        for theta, fraction in zip(prediction[row].tolist(), fractions, strict=True):
            for goal in target[row].tolist():
                error = goal - theta
                if kappa == 0:
                    size = abs(error)
                elif abs(error) <= kappa:
                    size = error * error / 2 / kappa
                else:
                    size = abs(error) - kappa / 2
                total += abs(fraction - (error < 0)) * size / target.shape[1]
        found.append(total)
    return torch.tensor(found)


FORMS = pytest.mark.parametrize("form", [quantile_huber, td._pairwise_quantile_huber, td._sorted_quantile_huber])


@FORMS
def test_quantile_loss_by_hand(form: Any) -> None:
    prediction, target, tau = tensor([0.0, 4.0]), tensor([0.5, 3.0]), tensor([0.25, 0.75])
    # Prediction 0: errors 0.5 and 3, losses 0.125 and 2.5, weight 0.25 each. Prediction 4: errors -3.5 and -1,
    # losses 3 and 0.5, weight 0.25 each. Summed over predictions, averaged over the two targets.
    loss = form(prediction, target, tau, kappa=1.0)
    assert loss.tolist() == pytest.approx([0.25 * (2.625 + 3.5) / 2])
    # The plain quantile loss, and kappa 2: 0.0625, 2 and 2.5, 0.25.
    assert form(prediction, target, tau, kappa=0.0).tolist() == pytest.approx([0.25 * (3.5 + 4.5) / 2])
    assert form(prediction, target, tau, kappa=2.0).tolist() == pytest.approx([0.25 * (0.0625 + 2 + 2.5 + 0.25) / 2])


@FORMS
@pytest.mark.parametrize("kappa", [1.0, 0.0, 0.3])
@pytest.mark.parametrize(("predicted", "targets"), [(1, 1), (8, 8), (5, 70), (90, 80)])
def test_quantile_loss_equals_the_loop(form: Any, kappa: float, predicted: int, targets: int) -> None:
    prediction = torch.randn(4, predicted, generator=generator(0)) * 5
    target = torch.randn(4, targets, generator=generator(1)) * 5 + 1000 * torch.arange(4).unsqueeze(1)
    prediction = prediction + 1000 * torch.arange(4).unsqueeze(1)
    if predicted == targets:
        target[0] = prediction[0]  # errors of 0
    for rows in (1, 4):
        tau = torch.rand(rows, predicted, generator=generator(2))
        expected = quantile_oracle(prediction, target, tau, kappa)
        torch.testing.assert_close(form(prediction, target, tau, kappa=kappa), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kappa", [1.0, 0.0, 0.3])
def test_the_two_forms_of_the_quantile_loss_have_one_gradient(kappa: float) -> None:
    target = torch.randn(6, 70, generator=generator(1)) * 3
    tau = torch.rand(6, 70, generator=generator(2))
    gradients = []
    for form in (td._pairwise_quantile_huber, td._sorted_quantile_huber):
        prediction = torch.randn(6, 70, generator=generator(0)).requires_grad_()
        form(prediction, target, tau, kappa=kappa).sum().backward()
        gradients.append(prediction.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_quantile_regression_finds_the_quantiles() -> None:
    """At the least loss with kappa 0 the predictions are the target's own quantiles."""
    target = torch.arange(101.0).unsqueeze(0)
    tau = tensor([0.1, 0.5, 0.9])
    prediction = torch.full((1, 3), 30.0, requires_grad=True)
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(quantile_huber(prediction, target, tau, kappa=0.0).sum(), prediction)
        with torch.no_grad():
            prediction -= gradient
    assert prediction[0].tolist() == pytest.approx([10, 50, 90], abs=1.0)


def test_a_quantile_loss_of_what_is_not_finite_is_not_finite() -> None:
    target = torch.zeros(2, 100)
    target[0, 3], target[1, 3] = math.inf, math.nan
    for form in (td._pairwise_quantile_huber, td._sorted_quantile_huber):
        assert not form(torch.zeros(2, 100), target, torch.rand(1, 100), kappa=1.0).isfinite().any()


# R2D2's view of values.


def test_rescaling_by_hand() -> None:
    value = torch.tensor([0.0, 3.0, -3.0, 99.0])
    assert rescale(value).tolist() == pytest.approx([0.0, 1.003, -1.003, 9.099], rel=1e-6)
    assert unscale(rescale(value)).tolist() == pytest.approx(value.tolist(), rel=1e-4, abs=1e-6)


def test_unscaling_is_the_inverse() -> None:
    magnitudes = torch.logspace(-4, 5, 200)
    value = torch.cat([-magnitudes, torch.zeros(1), magnitudes])
    torch.testing.assert_close(unscale(rescale(value)), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rescale(unscale(value[:150])), value[:150], rtol=1e-5, atol=1e-6)
    exact = value.double()
    torch.testing.assert_close(unscale(exact).float(), unscale(value), rtol=1e-5, atol=1e-6)


# What each kind of values says of an output.


def test_scalar_and_rescaled_by_hand() -> None:
    output, reward, discount, following = (
        tensor([1.003], [0.0]),
        tensor(1.0, 3.0),
        tensor(0.5, 0.0),
        tensor([2.0], [9.0]),
    )
    loss, error = ScalarValues("mse").td_loss(output, reward, discount, following)
    assert error.tolist() == pytest.approx([abs(2.0 - 1.003), 3.0])
    assert loss.tolist() == pytest.approx([error[0].item() ** 2, 9.0])
    # Next values h^-1(2): h(8) = 2 + 0.008, so it is just below 8; its target is h(1 + 0.5 * 7.98…).
    following_value = unscale(torch.tensor(2.0)).item()
    assert following_value == pytest.approx(8 - 0.008 / (1 / 6 + 0.001), abs=1e-3)
    targets = rescale(torch.tensor([1 + 0.5 * following_value, 3.0])).tolist()
    loss, error = RescaledValues("mse").td_loss(output, reward, discount, following)
    assert error.tolist() == pytest.approx([targets[0] - 1.003, 1.003], abs=1e-6)
    assert loss.tolist() == pytest.approx([(targets[0] - 1.003) ** 2, 1.003**2], abs=1e-6)
    assert RescaledValues("huber").q(tensor([[1.003], [0.0]])).tolist() == [pytest.approx([3.0, 0.0], abs=1e-5)]


def test_categorical_by_hand() -> None:
    """Two atoms, 0 and 1: cross-entropy as the loss, Kullback-Leibler divergence as the error."""
    kind = CategoricalValues(atoms=2, v_min=0.0, v_max=1.0, device=CPU)
    logits = tensor([0.0, math.log(3.0)]).requires_grad_()  # probabilities 1/4, 3/4
    following = tensor([0.0, 0.0])  # 1/2, 1/2; moved to 0.25 and 0.75: 1/2, 1/2 again
    assert kind.q(logits.detach().view(1, 1, 2)).tolist() == [[pytest.approx(0.75)]]
    loss, error = kind.td_loss(logits, tensor(0.25), tensor(0.5), following)
    cross = -0.5 * math.log(0.25) - 0.5 * math.log(0.75)
    assert loss.tolist() == pytest.approx([cross])
    assert error.tolist() == pytest.approx([cross - math.log(2.0)])
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.25 - 0.5, 0.75 - 0.5])  # softmax minus target
    # Terminal with reward 1: the divergence is -log 3/4, and it is 0 for a prediction that is right.
    loss, error = kind.td_loss(logits.detach(), tensor(1.0), tensor(0.0), following)
    assert loss.tolist() == error.tolist() == [pytest.approx(-math.log(0.75))]
    assert kind.td_loss(tensor([0.0, 0.0]), tensor(0.25), tensor(0.5), following)[1].tolist() == [
        pytest.approx(0, abs=1e-6)
    ]


def test_quantile_by_hand() -> None:
    kind = QuantileValues(quantiles=2, kappa=1.0, device=CPU)
    assert kind.tau.tolist() == [[0.25, 0.75]]
    assert kind.q(tensor([[1.0, 3.0], [0.0, 0.0]])).tolist() == [[2.0, 0.0]]
    # Targets 1 + 0.5 * (-1, 4) = 0.5, 3: as in the loss by hand above; means 1.75 and 2.
    loss, error = kind.td_loss(tensor([0.0, 4.0]), tensor(1.0), tensor(0.5), tensor([-1.0, 4.0]))
    assert loss.tolist() == pytest.approx([0.25 * (2.625 + 3.5) / 2])
    assert error.tolist() == pytest.approx([0.25])


def test_implicit_by_hand() -> None:
    """As the quantile one, with the fractions in the outputs; those of the target do not enter."""
    kind = ImplicitValues(kappa=1.0)
    assert kind.q(tensor([[1.0, 3.0, 0.1, 0.9], [0.0, 0.0, 0.1, 0.9]])).tolist() == [[2.0, 0.0]]
    output = tensor([0.0, 4.0, 0.25, 0.5]).requires_grad_()
    loss, error = kind.td_loss(output, tensor(1.0), tensor(0.5), tensor([-1.0, 4.0, 0.7, 0.3]))
    assert loss.tolist() == pytest.approx([(0.25 * 2.625 + 0.5 * 3.5) / 2])
    assert error.tolist() == pytest.approx([0.25])
    loss.sum().backward()
    assert output.grad is not None
    assert output.grad[0].tolist() == pytest.approx([-0.25 * 1.5 / 2, 0.5, 0.0, 0.0])  # 0.5 (1 + 1) / 2


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("batch", [1, 5])
def test_losses_are_finite_with_gradients(kind: str, batch: int) -> None:
    """At rest (all the same) and far out, terminal or not; errors are >= 0 and carry no gradient."""
    made = build_values(DQNConfig(values=kind, quantiles=3, atoms=4), CPU)  # type: ignore[arg-type]
    width = made.outputs if kind != "implicit" else 6
    for scale in (0.0, 1.0, 1e4):
        output = (torch.randn(batch, width, generator=generator(0)) * scale).requires_grad_()
        following = torch.randn(batch, width, generator=generator(1)) * scale
        for discount in (0.0, 0.99):
            loss, error = made.td_loss(output, torch.full((batch,), scale), torch.full((batch,), discount), following)
            assert loss.shape == error.shape == (batch,)
            assert not error.requires_grad
            assert (error >= 0).all()
            (gradient,) = torch.autograd.grad(loss.sum(), output)
            assert loss.isfinite().all()
            assert gradient.isfinite().all()


# Targets: which action is bootstrapped from.


class Table(nn.Module):
    """Features that are the observation, so that the head's weights are the outputs."""

    out_features = 2

    def forward(self, obs: Tensor) -> Tensor:
        return obs


def table_agent(online: list[Any], target: list[Any], **changes: Any) -> DQN:
    """An agent whose outputs in state s (one-hot) are column s of the given [A * K, S] numbers."""
    config = DQNConfig(batch_size=1, replay_size=100, loss="mse", gamma=0.5, **changes)
    actions = len(online) // build_values(config, CPU).outputs
    learner = DQN(spaces.Box(-1, 1, (2,)), spaces.Discrete(actions), config, seed=0, network=Table())
    with torch.no_grad():
        for network, weight in ((learner.online, online), (learner.target, target)):
            network.head.stream.output.weight.copy_(torch.tensor(weight))
            network.head.stream.output.bias.zero_()
    return learner


def one_transition(*, discount: float = 0.5, mask: list[bool] | None = None) -> Batch:
    """From state 0 with action 0 and reward 1 to state 1."""
    states = torch.eye(2)
    return Batch(
        obs=states[:1],
        action=torch.tensor([0]),
        reward=torch.ones(1),
        discount=torch.tensor([discount]),
        next_obs=states[1:],
        weight=torch.ones(1),
        next_mask=None if mask is None else torch.tensor([mask]),
        index=torch.zeros(1, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    ("double", "mask", "bootstrap"),
    [
        (False, None, 9.0),  # the target network's best
        (True, None, 4.0),  # the online network's best is action 2, which the target network values 4
        (False, [True, False, True], 7.0),  # the target network's best of the allowed ones
        (True, [True, True, False], 9.0),  # the online network's best of the allowed ones is action 1
        (True, [True, False, False], 7.0),
        (False, [False, False, True], 4.0),
    ],
)
@pytest.mark.parametrize("discount", [0.5, 0.125, 0.0])
def test_the_bootstrap_is_of_the_chosen_action(
    double: bool, mask: list[bool] | None, bootstrap: float, discount: float
) -> None:
    """Discounts of one step, of three, and of a terminal state."""
    learner = table_agent([[0, 1], [0, 2], [0, 3]], [[0, 7], [0, 9], [0, 4]], double=double)
    _, error, _ = learner.loss(one_transition(discount=discount, mask=mask), None)
    assert error.item() == 1.0 + discount * bootstrap


def test_the_mask_decides_between_distributions() -> None:
    """Two atoms, -10 and 10: action 1 has the better mean, but is not allowed; its mass is not learned from."""
    low, high = [0.0, 20.0], [0.0, -20.0]
    learner = table_agent([[0, 0]] * 4, [low, high, high, low], values="categorical", atoms=2)
    outputs = [learner.loss(one_transition(discount=0.5, mask=mask), None)[0] for mask in (None, [True, False])]
    # From z = 10 to 1 + 5 = 6: mass 0.8 above; from z = -10 to 1 - 5 = -4: 0.3. The prediction is even: log 2 for both.
    assert [value.item() for value in outputs] == pytest.approx([math.log(2)] * 2)
    errors = [learner.loss(one_transition(discount=0.5, mask=mask), None)[1].item() for mask in (None, [True, False])]
    entropies = [-sum(p * math.log(p) for p in pair) for pair in ((0.8, 0.2), (0.3, 0.7))]
    assert errors == pytest.approx([math.log(2) - entropy for entropy in entropies], abs=1e-6)


def test_allowed() -> None:
    q = tensor([1.0, 2.0])
    assert allowed(q, None) is q
    assert allowed(q, torch.tensor([[True, False]])).tolist() == [[1.0, -math.inf]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": "c51"}, "values must be one of scalar, rescaled, categorical, quantile, implicit, got 'c51'"),
        ({"atoms": 1}, "atoms must be >= 2, got 1"),
        ({"quantiles": 0}, "quantiles must be >= 1, got 0"),
        ({"v_min": 3.0, "v_max": 3.0}, "v_min must be finite and below v_max, got 3.0 and 3.0"),
        ({"v_min": -math.inf}, "v_min must be finite and below v_max"),
        ({"kappa": -1.0}, "kappa must be >= 0, got -1.0"),
        ({"kappa": math.nan}, "kappa must be >= 0, got nan"),
        ({"noisy_sigma": -0.1}, "noisy_sigma must be >= 0, got -0.1"),
        ({"noise": "normal"}, "noise must be one of factorised, independent, got 'normal'"),
        ({"dueling_aggregation": "sum"}, "dueling_aggregation must be one of mean, max, got 'sum'"),
        ({"priority": "ranked"}, "priority must be one of proportional, rank, got 'ranked'"),
        ({"priority_alpha": 1.5}, "priority_alpha must be between 0 and 1, got 1.5"),
        ({"priority_beta": "linear:0.4:1.5:10"}, "priority_beta must be between 0 and 1"),
        ({"noisy_epsilon": 2}, "noisy_epsilon must be between 0 and 1, got 2"),
    ],
)
def test_wrong_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        DQNConfig(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_update_has_no_case_for_a_component() -> None:
    """All parts together are one loss: it runs and gives gradients to every parameter."""
    config = DQNConfig(
        double=True,
        dueling=True,
        noisy=True,
        values="categorical",
        atoms=5,
        hidden_sizes=(4, 4),
        batch_size=1,
        replay_size=100,
    )
    learner = DQN(spaces.Box(-1, 1, (2,)), spaces.Discrete(3), config, seed=0)
    noise = torch.randn(3, 1, learner.online.noise_size, generator=generator(0))
    batch = dataclasses.replace(one_transition(), obs=torch.ones(1, 2))
    learner.loss(batch, noise)[0].backward()
    for name, parameter in learner.online.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), name
