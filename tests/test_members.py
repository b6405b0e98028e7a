"""Networks side by side: the fast form equals the plain one, and each member is the network that it says it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymnast import agents
from gymnast.networks.fast import products
from gymnast.networks.fast.members_mlp import members_mlp, views_of
from gymnast.networks.heads.members import Members
from gymnast.networks.layers.renorm import EPS, BatchRenorm
from gymnast.networks.modes import depends_on_mode, learning


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def members(**changes: Any) -> Members:
    return Members(5, (48, 40), 3, **{"members": 3, "generator": generator(), **changes})


def one_by_one(network: Members, member: int) -> nn.Sequential:
    """A member as torch's own layers, without dropout."""
    layers: list[nn.Module] = []
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight[member].detach().clone(), bias[member].detach().clone()
        layers.append(linear)
        if number < len(network.weights) - 1:
            if network.norm == "layer":
                norm = nn.LayerNorm(weight.shape[1])
                own: Any = network.norms[number]
                norm.weight.data, norm.bias.data = own.weight[member].detach(), own.bias[member].detach()
                layers.append(norm)
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_each_member_is_a_network_of_its_own(norm: Any) -> None:
    network, features = members(norm=norm), torch.randn(7, 5, generator=generator(1))
    output = network(features)
    assert output.shape == (3, 7, 3)
    for member in range(3):
        torch.testing.assert_close(output[member], one_by_one(network, member)(features), rtol=1e-5, atol=1e-6)
    assert not torch.equal(output[0], output[1])  # other initial weights


@pytest.mark.parametrize("outputs", [1, 3, 40])
@pytest.mark.parametrize("onednn", [False, True])
def test_the_fast_form_has_the_plain_forms_output_and_gradients(
    outputs: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not products.has_onednn():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(products, "uses_onednn", lambda: onednn)
    network = Members(5, (48, 40), outputs, members=2, generator=generator())
    features = torch.randn(64, 5, generator=generator(1), requires_grad=True)
    slopes = torch.randn(2, 64, outputs, generator=generator(2))
    layers = list(zip(network.weights, network.biases, strict=True))
    views = views_of(layers)
    fast = members_mlp(features, layers, views)
    own = [features, *network.parameters()]
    fast_grads = torch.autograd.grad((fast * slopes).sum(), own)
    plain = torch.stack([one_by_one(network, member)(features) for member in range(2)])
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
    (frozen,) = torch.autograd.grad((members_mlp(features, layers, views, frozen=True) * slopes).sum(), [features])
    assert torch.equal(frozen, fast_grads[0])
    network._fast = False
    by_layers = torch.autograd.grad((network(features) * slopes).sum(), own)
    for one, other in zip(fast_grads, by_layers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    network._fast_products = not network._fast_products
    plain_grads = torch.autograd.grad((network(features) * slopes).sum(), own)
    for one, other in zip(fast_grads, plain_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"norm": "layer"}, {"norm": "batch-renorm"}, {"activation": "silu"}])
def test_frozen_weights_get_no_gradient_and_features_the_same(changes: dict[str, Any]) -> None:
    network = members(**changes)
    features = torch.randn(6, 5, generator=generator(1), requires_grad=True)
    network(features).square().sum().backward()
    whole = features.grad
    torch.testing.assert_close(network(features, first=True), network(features)[:1])
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.zero_grad(set_to_none=True)
    features.grad = None
    network(features, frozen=True).square().sum().backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(features.grad, whole)


def test_dropout_follows_the_mode() -> None:
    network, features = members(dropout=0.5).eval(), torch.ones(4, 5)
    assert torch.equal(network(features), network(features))
    learning(network)
    assert not torch.equal(network(features), network(features))


def test_an_activation_with_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="activation must be one of relu"):
        members(activation="prelu")


def test_batch_renorm_warms_up_as_batch_norm() -> None:
    """In its warm-up the output is torch's BatchNorm in training mode, and so are the running statistics."""
    ours, theirs = BatchRenorm(2, 4, momentum=0.1), nn.BatchNorm1d(4, momentum=0.1, eps=EPS)
    features = torch.randn(2, 32, 4, generator=generator()) * 3 + 1
    learning(ours)
    theirs.train()
    torch.testing.assert_close(ours(features)[0], theirs(features[0]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.mean[0], theirs.running_mean)
    ours.eval()
    expected = (features[1] - ours.mean[1]) / (ours.var[1] + EPS).sqrt()
    torch.testing.assert_close(ours(features)[1], expected, rtol=1e-5, atol=1e-5)


def test_batch_renorm_agrees_with_its_running_statistics() -> None:
    """Once it is warm and r and d are within their bounds, training and evaluation give the same numbers."""
    norm = BatchRenorm(1, 3, momentum=0.05, warm_up=0)
    features = torch.randn(1, 64, 3, generator=generator()) + 0.5
    with torch.no_grad():
        norm.mean.copy_(features.mean(1) + 0.2)
        norm.var.copy_(features.var(1, correction=0) * 1.5)
    expected = norm.eval()(features)
    learning(norm)
    torch.testing.assert_close(norm(features), expected, rtol=1e-4, atol=1e-5)


def test_batch_renorm_carries_no_gradient_through_r_and_d() -> None:
    norm = BatchRenorm(1, 3, warm_up=0)
    with torch.no_grad():
        norm.mean.fill_(0.3)
        norm.var.fill_(1.7)
    learning(norm)
    features = torch.randn(1, 16, 3, generator=generator(), dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(1, 16, 3, generator=generator(1), dtype=torch.float64)
    (grad,) = torch.autograd.grad((norm.double()(features) * slopes).sum(), features)
    mean, var = features.mean(1, keepdim=True), features.var(1, correction=0, keepdim=True)
    ratio = ((var + EPS) / (torch.tensor(1.7) + EPS)).sqrt().detach()
    normal = (features - mean) / (var + EPS).sqrt() * ratio  # d is a constant: no gradient
    (expected,) = torch.autograd.grad((normal * slopes).sum(), features)
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)


def test_batch_renorm_is_known_to_depend_on_the_mode() -> None:
    assert depends_on_mode(members(norm="batch-renorm"))
    assert not depends_on_mode(members(norm="layer"))


@pytest.mark.parametrize(("name", "depends"), [("SAC", False), ("TD3", False), ("CrossQ", True), ("DroQ", True)])
def test_which_agents_depend_on_the_mode(name: str, depends: bool) -> None:
    """Others need not be switched around each update."""
    box = spaces.Box(-1.0, 1.0, (3,))
    agent = getattr(agents, name)(box, box)
    assert depends_on_mode(agent.online) == depends
    assert depends_on_mode(agent.network) == (name == "CrossQ")
