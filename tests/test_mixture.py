"""Mixture densities against torch's own, and their temperature against closed forms."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from gymnast.networks.world_models.mixture import NARROWEST, WIDEST, Mixture


def drawn(*shape: int, seed: int = 0) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    logits, mean, log_std = torch.randn((3, *shape), generator=generator, dtype=torch.float64)
    return Mixture(logits, mean, log_std)


def test_log_likelihood_is_torchs() -> None:
    mixture = drawn(5, 7, 3, 4)
    value = torch.randn((5, 7, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    components = Normal(mixture.mean, mixture.log_std.exp())
    oracle = Independent(MixtureSameFamily(Categorical(logits=mixture.logits), components), 1)
    torch.testing.assert_close(mixture.log_likelihood(value), oracle.log_prob(value))


def test_gradients_of_the_log_likelihood_are_torchs() -> None:
    parameters = torch.randn((6, 3 * 2 * 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    value, centre = torch.randn((2, 6, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours, theirs = parameters.clone().requires_grad_(), parameters.clone().requires_grad_()
    Mixture.of(ours, centre).log_likelihood(value).sum().backward()
    logits, mean, log_std = theirs.view(6, 3, 2, 4).unbind(1)
    components = Normal(centre.unsqueeze(-1) + mean, log_std.exp())
    MixtureSameFamily(Categorical(logits=logits), components).log_prob(value).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_means_are_counted_from_the_centre_and_deviations_are_bounded() -> None:
    parameters = torch.tensor([[0.0, 1.0, 2.0, 3.0, -100.0, 100.0]])  # one number, two components
    mixture = Mixture.of(parameters, torch.tensor([[10.0]]))
    assert mixture.logits.tolist() == [[[0.0, 1.0]]]
    assert mixture.mean.tolist() == [[[12.0, 13.0]]]
    assert mixture.log_std.tolist() == [[[NARROWEST, WIDEST]]]


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 1.3, 4.0])
def test_temperature_is_a_power_of_the_weights_and_a_factor_of_the_variances(temperature: float) -> None:
    """Weights become w^(1/T) over their sum, and variances T times theirs."""
    mixture = drawn(3, 2, 5)
    hot = mixture.tempered(temperature)
    weights = mixture.logits.softmax(-1) ** (1 / temperature)
    torch.testing.assert_close(hot.logits.softmax(-1), weights / weights.sum(-1, keepdim=True))
    torch.testing.assert_close(hot.log_std.exp().square(), temperature * mixture.log_std.exp().square())
    assert torch.equal(hot.mean, mixture.mean)


@pytest.mark.parametrize(
    ("uniform", "component"), [(0.0, 0), (0.199, 0), (0.201, 1), (0.699, 1), (0.701, 2), (0.9999999, 2)]
)
def test_a_uniform_number_chooses_the_component(uniform: float, component: int) -> None:
    mixture = Mixture(
        torch.tensor([[0.2, 0.5, 0.3]]).log(), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.2, 0.3]]).log()
    )
    found = mixture.sample(torch.tensor([uniform]), torch.tensor([-2.0]))
    assert found.item() == pytest.approx([1.0 - 0.2, 2.0 - 0.4, 3.0 - 0.6][component])


def test_temperature_zero_is_the_mean_of_the_likeliest_component() -> None:
    mixture = drawn(50, 3, 4)
    best = mixture.logits.argmax(-1)
    for seed in range(2):
        uniform, normal = torch.rand((2, 50, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = mixture.sample(uniform, normal, temperature=0.0)
        assert torch.equal(found, mixture.mean.gather(-1, best.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_moments_of_the_tempered_mixture(temperature: float) -> None:
    draws, mixture = 200_000, drawn(1, 3, seed=4)
    generator = torch.Generator().manual_seed(5)
    uniform = torch.rand((draws, 1), generator=generator, dtype=torch.float64)
    normal = torch.randn((draws, 1), generator=generator, dtype=torch.float64)
    many = Mixture(*(part.expand(draws, 1, 3) for part in mixture))
    found = many.sample(uniform, normal, temperature=temperature)
    weights = (mixture.logits / temperature).softmax(-1)
    variance = temperature * (2 * mixture.log_std).exp()
    mean = (weights * mixture.mean).sum().item()
    second = (weights * (variance + mixture.mean.square())).sum().item()
    error = 5 * math.sqrt((second - mean**2) / draws)
    assert found.mean().item() == pytest.approx(mean, abs=error)
    assert found.var().item() == pytest.approx(second - mean**2, rel=0.02)
