"""Noisy layers: the formula, how they begin, whose noise it is, and when it is new."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.envs.step import Step
from gymnast.networks.layers.noisy import SIGMA_INDEPENDENT, Linear, NoisyLayers, NoisyLinear, draw_noise

BOX = spaces.Box(-np.inf, np.inf, (3,))
KINDS = pytest.mark.parametrize("kind", ["factorised", "independent"])
NOISY = DQNConfig(
    noisy=True,
    hidden_sizes=(6, 5),
    batch_size=4,
    replay_size=200,
    learning_starts=8,
    train_period=1,
    target_period=10,
    learning_rate=0.01,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(kind: Any, inputs: int = 2, outputs: int = 3, *, offset: int = 0, sigma: float = 0.5) -> NoisyLinear:
    made = NoisyLinear(inputs, outputs, kind=kind, sigma=sigma, offset=offset)
    made.initialise(generator())
    return made


def agent(config: DQNConfig = NOISY, *, num_envs: int = 1, **changes: Any) -> DQN:
    return DQN(BOX, spaces.Discrete(3), dataclasses.replace(config, **changes), num_envs=num_envs, seed=1)


def fill(learner: DQN, steps: int = 12) -> None:
    """Random transitions."""
    rng = np.random.default_rng(0)
    rows, no = learner.num_envs, torch.zeros(learner.num_envs, dtype=torch.bool)
    obs = torch.zeros(rows, 3)
    for _ in range(steps):
        successor = torch.from_numpy(rng.normal(size=(rows, 3)).astype(np.float32))
        action = Acted(torch.from_numpy(rng.integers(3, size=rows)))
        learner.store(
            obs, action, Step(successor, no, successor, torch.ones(rows), no, no, num_active=rows, num_ended=0)
        )
        obs = successor


# One layer.


def test_factorised_noise_by_hand() -> None:
    """y_j = sum_i (mu_ji + sigma_ji e_i e_j) x_i + mu_j + sigma_j e_j."""
    made = layer("factorised", 2, 1, offset=1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 2.0]]))
        made.weight_sigma.copy_(torch.tensor([[0.5, 0.25]]))
        made.bias.fill_(10.0)
        made.bias_sigma.fill_(0.125)
    noise = torch.tensor([[99.0, 2.0, -4.0, 3.0]])  # another layer's, then two inputs and one output
    features = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    first = (1 + 0.5 * 2 * 3) + (2 + 0.25 * -4 * 3) + 10 + 0.125 * 3
    second = 2 * (2 + 0.25 * -4 * 3) + 10 + 0.125 * 3
    assert made(features, noise).tolist() == [[first], [second]]
    assert made(features).tolist() == [[13.0], [14.0]]  # without noise the means


@KINDS
@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (1, 6), (6, 6), (2, 6)])
def test_noise_equals_the_loop(kind: Any, rows: int, batch: int) -> None:
    """The weights of each row are built; a row of noise serves batch / rows rows of features."""
    made = layer(kind, 4, 3, offset=5)
    with torch.no_grad():
        made.weight_sigma.normal_(generator=generator(1))
        made.bias_sigma.normal_(generator=generator(2))
    noise = torch.randn(rows, 5 + made.noise_size, generator=generator(3))
    features = torch.randn(batch, 4, generator=generator(4))
    output = made(features, noise)
    assert output.shape == (batch, 3)
    for number in range(batch):
        mine = noise[number // (batch // rows), 5:]
        if kind == "factorised":
            weights, biases = torch.outer(mine[4:], mine[:4]), mine[4:]
        else:
            weights, biases = mine[:12].view(3, 4), mine[12:]
        weight, bias = made.weight + made.weight_sigma * weights, made.bias + made.bias_sigma * biases
        torch.testing.assert_close(output[number], weight @ features[number] + bias)


@KINDS
def test_sigma_is_learned(kind: Any) -> None:
    made = layer(kind)
    noise = torch.randn(1, made.noise_size, generator=generator(3))
    made(torch.ones(4, 2), noise).square().sum().backward()
    for parameter in made.parameters():
        assert parameter.grad is not None
        assert parameter.grad.all()
    made.zero_grad()
    made(torch.ones(4, 2)).square().sum().backward()
    assert made.weight_sigma.grad is None
    assert made.bias_sigma.grad is None


@pytest.mark.parametrize(
    ("kind", "bound", "sigma"),
    [("factorised", 1 / 20, 0.5 / 20), ("independent", math.sqrt(3 / 400), SIGMA_INDEPENDENT)],
)
@pytest.mark.parametrize("init", ["torch", "orthogonal", "he"])
def test_noisy_layers_begin_as_in_their_paper(kind: Any, bound: float, sigma: float, init: Any) -> None:
    """400 inputs (Fortunato et al. 2018, section 3.2), whatever initialises the other layers."""
    config = dataclasses.replace(NOISY, noise=kind, hidden_sizes=(400, 300), init=init)
    learner = agent(config)
    made = learner.online.head.stream.hidden[0]
    assert isinstance(made, NoisyLinear)
    assert made.weight.shape == (300, 400)
    for mean in (made.weight, made.bias):
        assert mean.abs().max().item() == pytest.approx(bound, rel=0.03)
        assert mean.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert (made.weight_sigma == np.float32(sigma)).all()
    assert (made.bias_sigma == np.float32(sigma)).all()


def test_sigma_of_the_config_is_the_factorised_one_s() -> None:
    assert layer("factorised", 4, 2, sigma=0.1).weight_sigma.unique().tolist() == [pytest.approx(0.05)]
    assert layer("independent", 4, 2, sigma=0.1).weight_sigma.unique().tolist() == [pytest.approx(0.017)]


def test_layers_share_no_noise() -> None:
    made = NoisyLayers("factorised", 0.5)
    one, other = made(2, 3), made(3, 4)
    assert (one.offset, one.noise_size, other.offset, other.noise_size) == (0, 5, 5, 7)
    assert made.noise_size == 12
    independent = NoisyLayers("independent", 0.5)
    assert independent(2, 3).noise_size == 2 * 3 + 3


def test_drawn_noise() -> None:
    noise = torch.zeros(3, 1, 40_000)
    draw_noise(noise, "independent", generator(0), weights=30_000)
    normal, fractions = noise[..., :30_000], noise[..., 30_000:]
    assert normal.mean().item() == pytest.approx(0.0, abs=0.02)
    assert normal.std().item() == pytest.approx(1.0, abs=0.02)
    assert fractions.min() >= 0.0
    assert fractions.max() <= 1.0
    quarters = torch.histc(fractions, 4, 0, 1) / fractions.numel()
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.01)
    squeezed = torch.zeros_like(noise)
    draw_noise(squeezed, "factorised", generator(0), weights=30_000)
    assert torch.equal(squeezed[..., 30_000:], fractions)  # fractions stay uniform
    expected = normal.sign() * normal.abs().sqrt()  # eq. 10
    torch.testing.assert_close(squeezed[..., :30_000], expected)


# An agent's noise.


@KINDS
@pytest.mark.parametrize("dueling", [False, True])
def test_every_layer_of_the_head_is_noisy_and_no_other(kind: Any, dueling: bool) -> None:
    learner = agent(noise=kind, dueling=dueling)
    layers = [module for module in learner.online.head.modules() if isinstance(module, NoisyLinear | Linear)]
    assert len(layers) == (4 if dueling else 2)
    assert all(isinstance(module, NoisyLinear) for module in layers)
    spans = sorted((module.offset, module.offset + module.noise_size) for module in layers)
    assert spans[0][0] == 0
    assert spans[-1][1] == learner.online.noise_size
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert not any(isinstance(module, NoisyLinear) for module in learner.online.backbone.modules())
    assert agent(noisy=False).online.noise_size == 0


@KINDS
@pytest.mark.parametrize("double", [False, True])
def test_an_update_draws_independent_noise_for_each_of_its_networks(
    kind: Any, double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spy on the networks: three draws in one update, and others in the next one."""
    learner = agent(noise=kind, double=double)
    fill(learner)
    used: list[tuple[str, Tensor]] = []

    def spy(name: str, network: Any) -> Any:
        def forward(obs: Tensor, noise: Tensor) -> Tensor:
            used.append((name, noise.clone()))
            return network(obs, noise)

        return forward

    monkeypatch.setattr(learner, "_online", spy("online", learner._online))
    monkeypatch.setattr(learner, "_target", spy("target", learner._target))
    for _ in range(3):
        learner.learn()
    order = ["online", "target", "online"] if double else ["online", "target"]
    assert [name for name, _ in used] == order * 3
    drawn = torch.cat([noise for _, noise in used])
    assert drawn.shape == (len(order) * 3, learner.online.noise_size)  # one row for the whole batch
    assert len(drawn.unique(dim=0)) == len(drawn)


@KINDS
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_noise_is_new_for_every_action_and_row(kind: Any, activation: str, num_envs: int) -> None:
    """In NumPy (relu) and in torch: one observation for all rows and times, values that all differ."""
    learner = agent(noise=kind, activation=activation, num_envs=num_envs)
    actor = learner.actor(num_envs, explore=True, seed=0)
    obs = torch.ones(num_envs, 3)
    values = np.concatenate([actor._q(obs) for _ in range(5)])
    assert len(np.unique(values, axis=0)) == 5 * num_envs
    with torch.no_grad():
        mean = learner.online(obs[:1])[..., 0].numpy()
    many = np.concatenate([actor._q(obs) for _ in range(600)])
    assert len(np.unique(many.argmax(1))) > 1  # it explores
    if kind == "independent":
        np.testing.assert_allclose(many.mean(0), mean[0], atol=0.05)


def test_exploring_noise_needs_no_epsilon() -> None:
    learner = agent(epsilon=1.0)
    assert learner.scheduled()["epsilon"] == 0.0
    assert agent(epsilon=1.0, noisy_epsilon=0.25).scheduled()["epsilon"] == 0.25
    assert agent(epsilon=1.0, noisy=False).scheduled()["epsilon"] == 1.0


@KINDS
@pytest.mark.parametrize("values", ["scalar", "implicit"])
def test_evaluation_is_noise_free_and_repeatable(kind: Any, values: Any) -> None:
    """Whatever train() and eval() say, and whatever noise training has just used."""
    learner = agent(noise=kind, values=values, quantiles=4)
    fill(learner)
    obs = torch.randn(64, 3, generator=generator(0))
    with torch.no_grad():
        means = learner.values.q(learner.online(obs)).numpy()
    start = torch.ones(64, dtype=torch.bool)
    for mode in (True, False):
        learner.online.train(mode)
        explorer = learner.actor(1, explore=True, seed=0)
        noisy = [explorer._q(obs[:1]) for _ in range(3)]
        assert len({values.tobytes() for values in noisy}) == 3
        for seed in (0, 1):
            evaluator = learner.actor(64, explore=False, seed=seed)
            for _ in range(2):
                np.testing.assert_allclose(evaluator._q(obs), means, rtol=1e-5, atol=1e-6)
                assert evaluator.act(obs, start).action.tolist() == means.argmax(1).tolist()


def test_an_actor_goes_on_with_the_same_noise() -> None:
    learner = agent(num_envs=2)
    one, other = (learner.actor(2, explore=True, seed=seed) for seed in (0, 1))
    obs = torch.ones(2, 3)
    assert not np.array_equal(one._q(obs), other._q(obs))
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        assert np.array_equal(one._q(obs), other._q(obs))


def test_acting_and_learning_draw_from_generators_of_their_own() -> None:
    """Actions between updates do not change the updates' noise, nor torch's own generator."""
    one, other = agent(), agent()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for learner in (one, other):
        fill(learner)
    actor = one.actor(1, explore=True, seed=0)
    for _ in range(3):
        actor.act(torch.ones(1, 3), torch.zeros(1, dtype=torch.bool))
        one.learn()
        other.learn()
    assert torch.equal(one.weights.data, other.weights.data)
    assert torch.equal(before, torch.get_rng_state())


def test_one_draw_for_many_rows_is_the_same_for_each() -> None:
    """Weights formed once for a batch (on the CPU), and noise given row by row: outputs and gradients are equal."""
    layer = NoisyLinear(7, 5, kind="factorised", sigma=0.5, offset=2)
    layer.initialise(torch.Generator().manual_seed(0))
    features, noise = torch.randn(32, 7, requires_grad=True), torch.randn(1, 2 + layer.noise_size)
    upstream = torch.randn(32, 5)
    results = []
    for given in (noise, noise.expand(32, -1)):
        output = layer(features, given)
        with torch.no_grad():
            torch.testing.assert_close(layer(features, given), output)
        results.append((output, *torch.autograd.grad(output, [features, *layer.parameters()], upstream)))
    for formed, by_row in zip(*results, strict=True):
        torch.testing.assert_close(formed, by_row)
