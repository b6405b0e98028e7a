"""Distributions over actions: by hand, and against torch.distributions; masks, bounds, and how they are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch import distributions as oracle

from gymnast.networks.distributions.distributions import Distribution, SquashedGaussian, distribution

BOUNDS = spaces.Box(np.array([-2, 0, -1], np.float32), np.array([1, 10, -0.5], np.float32))
UNBOUNDED = spaces.Box(np.array([-np.inf, -1], np.float32), np.array([0.5, np.inf], np.float32))
SPACES: dict[str, tuple[Any, bool]] = {
    "discrete": (spaces.Discrete(5), False),
    "discrete-start": (spaces.Discrete(3, start=-4), False),
    "multi-discrete": (spaces.MultiDiscrete([3, 2, 4]), False),
    "multi-discrete-even": (spaces.MultiDiscrete([3, 3]), False),
    "multi-discrete-nd": (spaces.MultiDiscrete([[2, 3], [1, 5]], start=[[1, 0], [-3, 2]]), False),
    "multi-binary": (spaces.MultiBinary(4), False),
    "multi-binary-nd": (spaces.MultiBinary([2, 3]), False),
    "box": (BOUNDS, False),
    "box-unbounded": (UNBOUNDED, False),
    "box-float64": (spaces.Box(-1.0, 1.0, (2, 2), np.float64), False),
    "box-scalar": (spaces.Box(-1.0, 1.0, ()), False),
    "squash": (BOUNDS, True),
    "squash-float64": (spaces.Box(-1.0, 1.0, (2, 2), np.float64), True),
}
EVERY = pytest.mark.parametrize("name", SPACES)
CHOICES = pytest.mark.parametrize("name", [name for name, (space, _) in SPACES.items() if space.dtype.kind != "f"])


def built(name: str) -> Distribution:
    space, squash = SPACES[name]
    return distribution(space, squash=squash)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def outputs(of: Distribution, *leading: int, seed: int = 0) -> Tensor:
    return 0.7 * torch.randn(*leading, of.outputs + of.scales, generator=generator(seed))


def expected(name: str, output: Tensor) -> Any:
    """torch's own distribution of the same raw actions; squashed ones have none."""
    space, _ = SPACES[name]
    if isinstance(space, spaces.Discrete):
        return oracle.Categorical(logits=output)
    if isinstance(space, spaces.MultiBinary):
        return oracle.Independent(oracle.Bernoulli(logits=output), 1)
    mean, log_std = output.chunk(2, -1)
    return oracle.Independent(oracle.Normal(mean, log_std.exp()), 1)


def parts(name: str, output: Tensor) -> list[oracle.Categorical]:
    """Of the parts of a MultiDiscrete space."""
    sizes = SPACES[name][0].nvec.flatten().tolist()
    return [oracle.Categorical(logits=logits) for logits in output.split(sizes, -1)]


@EVERY
@pytest.mark.parametrize("leading", [(7,), (5, 3), ()])
def test_log_prob_and_entropy_are_torch_s(name: str, leading: tuple[int, ...]) -> None:
    mine = built(name)
    output = outputs(mine, *leading)
    raw = mine.sample(output, generator())
    assert raw.shape == (*leading, *mine.shape)
    assert raw.dtype == mine.dtype
    log_prob, entropy = mine.log_prob(output, raw), mine.entropy(output)
    assert log_prob.shape == entropy.shape == leading
    assert mine.mode(output).shape == raw.shape
    if isinstance(mine, SquashedGaussian):
        return
    if name.startswith("multi-discrete"):
        each = parts(name, output)
        likelihood = sum(part.log_prob(raw[..., i]) for i, part in enumerate(each))
        spread = sum(part.entropy() for part in each)
        best = torch.stack([part.probs.argmax(-1) for part in each], -1)
    else:
        torch_s = expected(name, output)
        likelihood, spread = (
            torch_s.log_prob(raw if raw.is_floating_point() else raw.to(output.dtype)),
            torch_s.entropy(),
        )
        best = torch_s.mode.to(raw.dtype)
    torch.testing.assert_close(log_prob, likelihood)
    torch.testing.assert_close(entropy, spread)
    assert torch.equal(mine.mode(output), best)


@EVERY
@pytest.mark.parametrize("leading", [(8,), (4, 2)])
def test_fused_ways_are_the_separate_ones(name: str, leading: tuple[int, ...]) -> None:
    mine = built(name)
    output = outputs(mine, *leading)
    mine_draws, other_draws = generator(3), generator(3)
    for _ in range(3):
        raw, log_prob = mine.act(output, mine_draws)
        assert torch.equal(raw, mine.sample(output, other_draws))
        assert torch.equal(mine_draws.get_state(), other_draws.get_state())
        torch.testing.assert_close(log_prob, mine.log_prob(output, raw), rtol=1e-5, atol=1e-5)
    given = output.clone().requires_grad_()
    both = mine.log_prob_entropy(given, raw)
    separate = mine.log_prob(given, raw), mine.entropy(given)
    for one, other in zip(both, separate, strict=True):
        torch.testing.assert_close(one, other)
        grads = [torch.autograd.grad(value.sum(), given, retain_graph=True)[0] for value in (one, other)]
        torch.testing.assert_close(*grads)


@EVERY
def test_draws_depend_on_the_generator_alone(name: str) -> None:
    mine = built(name)
    output = outputs(mine, 6)
    torch.manual_seed(1)
    one = mine.sample(output, generator(5))
    torch.manual_seed(2)
    assert torch.equal(one, mine.sample(output, generator(5)))
    draws = [mine.sample(output, generator(seed)) for seed in range(20)]
    assert any(not torch.equal(one, other) for other in draws)


@EVERY
def test_the_environment_takes_what_is_drawn(name: str) -> None:
    mine, space = built(name), SPACES[name][0]
    raw = mine.sample(3 * outputs(mine, 200), generator())
    actions = mine.to_env(raw).numpy()
    assert actions.shape == (200, *space.shape)
    assert actions.dtype == space.dtype
    each = [np.asarray(action) for action in actions] if isinstance(space, spaces.Box) else actions
    assert all(space.contains(action) for action in each)
    nested = mine.to_env(raw.view(20, 10, *mine.shape)).numpy()
    assert (nested.reshape(actions.shape) == actions).all()


def chi_square(counts: np.ndarray, probability: np.ndarray) -> float:
    """How unlikely the counts are, in deviations of the statistic from its mean (for many cells about normal)."""
    mean = counts.sum() * probability
    cells = len(counts) - 1
    return float((((counts - mean) ** 2 / mean).sum() - cells) / math.sqrt(2 * cells))


@CHOICES
def test_choices_are_drawn_in_proportion(name: str) -> None:
    mine = built(name)
    output = outputs(mine)
    raw = mine.sample(output.expand(40_000, -1), generator()).view(40_000, -1)
    values, counts = raw.unique(dim=0, return_counts=True)
    shaped = values.view(-1, *mine.shape)
    probability = mine.log_prob(output.expand(len(values), -1), shaped).exp()
    assert probability.sum().item() == pytest.approx(1.0, abs=2e-3)  # all combinations but the rarest
    common = probability * 40_000 > 5
    if common.sum() > 1:
        share = (probability[common] / probability[common].sum()).double().numpy()
        assert chi_square(counts[common].numpy(), share) < 4


@pytest.mark.parametrize("name", ["box", "box-float64", "squash"])
def test_numbers_are_drawn_normally(name: str) -> None:
    mine = built(name)
    output = outputs(mine)
    raw = mine.sample(output.expand(40_000, -1), generator())
    mean, log_std = output.chunk(2, -1)
    standard = ((raw - mean) / log_std.exp()).double()  # [n, D]
    uniform = torch.special.ndtr(standard)
    for column in uniform.T:
        counts = np.histogram(column.numpy(), 50, (0, 1))[0]
        assert chi_square(counts, np.full(50, 1 / 50)) < 4
    correlation = np.corrcoef(standard.numpy().T) - np.eye(mine.outputs)
    assert np.abs(correlation).max() < 0.02


def test_by_hand() -> None:
    one = distribution(spaces.Discrete(2, start=3))
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert one.log_prob(logits, torch.tensor([1])).item() == pytest.approx(math.log(0.25))
    assert one.entropy(logits).item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert one.to_env(one.mode(logits)).tolist() == [3]
    bits = distribution(spaces.MultiBinary(2))
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert bits.log_prob(logits, torch.tensor([[1, 0]])).item() == pytest.approx(math.log(0.5 * 0.25))
    assert bits.mode(logits).tolist() == [[0, 1]]
    several = distribution(spaces.MultiDiscrete([2, 3], start=[10, 20]))
    logits = torch.tensor([[0.0, math.log(3.0), math.log(2.0), 0.0, 0.0]])
    assert several.log_prob(logits, torch.tensor([[1, 2]])).item() == pytest.approx(math.log(0.75 * 0.25))
    assert several.to_env(several.mode(logits)).tolist() == [[11, 20]]
    number = distribution(spaces.Box(-1, 1, (1,)))
    output = torch.tensor([[0.5, math.log(2.0)]])
    density = math.exp(-0.5) / (2 * math.sqrt(2 * math.pi))
    assert number.log_prob(output, torch.tensor([[2.5]])).item() == pytest.approx(math.log(density))
    assert number.entropy(output).item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 4))
    assert number.to_env(torch.tensor([[2.5], [-0.25], [-7.0]])).tolist() == [[1.0], [-0.25], [-1.0]]
    squashed = distribution(spaces.Box(0, 4, (1,)), squash=True)
    assert squashed.to_env(torch.tensor([[0.0], [math.atanh(0.5)]])).flatten().tolist() == pytest.approx([2.0, 3.0])
    # at u = 0 the slope of 2 tanh(u) is 2
    assert squashed.log_prob(torch.zeros(1, 2), torch.zeros(1, 1)).item() == pytest.approx(
        -0.5 * math.log(2 * math.pi) - math.log(2)
    )


def test_bounds_may_be_infinite() -> None:
    mine = distribution(UNBOUNDED)
    raw = torch.tensor([[-1e6, -1e6], [1e6, 1e6]])
    assert mine.to_env(raw).tolist() == [[-1e6, -1.0], [0.5, 1e6]]


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.0, -1.0), (-0.7, 0.6), (2.0, 0.3)])
def test_squashed_density_and_entropy(mean: float, log_std: float) -> None:
    """Both against integrals over the actions in float64, and the entropy against the mean over draws."""
    space = spaces.Box(-1.0, 3.0, (1,))
    mine = distribution(space, squash=True)
    output = torch.tensor([[mean, log_std]])
    u = torch.linspace(mean - 12 * math.exp(log_std), mean + 12 * math.exp(log_std), 200_001, dtype=torch.float64)
    action = 1.0 + 2.0 * u.tanh()
    log_density = mine.log_prob(output.double().expand(len(u), -1), u.unsqueeze(1))
    assert torch.trapezoid(log_density.exp(), action).item() == pytest.approx(1.0, abs=1e-4)
    # as an integral over u, where the weight is the normal density
    normal = torch.exp(oracle.Normal(mean, math.exp(log_std)).log_prob(u))
    entropy = -torch.trapezoid(normal * log_density, u).item()
    assert mine.entropy(output).item() == pytest.approx(entropy, abs=0.02)
    raw = mine.sample(output.expand(100_000, -1), generator())
    assert -mine.log_prob(output, raw).mean().item() == pytest.approx(entropy, abs=0.02)


def test_squashed_density_is_that_of_torch_s_transform() -> None:
    mine = distribution(BOUNDS, squash=True)
    output = 0.3 * outputs(mine, 50).double()  # torch finds u by atanh, which is exact near 0 alone
    raw = mine.sample(output, generator())
    mean, log_std = output.chunk(2, -1)
    low, high = (torch.from_numpy(bound).double() for bound in (BOUNDS.low, BOUNDS.high))
    to_bounds = oracle.AffineTransform((low + high) / 2, (high - low) / 2, event_dim=1)
    transforms = [oracle.TanhTransform(), to_bounds]
    torch_s = oracle.TransformedDistribution(oracle.Independent(oracle.Normal(mean, log_std.exp()), 1), transforms)
    action = to_bounds(raw.tanh())
    torch.testing.assert_close(mine.log_prob(output, raw), torch_s.log_prob(action), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(mine.to_env(raw), action.float())


@pytest.mark.parametrize("name", ["squash", "squash-float64"])
def test_squashed_far_out_stays_finite_and_in_bounds(name: str) -> None:
    mine, space = built(name), SPACES[name][0]
    output = torch.zeros(4, 2 * mine.outputs, requires_grad=True)
    raw = torch.tensor([-1e4, -30.0, 30.0, 1e4]).unsqueeze(1).expand(-1, mine.outputs)
    log_prob = mine.log_prob(output, raw)
    (grad,) = torch.autograd.grad(log_prob.sum() + mine.entropy(output).sum(), output)
    assert log_prob.isfinite().all()
    assert grad.isfinite().all()
    assert all(space.contains(action) for action in mine.to_env(raw).numpy())


def test_squashed_entropy_s_gradient() -> None:
    mine = distribution(spaces.Box(-1, 1, (2,)), squash=True)
    output = torch.randn(3, 4, dtype=torch.float64, generator=generator(), requires_grad=True)
    mine.nodes, mine.weights = mine.nodes.double(), mine.weights.double()
    assert torch.autograd.gradcheck(mine.entropy, (output,))


@CHOICES
def test_what_is_blocked_is_never_taken(name: str) -> None:
    mine = built(name)
    output = outputs(mine, 500).requires_grad_()
    mask = torch.rand(500, mine.outputs, generator=generator(1)) < 0.6
    sizes = [mine.outputs] if not mine.shape else getattr(SPACES[name][0], "nvec", np.empty(0)).flatten().tolist()
    first = np.cumsum([0, *sizes[:-1]]) if sizes else []
    mask[:, first] = True  # one choice of each part is allowed
    given = mine.masked(output, mask)
    raw, log_prob = mine.act(given, generator())
    rows = torch.arange(500)
    if sizes:
        columns = raw.view(500, -1) + torch.as_tensor(np.array(first))
        for each in (columns, mine.mode(given).view(500, -1) + torch.as_tensor(np.array(first))):
            assert mask[rows.unsqueeze(1), each].all()
    else:  # a blocked bit is 0
        assert mask[raw == 1].all()
    entropy = mine.entropy(given)
    (grad,) = torch.autograd.grad((log_prob + entropy).sum(), output)
    assert log_prob.isfinite().all()
    assert entropy.isfinite().all()
    assert (entropy >= -1e-6).all()
    assert grad.isfinite().all()
    assert (grad[~mask] == 0).all()
    assert (grad[mask] != 0).any()


def test_a_blocked_choice_has_probability_zero() -> None:
    mine = distribution(spaces.Discrete(3))
    output, mask = torch.tensor([[5.0, 1.0, 1.0]]), torch.tensor([[False, True, True]])
    given = mine.masked(output, mask).expand(3, -1)
    assert mine.log_prob(given, torch.arange(3)).exp().tolist() == pytest.approx([0.0, 0.5, 0.5])
    assert mine.log_prob(given, torch.arange(3)).exp()[0] == 0
    assert mine.entropy(given)[0].item() == pytest.approx(math.log(2))
    assert mine.masked(output, None) is output


@CHOICES
def test_where_all_is_blocked_numbers_stay_finite(name: str) -> None:
    mine, space = built(name), SPACES[name][0]
    output = outputs(mine, 50).requires_grad_()
    given = mine.masked(output, torch.zeros(50, mine.outputs, dtype=torch.bool))
    raw, log_prob = mine.act(given, generator())
    loss = log_prob + mine.entropy(given)
    (grad,) = torch.autograd.grad(loss.sum(), output)
    assert loss.isfinite().all()
    assert (grad == 0).all()
    assert all(space.contains(action) for action in mine.to_env(raw).numpy())


@EVERY
def test_large_outputs_stay_finite(name: str) -> None:
    mine = built(name)
    output = outputs(mine, 50)
    output[:, : mine.outputs] *= 1e4
    output.requires_grad_()
    raw, log_prob = mine.act(output, generator())
    loss = log_prob + mine.entropy(output)
    (grad,) = torch.autograd.grad(loss.sum(), output)
    assert loss.isfinite().all()
    assert grad.isfinite().all()
    assert mine.to_env(raw).isfinite().all()


@EVERY
def test_it_compiles_without_a_break(name: str) -> None:
    mine = built(name)
    output = outputs(mine, 6)
    raw = mine.sample(output, generator())
    mask = torch.ones(6, mine.outputs, dtype=torch.bool)

    def whole(output: Tensor, raw: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        output = mine.masked(output, mask)
        return *mine.log_prob_entropy(output, raw), mine.mode(output), mine.to_env(raw)

    torch.compiler.reset()
    compiled = torch.compile(whole, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(output, raw, mask), whole(output, raw, mask))


@pytest.mark.parametrize(
    ("space", "squash", "message"),
    [
        (spaces.Text(4), False, "cannot act in a Text space; use Discrete, MultiDiscrete, MultiBinary or Box"),
        (spaces.Dict({"a": spaces.Discrete(2)}), False, "cannot act in a Dict space"),
        (
            spaces.Box(0, 9, (2,), np.int64),
            False,
            "cannot act in a Box of int64; use a Box of floats or MultiDiscrete",
        ),
        (UNBOUNDED, True, "squash needs a Box with finite bounds"),
        (spaces.Box(1.0, 1.0, (1,)), True, "squash needs a Box with finite bounds, low < high"),
        (spaces.Discrete(2), True, "squash needs a Box with finite bounds, got Discrete"),
        (spaces.Box(-np.inf, np.inf, (20, 20)), True, "use squash=False"),
    ],
)
def test_what_does_not_fit_is_refused(space: Any, squash: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        distribution(space, squash=squash)
    assert "\n" not in str(caught.value)
