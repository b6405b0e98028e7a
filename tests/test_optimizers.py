"""Optimizers by name, and the papers' RMSProp by hand."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gymnast.agents.optim import optimizers
from gymnast.agents.optim.laprop import LaProp, clip_adaptively
from gymnast.agents.optim.radam import RAdam
from gymnast.networks.fast.flat import FlatParameters


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


def test_a3c_rmsprop_by_hand() -> None:
    parameter = flat([1.0])
    optimizer = optimizers.build("a3c-rmsprop", parameter, lr=0.1, eps=0.01)
    assert optimizer.param_groups[0]["alpha"] == 0.99
    value = square = 1.0  # the average begins at 1
    for step, grad in enumerate((2.0, -1.0, 0.5)):
        rate = 0.1 / (step + 1)
        optimizers.set_learning_rate(optimizer, rate)
        parameter.grad.fill_(grad)
        optimizer.step()
        square = 0.99 * square + 0.01 * grad**2
        value -= rate * grad / math.sqrt(square + 0.01)
        assert parameter.item() == pytest.approx(value, rel=1e-5)
        assert parameter.grad == grad


def test_a3c_rmsprop_s_average_may_be_shared() -> None:
    """Two workers' optimizers of one parameter go on with one average, which lies in memory that they share."""
    parameter, alone = flat([1.0, 2.0]), flat([1.0, 2.0])
    square = torch.ones(2).share_memory_()
    workers = [optimizers.build("a3c-rmsprop", parameter, lr=0.1) for _ in range(2)]
    reference = optimizers.build("a3c-rmsprop", alone, lr=0.1)
    for worker in workers:
        worker.state[parameter]["square"] = square
    for step in range(6):
        for each in (parameter, alone):
            each.grad.copy_(torch.tensor([1.0, -2.0]) * step)
        workers[step % 2].step()
        reference.step()
    assert torch.equal(parameter, alone)
    assert torch.equal(square, reference.state[alone]["square"])
    assert square.is_shared()
    assert all(worker.state[parameter]["square"] is square for worker in workers)


def test_torch_s_rmsprop_has_epsilon_outside_the_root() -> None:
    parameter = flat([1.0])
    optimizer = optimizers.build("rmsprop", parameter, lr=0.1, eps=0.01)
    parameter.grad.fill_(2.0)
    optimizer.step()
    assert parameter.item() == pytest.approx(1 - 0.1 * 2 / (math.sqrt(0.01 * 4) + 0.01), rel=1e-5)


@pytest.mark.parametrize("name", optimizers.PAPERS)
def test_papers_rmsprop_goes_on_from_its_state(name: str) -> None:
    one, other = flat([1.0, 2.0]), flat([1.0, 2.0])
    first = optimizers.build(name, one, lr=0.1)
    one.grad.fill_(1.0)
    first.step()
    second = optimizers.build(name, other, lr=0.1)
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
        ("a3c-rmspro", None, "did you mean a3c-rmsprop?"),
        ("lbfgs", None, "optimizer lbfgs cannot be used: it needs a closure"),
        ("sparseadam", None, "sparse gradients"),
        ("adafactor", None, "one flat vector"),
        ("muon", None, "one flat vector"),
        ("sgd", 1e-8, "optimizer_eps has no effect: sgd has no epsilon"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, eps: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        optimizers.check(name, eps)


@pytest.mark.parametrize("name", optimizers.PAPERS)
def test_a_captured_step_takes_its_learning_rate_from_a_tensor(name: str) -> None:
    optimizers.check(name, 1e-5, captured=True)
    one, other = flat([1.0, 2.0]), flat([1.0, 2.0])
    built = [optimizers.build(name, one, lr=0.1, captured=True), optimizers.build(name, other, lr=0.1)]
    assert isinstance(built[0].param_groups[0]["lr"], torch.Tensor)
    for rate in (0.1, 0.01):
        for parameter, optimizer in zip((one, other), built, strict=True):
            optimizers.set_learning_rate(optimizer, rate)
            parameter.grad.fill_(3.0)
            optimizer.step()
    torch.testing.assert_close(one, other)


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


@pytest.mark.parametrize("on_device", [False, True])
def test_radam_takes_the_steps_of_torchs(on_device: bool) -> None:
    class Made(RAdam):
        _by_host = RAdam._by_device if on_device else RAdam._by_host

    start, draws = torch.randn(20, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    parameters = [nn.Parameter(start.clone()) for _ in range(2)]
    made = [torch.optim.RAdam([parameters[0]], lr=0.1), Made([parameters[1]], lr=0.1)]
    for _ in range(12):  # from the sixth on they are rectified
        grad = torch.randn(20, generator=draws)
        for parameter, optimizer in zip(parameters, made, strict=True):
            parameter.grad = grad.clone()
            optimizer.step()
        torch.testing.assert_close(*parameters, rtol=1e-5, atol=1e-6)


def test_laprop_normalises_before_it_averages() -> None:
    """Ziyin et al. 2020, algorithm 1, one number at a time."""
    parameter, draws = flat([1.0, -2.0]), torch.Generator().manual_seed(1)
    optimizer = LaProp([parameter], lr=0.1, betas=(0.8, 0.9), eps=1e-6)
    by_hand, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step in range(1, 8):
        grad = torch.randn(2, generator=draws)
        parameter.grad.copy_(grad)
        optimizer.step()
        for i, g in enumerate(grad.tolist()):
            square[i] = 0.9 * square[i] + 0.1 * g * g
            mean[i] = 0.8 * mean[i] + 0.2 * g / (math.sqrt(square[i] / (1 - 0.9**step)) + 1e-6)
            by_hand[i] -= 0.1 * mean[i] / (1 - 0.8**step)
        assert parameter.tolist() == pytest.approx(by_hand, rel=1e-5)


def test_adaptive_clipping_bounds_each_gradient_by_its_weights() -> None:
    """Brock et al. 2021, equation 3, for whole tensors."""
    draws = torch.Generator().manual_seed(2)
    weights = [torch.randn(size, generator=draws) for size in (4, 7)] + [torch.zeros(3)]
    gradients = [
        scale * torch.randn(len(w), generator=draws) for scale, w in zip((9.0, 0.01, 2.0), weights, strict=True)
    ]
    expected = []
    for weight, gradient in zip(weights, gradients, strict=True):
        allowed = 0.3 * max(weight.norm().item(), 1e-3)
        expected.append(gradient * min(1.0, allowed / gradient.norm().item()))
    clip_adaptively(weights, gradients, clip=0.3)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.equal(gradients[1], expected[1])  # a small one is left as it is


def test_a_run_that_compiles_nothing_does_not_import_dynamo(tmp_path: Path) -> None:
    """Importing it takes as long as torch itself, at the start of every run and of every worker of A3C."""
    code = (
        "import sys; from gymnast import TrainOptions, train;"
        "train('ppo', TrainOptions(env='CartPole-v1', steps=300, eval_episodes=1, video=False));"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_state_is_matched_by_the_names_of_the_parameters() -> None:
    """A network that registers its layers in another order goes on with the right moments."""
    torch.manual_seed(0)
    first, second = nn.Linear(2, 3), nn.Linear(3, 1)
    agents = []
    for order in (("a", "b"), ("b", "a")):
        module = nn.Module()
        for name in order:
            module.add_module(name, copy.deepcopy({"a": first, "b": second}[name]))
        weights = FlatParameters(module)
        agents.append((module, weights, optimizers.build("adam", weights.parameter, lr=0.1)))
    (module, weights, optimizer), (other, other_weights, other_optimizer) = agents
    weights.grad.copy_(torch.arange(13.0))
    optimizer.step()
    other.load_state_dict(module.state_dict())
    optimizers.load_state(other_optimizer, optimizers.state_of(optimizer, weights), other_weights)
    for parameters, step in ((weights, optimizer), (other_weights, other_optimizer)):
        parameters.grad.fill_(1.0)
        step.step()
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_a_state_of_other_parameters_is_refused() -> None:
    weights, other = FlatParameters(nn.Linear(2, 3)), FlatParameters(nn.Sequential(nn.Linear(2, 3)))
    state = optimizers.state_of(optimizers.build("adam", weights.parameter, lr=0.1), weights)
    with pytest.raises(ValueError, match="of other parameters than the network has"):
        optimizers.load_state(optimizers.build("adam", other.parameter, lr=0.1), state | {"state": {0: {}}}, other)
