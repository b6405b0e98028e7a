"""Losses, measures and schedules of fitted networks, by hand and beside torch's."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gymnast.agents.optim import optimizers
from gymnast.agents.supervised import losses, measures, schedules
from gymnast.agents.supervised.labelled import ClassifyConfig
from gymnast.agents.supervised.schedules import Schedule


def test_cross_entropy_with_label_smoothing_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    log_p = [2 - math.log(math.exp(2) + 2), -math.log(math.exp(2) + 2), -math.log(math.exp(2) + 2)]
    q = [0.7 + 0.1, 0.1, 0.1]  # smoothing 0.3 over three classes
    expected = -sum(a * b for a, b in zip(q, log_p, strict=True))
    assert losses.cross_entropy(logits, torch.tensor([0]), smoothing=0.3).item() == pytest.approx(expected)


def test_focal_loss_by_hand_and_without_focus() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 3/4 and 1/4
    expected = -((1 / 4) ** 2) * math.log(3 / 4)
    assert losses.focal(logits, torch.tensor([0]), gamma=2.0).item() == pytest.approx(expected, rel=1e-5)
    torch.manual_seed(0)
    logits, target = torch.randn(5, 4), torch.randint(4, (5,))
    torch.testing.assert_close(losses.focal(logits, target, gamma=0.0), losses.cross_entropy(logits, target))


def test_hinge_by_hand_and_beside_torch() -> None:
    logits = torch.tensor([[1.0, 0.5, -3.0], [1.0, 0.5, -3.0]])
    assert losses.hinge(logits, torch.tensor([0, 1])).tolist() == [0.5, 1.5]
    torch.manual_seed(0)
    logits, target = torch.randn(6, 2), torch.randint(2, (6,))  # of two classes torch's is half of it
    theirs = functional.multi_margin_loss(logits, target, reduction="none") * 2
    torch.testing.assert_close(losses.hinge(logits, target), theirs)


def test_log_cosh_by_hand_and_without_overflow() -> None:
    error = torch.tensor([0.0, 1.0, -2.0, 1e4])
    found = losses.log_cosh(error, torch.zeros(4))
    expected = [0.0, math.log(math.cosh(1.0)), math.log(math.cosh(2.0)), 1e4 - math.log(2.0)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_cosine_loss_is_of_the_angle_alone() -> None:
    one, other = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    assert losses.regression("cosine", one, other).tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("name", ["mse", "l1", "huber", "log-cosh"])
def test_regression_losses_are_means_over_the_outputs(name: str) -> None:
    torch.manual_seed(0)
    output, target = torch.randn(4, 3), torch.randn(4, 3)
    each = losses.ELEMENTWISE[name](output, target)
    torch.testing.assert_close(losses.regression(name, output, target), each.mean(1))


def test_weighted_mean_by_hand_and_beside_torch() -> None:
    assert losses.weighted(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])).item() == 1.5
    torch.manual_seed(0)
    logits, target, weight = torch.randn(7, 3), torch.randint(3, (7,)), torch.tensor([1.0, 2.0, 5.0])
    ours = losses.weighted(losses.cross_entropy(logits, target), weight[target])
    torch.testing.assert_close(ours, functional.cross_entropy(logits, target, weight=weight))


def test_info_nce_by_hand() -> None:
    queries = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([[1.0, 0.0], [0.0, 5.0]])  # similarities 1 and 0
    expected = -math.log(math.exp(2.0) / (math.exp(2.0) + 1.0))
    assert losses.info_nce(queries, keys, temperature=0.5).tolist() == pytest.approx([expected] * 2)


def test_triplet_takes_the_nearest_other_one() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    keys = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    # of the first: own distance 0, nearest other 0; of the second: own sqrt 2, nearest other sqrt 2
    assert losses.triplet(queries, keys, margin=0.2).tolist() == pytest.approx([0.2, 0.2, 0.0])


def test_confusion_r2_calibration_and_perplexity_by_hand() -> None:
    counts = measures.confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 2]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    target = torch.tensor([[0.0], [2.0], [4.0]])
    assert measures.r2(torch.tensor([[0.0], [2.0], [2.0]]), target) == pytest.approx(1 - 4 / 8)
    assert measures.r2(target, target) == 1.0
    assert measures.r2(torch.ones(3, 1), torch.zeros(3, 1)) == 0.0
    # two predictions of 0.9 of which one is right, two of 0.2 of which none is
    sure, right = torch.tensor([0.9, 0.9, 0.2, 0.2]), torch.tensor([True, False, False, False])
    assert measures.calibration_error(sure, right, bins=10) == pytest.approx(0.5 * 0.4 + 0.5 * 0.2, abs=1e-6)
    assert measures.perplexity(torch.tensor([0.25, 0.25]).log()) == pytest.approx(4.0)
    assert measures.slope(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]])) == pytest.approx(3.0)


def test_class_weights() -> None:
    counts = torch.tensor([10, 30])
    assert ClassifyConfig(class_weights="balanced").weights_of(counts).tolist() == pytest.approx([2.0, 2 / 3])
    assert ClassifyConfig(class_weights="1,2").weights_of(counts).tolist() == [1.0, 2.0]
    assert ClassifyConfig().weights_of(counts) is None
    with pytest.raises(ValueError, match="class_weights must be 2 numbers, one for each class, got 3"):
        ClassifyConfig(class_weights="1,2,3").weights_of(counts)
    for wrong in ("1,-2", "heavy", "1,nan"):
        with pytest.raises(ValueError, match="class_weights must be balanced or positive numbers"):
            ClassifyConfig(class_weights=wrong)


def _optimizer(name: str = "adam", lr: float = 1.0) -> torch.optim.Optimizer:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    return optimizers.build(name, parameter, lr=lr)


@pytest.mark.parametrize("name", [name for name in schedules.names() if name not in ("multi-step",)])
def test_schedules_are_torchs_and_go_on_from_their_state(name: str) -> None:
    def rates(schedule: Schedule, optimizer: torch.optim.Optimizer, first: int, last: int) -> list[float]:
        found = []
        for done in range(first, last + 1):
            schedule.update(done)
            schedule.evaluation(1.0)
            found.append(float(optimizer.param_groups[0]["lr"]))
        return found

    def made() -> tuple[Schedule, torch.optim.Optimizer]:
        optimizer = _optimizer()
        return Schedule(name, optimizer, options={}, updates=20, largest=True), optimizer

    whole, optimizer = made()
    every = rates(whole, optimizer, 1, 20)
    before, first_optimizer = made()
    rates(before, first_optimizer, 1, 11)
    state, kept = before.state_dict(), optimizers.state_of(first_optimizer)
    after, second_optimizer = made()
    optimizers.load_state(second_optimizer, kept)
    if state:
        after.load_state_dict(state)
    assert rates(after, second_optimizer, 12, 20) == every[11:]
    if name not in ("constant", "step"):
        assert len(set(every)) > 1


def test_one_cycle_rises_to_the_learning_rate_and_falls() -> None:
    optimizer = _optimizer(lr=0.1)
    schedule = Schedule("one-cycle", optimizer, options={}, updates=100, largest=True)
    rates = []
    for done in range(1, 101):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        schedule.update(done)
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[-1] < 1e-5


def test_plateau_follows_the_evaluations() -> None:
    optimizer = _optimizer(lr=1.0)
    schedule = Schedule("plateau", optimizer, options={"patience": 1, "factor": 0.1}, updates=100, largest=True)
    rates = []
    for score in (0.5, 0.6, 0.6, 0.6, 0.7):
        schedule.evaluation(score)
        rates.append(float(optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1])


def test_wrong_schedules_and_options() -> None:
    with pytest.raises(ValueError, match=r"schedule must be one of constant, .*, got 'cosin'"):
        schedules.check("cosin", {})
    with pytest.raises(ValueError, match="has no option gamma; its options are T_max, eta_min"):
        schedules.check("cosine-annealing", {"gamma": 1})
    with pytest.raises(ValueError, match="schedule multi-step needs --schedule-options with milestones"):
        schedules.check("multi-step", {})
    schedules.check("multi-step", {"milestones": [1, 2]})
    with pytest.raises(ValueError, match="optimizer adam has no option momentum"):
        optimizers.check_options("adam", {"momentum": 0.9})
