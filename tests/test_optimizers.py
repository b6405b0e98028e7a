"""Optimizers by name, and the papers' RMSProp by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gymnast.agents import optimizers


def flat(values: list[float]) -> nn.Parameter:
    parameter = nn.Parameter(torch.tensor(values))
    parameter.grad = torch.zeros(len(values))
    return parameter


@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_goes_downhill(name: str) -> None:
    parameter = flat([1.0, -2.0])
    optimizer = optimizers.build(name, parameter, lr=0.01)
    assert optimizer.param_groups[0]["lr"] == 0.01
    for _ in range(5):
        parameter.grad.copy_(2 * parameter.detach())
        optimizer.step()
    assert 0 < parameter[0] < 1
    assert -2 < parameter[1] < 0


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad"])
def test_fused_where_torch_has_it(name: str) -> None:
    assert optimizers.build(name, flat([1.0]), lr=0.1).param_groups[0]["fused"]


def test_learning_rate_may_change_between_steps() -> None:
    parameter = flat([1.0])
    optimizer = optimizers.build("sgd", parameter, lr=0.5)
    parameter.grad.fill_(1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert parameter.item() == 0.75


def test_nature_rmsprop_by_hand() -> None:
    parameter = flat([1.0])
    optimizer = optimizers.build("nature-rmsprop", parameter, lr=0.1, eps=0.01)
    assert optimizer.param_groups[0]["alpha"] == 0.95
    value = mean = square = 0.0
    value = 1.0
    for grad in (2.0, -1.0, 0.5):
        parameter.grad.fill_(grad)
        optimizer.step()
        mean, square = 0.95 * mean + 0.05 * grad, 0.95 * square + 0.05 * grad**2
        value -= 0.1 * grad / math.sqrt(square - mean**2 + 0.01)
        assert parameter.item() == pytest.approx(value, rel=1e-5)


def test_torch_s_rmsprop_has_epsilon_outside_the_root() -> None:
    parameter = flat([1.0])
    optimizer = optimizers.build("rmsprop", parameter, lr=0.1, eps=0.01)
    parameter.grad.fill_(2.0)
    optimizer.step()
    assert parameter.item() == pytest.approx(1 - 0.1 * 2 / (math.sqrt(0.01 * 4) + 0.01), rel=1e-5)


def test_nature_rmsprop_goes_on_from_its_state() -> None:
    one, other = flat([1.0, 2.0]), flat([1.0, 2.0])
    first = optimizers.build("nature-rmsprop", one, lr=0.1)
    one.grad.fill_(1.0)
    first.step()
    second = optimizers.build("nature-rmsprop", other, lr=0.1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    other.data.copy_(one.data)
    for parameter, optimizer in ((one, first), (other, second)):
        parameter.grad.fill_(-3.0)
        optimizer.step()
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "eps", "message"),
    [
        ("adm", None, "optimizer must be one of .*, got 'adm'; did you mean adam?"),
        ("Adam", None, "got 'Adam'; did you mean adam?"),
        ("lbfgs", None, "optimizer lbfgs does not fit: it needs a closure"),
        ("sparseadam", None, "sparse gradients"),
        ("adafactor", None, "one flat vector"),
        ("muon", None, "one flat vector"),
        ("sgd", 1e-8, "optimizer_eps does not fit: sgd has no epsilon"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, eps: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        optimizers.check(name, eps)


def test_refused_optimizers_are_those_that_are_not_elementwise() -> None:
    """A step on the flat vector must equal steps on its pieces: so it is for each name that is offered."""
    torch.manual_seed(0)
    start, grads = torch.randn(6), torch.randn(4, 6)
    for name in optimizers.names():
        whole = flat(start.tolist())
        parts = [flat(start[:2].tolist()), flat(start[2:].tolist())]
        steps = [optimizers.build(name, parameter, lr=0.01) for parameter in (whole, *parts)]
        for grad in grads:
            for parameter, piece in zip((whole, *parts), (grad, grad[:2], grad[2:]), strict=True):
                parameter.grad.copy_(piece)
            for optimizer in steps:
                optimizer.step()
        torch.testing.assert_close(torch.cat([part.detach() for part in parts]), whole.detach(), msg=name)
