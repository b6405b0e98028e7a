"""A transformer as memory: whole sequences equal steps, windows, resets, the gate of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gymnast.networks.layers.gated_transformer import GatedTransformer, GRUGate
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.recurrent import reset


def made(*, window: int, layers: int = 1, features: int = 3) -> GatedTransformer:
    network = GatedTransformer(features, 8, window=window, layers=layers, heads=2)
    generator = torch.Generator().manual_seed(0)
    initialise(network, "torch", activation=None, generator=generator)
    for name, parameter in network.named_parameters():
        if name.endswith("distances"):
            torch.nn.init.normal_(parameter, generator=generator)
    return network


def stepped(network: GatedTransformer, features: Tensor, start: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The naive version: one step after another."""
    outputs = []
    for time in range(features.shape[1]):
        output, memory = network.step(features[:, time], reset(memory, start[:, time]))
        outputs.append(output)
    return torch.stack(outputs, 1), memory


@pytest.mark.parametrize(("window", "layers"), [(2, 1), (4, 2), (7, 3), (40, 2)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_sequences_equal_single_steps_wherever_episodes_begin(window: int, layers: int, share: float) -> None:
    """Outputs, memories and every gradient, from memories of 0 to 5 steps."""
    network, rng = made(window=window, layers=layers), torch.Generator().manual_seed(1)
    with torch.no_grad():
        before = torch.rand(6, 5, generator=rng) < 0.3
        _, memory = stepped(network, torch.randn(6, 5, 3, generator=rng), before, torch.zeros(6, network.memory_size))
    features = torch.randn(6, 12, 3, generator=rng, requires_grad=True)
    start = torch.rand(6, 12, generator=rng) < share
    naive, naive_after = stepped(network, features, start, memory)
    output, after = network(features, start, memory), network.after(features, start, memory)
    assert torch.allclose(output, naive, atol=1e-5)
    assert torch.allclose(after, naive_after, atol=1e-5)
    weights = torch.randn(output.shape, generator=rng)
    fast = torch.autograd.grad((output * weights).sum(), [features, *network.parameters()])
    slow = torch.autograd.grad((naive * weights).sum(), [features, *network.parameters()])
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert share == 1.0 or all(gradient.abs().max() > 0 for gradient in fast)  # no choice among one step


def test_a_layer_sees_the_window_and_nothing_after_or_before_it() -> None:
    network = made(window=4, layers=2)
    features = torch.randn(1, 12, 3, requires_grad=True)
    output = network(features, torch.zeros(1, 12, dtype=torch.bool), torch.zeros(1, network.memory_size))
    (gradient,) = torch.autograd.grad(output[0, 9].sum(), features)
    assert gradient[0].abs().sum(1).nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]  # 2 * 3 steps back


def test_an_episode_does_not_see_the_one_before() -> None:
    network = made(window=6)
    features, memory = torch.randn(2, 8, 3), torch.randn(2, network.memory_size)
    memory[:, -1] = 5.0
    start = torch.zeros(2, 8, dtype=torch.bool)
    start[:, 4] = True
    output = network(features, start, memory)
    apart = network(features[:, 4:], torch.zeros(2, 4, dtype=torch.bool), torch.zeros_like(memory))
    assert torch.allclose(output[:, 4:], apart, atol=1e-6)
    changed = network(features + (torch.arange(8) < 4).view(1, 8, 1), start, memory)
    assert torch.equal(output[:, 4:], changed[:, 4:])
    assert not torch.allclose(output[:, :4], changed[:, :4])


def test_places_within_the_window_are_told_apart() -> None:
    network = made(window=4)
    features = torch.randn(1, 4, 3)
    swapped = features[:, [1, 0, 2, 3]]
    start, memory = torch.zeros(1, 4, dtype=torch.bool), torch.zeros(1, network.memory_size)
    assert not torch.allclose(network(features, start, memory)[0, 3], network(swapped, start, memory)[0, 3], atol=1e-4)
    with torch.no_grad():
        network.layers[0].distances.zero_()  # the same bias at all distances: a set of steps
    assert torch.allclose(network(features, start, memory)[0, 3], network(swapped, start, memory)[0, 3], atol=1e-6)


def test_the_memory_holds_the_last_inputs_and_their_number() -> None:
    network = made(window=4)
    features = torch.randn(1, 2, 3)
    memory = torch.zeros(1, network.memory_size)
    assert network.memory_size == 3 * 8 + 1
    for time in range(2):
        _, memory = network.step(features[:, time], memory)
    assert memory[0, -1] == 2.0
    assert not memory[0, :8].any()
    torch.testing.assert_close(memory[0, 8:24].view(2, 8), network.embed(features[0]))


def test_the_gate_has_its_papers_equations() -> None:
    gate = GRUGate(1)
    with torch.no_grad():
        for layer, weights in ((gate.of_output, [1.0, 2.0, 3.0]), (gate.of_input, [0.1, 0.2]), (gate.candidate, [0.3])):
            layer.weight[:, 0], layer.bias[:] = torch.tensor(weights), 0.0
    x, y = torch.tensor(2.0), torch.tensor(0.5)
    r, z = torch.sigmoid(1.0 * y + 0.1 * x), torch.sigmoid(2.0 * y + 0.2 * x - 2.0)
    h = torch.tanh(3.0 * y + 0.3 * (r * x))
    assert gate(x.view(1, 1), y.view(1, 1)).item() == pytest.approx(((1 - z) * x + z * h).item(), abs=1e-6)
