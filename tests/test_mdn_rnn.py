"""The dynamics of a world model: memory and its resets, imagined steps, and the units of rewards."""

import pytest
import torch

from gymnast.networks.world_models.mdn_rnn import MDNRNN, Noise

ROWS, STEPS = 3, 7


def network() -> MDNRNN:
    return MDNRNN(2, 3, units=5, mixtures=4, generator=torch.Generator().manual_seed(0))


def sequences(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn((ROWS, STEPS, 2), generator=generator)
    return latent, torch.randn((ROWS, STEPS, 3), generator=generator)


@pytest.mark.parametrize("row", range(ROWS))
@pytest.mark.parametrize("index", range(STEPS))
def test_a_reset_at_every_index_separates_what_is_before_it_from_what_follows(index: int, row: int) -> None:
    """Row 16: a sequence over an episode's end predicts what two sequences do, one of each episode."""
    model, (latent, action) = network(), sequences()
    start = torch.zeros(ROWS, STEPS, dtype=torch.bool)
    whole, _ = model(latent, action, start)
    start[row, index] = True
    mixture, output = model(latent, action, start)
    alone, separate = model(
        latent[row : row + 1, index:], action[row : row + 1, index:], start[row : row + 1, index:] & False
    )
    torch.testing.assert_close(output[row, index:], separate[0])
    for found, first, second in zip(mixture, whole, alone, strict=True):
        torch.testing.assert_close(found[row, :index], first[row, :index])
        torch.testing.assert_close(found[row, index:], second[0])
        others = [other for other in range(ROWS) if other != row]
        torch.testing.assert_close(found[others], first[others])
    if index > 0:
        assert not torch.allclose(mixture.mean[row, index], whole.mean[row, index])


def test_many_resets_equal_single_steps_with_a_memory_that_is_cleared() -> None:
    model, (latent, action) = network(), sequences()
    start = torch.rand((ROWS, STEPS), generator=torch.Generator().manual_seed(3)) < 0.4
    _, output = model(latent, action, start)
    memory = torch.zeros(ROWS, model.memory_size)
    for step in range(STEPS):
        memory = memory * ~start[:, step : step + 1]
        found, memory = model.step(latent[:, step], action[:, step], memory)
        torch.testing.assert_close(output[:, step], found)
    torch.testing.assert_close(model.after(latent, action, start), memory)
    torch.testing.assert_close(memory[:, : model.units], output[:, -1])


def test_an_imagined_step_is_the_mixtures_sample_and_the_outcome_after_it() -> None:
    model, (latent, action) = network(), sequences()
    memory = torch.randn((ROWS, model.memory_size), generator=torch.Generator().manual_seed(2))
    model.scale_rewards(torch.tensor([3.0, 7.0]))  # mean 5, deviation 2
    model.note_rewards(torch.tensor([-9.0, 99.0]), torch.ones(2, dtype=torch.bool))
    noise = model.noise(ROWS, torch.Generator().manual_seed(4))
    with torch.no_grad():
        following, reward, end, after = model.imagine(latent[:, 0], action[:, 0], memory, noise, temperature=1.3)
        output, memory = model.step(latent[:, 0], action[:, 0], memory)
        mixture = type(model(latent, action, torch.zeros(ROWS, STEPS, dtype=torch.bool))[0]).of(
            model.mixture(output), latent[:, 0]
        )
        outcome = model.outcomes(output, following)
    assert torch.equal(after, memory)
    assert torch.equal(following, mixture.sample(noise.uniform, noise.normal, temperature=1.3))
    torch.testing.assert_close(reward, 5.0 + 2.0 * outcome.reward)
    assert torch.equal(end, noise.end < torch.sigmoid(outcome.end / 1.3))


def test_at_temperature_zero_noise_does_not_matter() -> None:
    model, (latent, action) = network(), sequences()
    memory = torch.zeros(ROWS, model.memory_size)
    with torch.no_grad():
        model.outcome[-1].bias[1] = 0.3  # ends are likely, but not sure
        found = [
            model.imagine(
                latent[:, 0],
                action[:, 0],
                memory,
                Noise(torch.full((ROWS, 2), value), torch.full((ROWS, 2), value), torch.full((ROWS,), value)),
                temperature=0.0,
            )
            for value in (0.01, 0.99)
        ]
        output, _ = model.step(latent[:, 0], action[:, 0], memory)
        ends = model.outcomes(output, found[0][0]).end > 0
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found[0][2], ends)


def test_rewards_stay_in_the_range_of_those_that_counted() -> None:
    model, (latent, action) = network(), sequences()
    model.note_rewards(torch.tensor([[0.1, 5.0], [0.2, -7.0]]), torch.tensor([[True, False], [True, False]]))
    model.note_rewards(torch.tensor([0.15]), torch.tensor([True]))
    assert (model.reward_low.item(), model.reward_high.item()) == pytest.approx((0.1, 0.2))
    noise = model.noise(ROWS, torch.Generator().manual_seed(4))
    for bias, expected in ((50.0, 0.2), (-50.0, 0.1)):
        with torch.no_grad():
            model.outcome[-1].bias[0] = bias
            reward = model.imagine(latent[:, 0], action[:, 0], torch.zeros(ROWS, 10), noise, temperature=1.0)[1]
        torch.testing.assert_close(reward, torch.full((ROWS,), expected))


def test_a_constant_reward_has_units_too() -> None:
    model = network()
    model.scale_rewards(torch.ones(4))
    assert (model.reward_mean.item(), model.reward_std.item()) == (1.0, 1.0)


def test_noise_of_a_row_does_not_depend_on_its_use() -> None:
    noise = network().noise(4, torch.Generator().manual_seed(0))
    rows = noise.rows(torch.tensor([2, 0, 2]))
    assert torch.equal(rows.normal, noise.normal[[2, 0, 2]])
    assert torch.equal(rows.end, noise.end[[2, 0, 2]])
    assert (noise.uniform.min() >= 0) & (noise.uniform.max() < 1)
