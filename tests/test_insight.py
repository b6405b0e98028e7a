"""Looking inside networks: each function beside a naive one, or numbers computed by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.insight.adversarial import Ball, fgsm, pgd, random_signs
from gymnast.networks.insight.ascent import Ascent, climb
from gymnast.networks.insight.attribution import (
    complete,
    gradient,
    integrated_gradients,
    occlusion,
    patches,
    smooth_gradient,
)
from gymnast.networks.insight.canvas import EDGE, Canvas, descend, variation, wave_sizes
from gymnast.networks.insight.gram import content_distance, gram, style_distance
from gymnast.networks.insight.projection import principal_components
from gymnast.networks.insight.units import Activity, recording


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curved(x: Tensor) -> Tensor:
    """A score of rows [B, 2, 3] with kinks and products."""
    weights = torch.arange(1.0, 7.0).view(2, 3)
    return (torch.relu(x - 0.3) * weights).sum((1, 2)) + (x[:, 0, 0] * x[:, 1, 2]).sin()


X, BASE = torch.tensor([[0.9, 0.1, 0.5], [0.35, 0.2, 0.8]]), torch.tensor([[0.1, 0.4, 0.2], [0.0, 0.32, 0.1]])


def test_the_gradient_is_that_of_finite_differences() -> None:
    found = gradient(lambda x: curved(x.double()), torch.stack([X, BASE]))
    for row, x in enumerate((X, BASE)):
        for place in np.ndindex(2, 3):
            step = torch.zeros(2, 3, dtype=torch.float64)
            step[place] = 1e-6
            high, low = curved(torch.stack([x.double() + step, x.double() - step])).tolist()
            assert float(found[row][place]) == pytest.approx((high - low) / 2e-6, abs=1e-5)


def test_integrated_gradients_of_a_linear_score_are_exact_in_one_step() -> None:
    weights = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
    found = integrated_gradients(lambda x: (x * weights).sum((1, 2)) + 7.0, X, BASE, steps=1)
    torch.testing.assert_close(found.attribution, weights * (X - BASE))
    assert found.error == pytest.approx(0.0, abs=1e-6)


def test_integrated_gradients_are_complete() -> None:
    rough, fine = (integrated_gradients(curved, X, BASE, steps=steps) for steps in (3, 2000))
    whole = float(curved(X[None])[0] - curved(BASE[None])[0])
    assert fine.difference == pytest.approx(whole, abs=1e-6)
    assert abs(float(fine.attribution.sum()) - whole) < 1e-3
    assert fine.error == pytest.approx(float(fine.attribution.sum()) - whole, abs=1e-6)
    assert abs(rough.error) > 10 * abs(fine.error)


def test_steps_double_until_the_sum_is_right() -> None:
    kink = lambda x: torch.relu(x[:, 0] - 0.77)  # noqa: E731
    x, base = torch.ones(1), torch.zeros(1)  # exact: 0.23
    errors = {steps: integrated_gradients(kink, x, base, steps=steps).error for steps in (1, 2, 4, 8, 16)}
    needed = next(steps for steps, error in errors.items() if abs(error) <= 0.1 * 0.23)
    assert 1 < needed < 16
    assert complete(kink, x, base, steps=1, tolerance=0.1, most=64).steps == needed
    assert complete(kink, x, base, steps=1, tolerance=0.0, most=5).steps == 4


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    found = smooth_gradient(curved, X, sigma=0.0, samples=3, generator=generator())
    torch.testing.assert_close(found, gradient(curved, X[None])[0])


def test_smoothgrad_is_the_mean_over_noisy_copies() -> None:
    sigma = torch.tensor([[0.1, 0.2, 0.3], [0.0, 1.0, 2.0]])
    found = smooth_gradient(lambda x: x.square().sum((1, 2)), X, sigma=sigma, samples=200, generator=generator(3))
    noise = torch.randn((200, 2, 3), generator=generator(3))
    torch.testing.assert_close(found, 2 * (X + sigma * noise.mean(0)))


def test_occlusion_is_that_of_a_naive_loop() -> None:
    x, fill = torch.rand(4, 5, generator=generator()), torch.full((4, 5), 0.5)
    masks = patches(4, 5, size=2, stride=1)[:7]  # the last rows are in no part
    weights = torch.randn(4, 5, generator=generator(1))

    def score(batch: Tensor) -> Tensor:
        return (batch * weights).sum((1, 2)).tanh()

    found = occlusion(score, x, fill, masks)
    total, count = torch.zeros(4, 5), torch.zeros(4, 5)
    for mask in masks:
        changed = x.clone()
        changed[mask] = fill[mask]
        total[mask] += score(x[None])[0] - score(changed[None])[0]
        count[mask] += 1
    expected = torch.where(count > 0, total / count.clamp(min=1), 0.0)
    torch.testing.assert_close(found, expected)
    assert (count == 0).any()


def test_patches_cover_the_whole_picture() -> None:
    found = patches(5, 4, size=3, stride=2)
    assert [mask.nonzero()[0].tolist() for mask in found] == [[0, 0], [0, 2], [2, 0], [2, 2]]
    assert found.any(0).all()
    assert int(found[3].sum()) == 3 * 2  # cut off on the right
    assert patches(2, 2, size=1, stride=1).sum() == 4
    with pytest.raises(ValueError, match="stride must be >= 1 and at most size 2, got 3"):
        patches(5, 5, size=2, stride=3)


def test_gram_matrices_are_those_of_a_double_loop() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=generator())
    found = gram(maps)
    for row in range(2):
        for one in range(3):
            for other in range(3):
                product = sum(float(maps[row, one, y, x] * maps[row, other, y, x]) for y in range(4) for x in range(5))
                assert float(found[row, one, other]) == pytest.approx(product / 20, abs=1e-5)


def test_distances_of_style_and_content_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # Gram matrix diag(0.5, 2)
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert float(style_distance([maps], [target])) == pytest.approx((0.25 + 1.0) / 2)
    moved = maps.flip(3)  # a style does not know where things are
    assert float(style_distance([moved, maps], [gram(maps), target])) == pytest.approx(0.3125)
    assert float(content_distance(moved, maps)) == pytest.approx((1 + 1 + 4 + 4) / 5)
    silent = torch.zeros_like(maps)
    assert float(style_distance([maps], [gram(silent)])) == pytest.approx(0.25 + 4.0)
    assert float(content_distance(maps, silent)) == pytest.approx(5.0)


def ball(**changes: object) -> Ball:
    default = {"radius": torch.full((2, 3), 0.15), "low": torch.zeros(2, 3), "high": torch.ones(2, 3)}
    return Ball(**(default | changes))  # type: ignore[arg-type]


def test_fgsm_of_a_linear_loss_by_hand() -> None:
    weights = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
    found = fgsm(lambda x: (x * weights).sum((1, 2)), X[None], ball())[0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 0.65], [0.5, 0.2, 0.65]]))  # 0.9 + 0.15 is cut off


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "random"])
def test_adversarial_inputs_stay_near_and_in_range(kind: str, whole: bool) -> None:
    scale = 255.0 if whole else 1.0
    x = (torch.rand(16, 2, 3, generator=generator()) * scale).round() if whole else torch.rand(16, 2, 3)
    where = ball(radius=torch.full((2, 3), 0.1 * scale), high=torch.full((2, 3), scale), whole=whole)
    made = {
        "fgsm": lambda: fgsm(curved, x, where),
        "pgd": lambda: pgd(curved, x, where, steps=5, generator=generator()),
        "random": lambda: random_signs(x, where, generator=generator()),
    }[kind]()
    assert ((made - x).abs() <= where.radius + 1e-6).all()
    assert (made >= where.low).all()
    assert (made <= where.high).all()
    assert not torch.equal(made, x)
    if whole:
        assert torch.equal(made, made.round())
        assert float((made - x).abs().max()) == 25  # 25.5, rounded towards 0


def test_pgd_finds_the_corner_and_never_a_smaller_loss() -> None:
    weights = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.7, -1.0]])
    linear = lambda x: (x * weights).sum((1, 2))  # noqa: E731
    found = pgd(linear, X[None], ball(), steps=10, generator=generator())
    torch.testing.assert_close(found, fgsm(linear, X[None], ball()))
    peak = lambda x: -(x - X).square().sum((1, 2))  # noqa: E731
    assert torch.equal(pgd(peak, X[None], ball(), steps=3, generator=generator())[0], X)
    rough = lambda x: (x * 40).sin().sum((1, 2))  # noqa: E731
    many = torch.rand(20, 2, 3, generator=generator(1))
    assert (rough(pgd(rough, many, ball(), steps=4, generator=generator())) >= rough(many)).all()


def test_random_changes_are_as_large_as_the_ball() -> None:
    middle = torch.full((50, 2, 3), 0.5)
    change = random_signs(middle, ball(), generator=generator()) - middle
    torch.testing.assert_close(change.abs(), torch.full_like(change, 0.15))
    assert abs(float(change.mean())) < 0.03


class Layers(nn.Module):
    """A convolution, whose activation works in place, then linear layers with a function and a module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.hidden, self.second, self.out = nn.Linear(8, 4), nn.Linear(4, 3), nn.Linear(3, 2)
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.relu_(self.conv(x))
        hidden = functional.relu(self.norm(self.hidden(maps.flatten(1)).repeat(1, 2)))
        output: Tensor = self.out(self.tanh(self.second(hidden[:, :4])))
        return output


def test_layers_are_recorded_before_and_after_their_activation() -> None:
    torch.manual_seed(0)
    network, x = Layers(), torch.randn(5, 1, 3, 3)
    with recording(network) as found:
        network(x)
    layers = found.layers
    assert list(layers) == ["conv", "hidden", "second", "out"]
    conv = functional.conv2d(x, network.conv.weight, network.conv.bias)
    torch.testing.assert_close(layers["conv"].output, conv)
    assert (layers["conv"].output < 0).any()
    torch.testing.assert_close(layers["conv"].active, conv.relu())
    hidden = functional.linear(conv.relu().flatten(1), network.hidden.weight, network.hidden.bias)
    torch.testing.assert_close(layers["hidden"].output, hidden)
    torch.testing.assert_close(layers["hidden"].active, network.norm(hidden.repeat(1, 2)).relu())
    torch.testing.assert_close(layers["second"].active, layers["second"].output.tanh())
    assert [layer.activated for layer in layers.values()] == [True, True, True, False]
    assert [layer.units for layer in layers.values()] == [2, 4, 3, 2]
    assert network(x).shape == (5, 2)
    assert not network.conv._forward_hooks


def test_gradients_flow_through_recorded_layers() -> None:
    torch.manual_seed(0)
    network = Layers()

    def unit(x: Tensor) -> Tensor:
        with recording(network) as found:
            network(x)
        return found.layers["second"].active[:, 1]

    x = torch.randn(1, 1, 3, 3)
    found, step = gradient(unit, x), torch.zeros_like(x)
    step[0, 0, 1, 2] = 1e-2
    slope = (unit(x + step) - unit(x - step)).detach() / 2e-2
    assert float(found[0, 0, 1, 2]) == pytest.approx(float(slope), abs=2e-3)


def test_dead_and_dormant_units_by_hand() -> None:
    network = nn.Sequential(nn.Linear(1, 4), nn.ReLU())
    with torch.no_grad():
        network[0].weight[:] = torch.tensor([[1.0], [-1.0], [0.0], [0.01]])
        network[0].bias[:] = torch.tensor([0.0, 0.0, -1.0, 0.0])
    parts = []
    for batch in (torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])):  # unit 1 is never above 0, nor is unit 2
        with recording(network) as found:
            network(batch)
        parts.append(Activity.of(found.layers["0"]))
    total = parts[0].plus(parts[1])
    assert total.dead.tolist() == [False, True, True, False]
    torch.testing.assert_close(total.mean, torch.tensor([2.0, 0.0, 0.0, 0.02], dtype=torch.float64))
    assert total.dormant(0.025).tolist() == [False, True, True, False]  # the layer's mean is 0.505
    assert total.dormant(0.04).tolist() == [False, True, True, True]
    assert total.peak.tolist() == pytest.approx([3.0, -1.0, -1.0, 0.03])


def test_a_channel_counts_over_all_its_positions() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with torch.no_grad():
        network[0].weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        network[0].bias[:] = 0.0
    with recording(network) as found:
        network(torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]]))
    activity = Activity.of(found.layers["0"])
    assert activity.mean.tolist() == [1.0, 0.0]
    assert activity.dead.tolist() == [False, True]
    assert activity.peak.tolist() == [1.0, -1.0]  # means over the positions, before the activation


def canvas(axes: tuple[int, int] | None, *, amplitude: float = 0.0, shape: tuple[int, ...] = (2, 6, 5)) -> Canvas:
    low = torch.full(shape, -1.0)
    middle = torch.linspace(-1.0, 3.0, low.numel()).view(shape)
    return Canvas(3, low=low, high=low + 4, middle=middle, axes=axes, amplitude=amplitude, generator=generator())


@pytest.mark.parametrize("axes", [None, (2, 3)])
def test_a_canvas_begins_at_its_middle_and_stays_in_its_bounds(axes: tuple[int, int] | None) -> None:
    still = canvas(axes).picture().detach()
    expected = torch.linspace(-1.0, 3.0, 60).view(2, 6, 5).clamp(-1 + 4 * EDGE, 3 - 4 * EDGE)
    torch.testing.assert_close(still, expected.expand(3, 2, 6, 5), atol=1e-5, rtol=0)
    wild = canvas(axes, amplitude=50.0).picture().detach()
    assert ((wild >= -1) & (wild <= 3)).all()
    assert float(wild.std()) > 1


def test_waves_are_divided_by_their_frequency() -> None:
    sizes = wave_sizes(8, 8, device=torch.device("cpu"))
    assert sizes.shape == (8, 5)
    assert float(sizes.square().mean()) == pytest.approx(1.0)
    assert float(sizes[0, 1] / sizes[0, 3]) == pytest.approx(3.0)
    assert float(sizes[0, 0] / sizes[1, 0]) == pytest.approx(1.0)
    assert float(sizes[1, 1] / sizes[2, 2]) == pytest.approx(2.0)


@pytest.mark.parametrize("axes", [None, (2, 3)])
def test_descent_reaches_a_target(axes: tuple[int, int] | None) -> None:
    target = torch.rand(2, 6, 5, generator=generator(4)) * 0.8 + 0.1
    found, course = descend(
        canvas(axes, amplitude=0.3), lambda shares: (shares - target).square().sum((1, 2, 3)), steps=300
    )
    assert len(course) == 301
    assert course[-1] < 0.05 * course[0]
    assert float(((found + 1) / 4 - target).abs().mean()) < 0.06


def test_climbing_raises_a_unit_within_the_bounds() -> None:
    weights = torch.randn(2, 6, 5, generator=generator(2))
    objective = lambda x: (x * weights).sum((1, 2, 3))  # noqa: E731
    free = Ascent(steps=150, variation=0.0, decay=0.0, jitter=0)
    start, corner = canvas(None, amplitude=0.1), torch.where(weights > 0, 3.0, -1.0)
    before = objective(start.picture())
    found = climb(objective, start, settings=free, generator=generator())
    assert (objective(found) > before).all()
    assert (objective(found) > 0.9 * objective(corner[None])).all()
    assert ((found >= -1) & (found <= 3)).all()


def test_regularisation_keeps_a_picture_smooth_and_near_the_middle() -> None:
    weights = torch.randn(2, 6, 5, generator=generator(2))
    objective = lambda x: (x * weights).sum((1, 2, 3))  # noqa: E731
    made = {}
    for name, changes in {"free": {}, "smooth": {"variation": 50.0}, "near": {"decay": 50.0}}.items():
        settings = Ascent(**({"steps": 60, "variation": 0.0, "decay": 0.0, "jitter": 1} | changes))  # type: ignore[arg-type]
        start = canvas((2, 3), amplitude=0.1)
        made[name] = climb(objective, start, settings=settings, generator=generator())
    axes, middle = (2, 3), canvas(None).picture().detach()
    assert (variation(made["smooth"], axes) < 0.7 * variation(made["free"], axes)).all()
    assert float((made["near"] - middle).square().mean()) < 0.5 * float((made["free"] - middle).square().mean())


def test_total_variation_is_that_of_a_loop() -> None:
    x = torch.rand(2, 3, 4, 5, generator=generator())
    found = variation(x, (2, 3))
    down = [abs(float(x[1, c, i + 1, j] - x[1, c, i, j])) for c in range(3) for i in range(3) for j in range(5)]
    across = [abs(float(x[1, c, i, j + 1] - x[1, c, i, j])) for c in range(3) for i in range(4) for j in range(4)]
    assert float(found[1]) == pytest.approx(np.mean(down) + np.mean(across), abs=1e-5)


def test_a_texture_gets_the_gram_matrices_of_its_model() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(2, 6, 3)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    model = torch.rand(1, 2, 12, 12).mul(4).sub(1)
    targets = [gram(network(model).relu())]
    _, course = descend(
        canvas((2, 3), amplitude=0.2, shape=(2, 12, 12)),
        lambda shares: style_distance([network(shares * 4 - 1).relu()], targets),
        steps=150,
    )
    assert course[-1] < 0.02 * course[0]


def test_principal_components_are_those_of_the_covariance() -> None:
    points = torch.randn(40, 5, generator=generator(), dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    found = principal_components(points)
    values, vectors = np.linalg.eigh(np.cov(points.numpy(), rowvar=False))
    order = values.argsort()[::-1][:2]
    np.testing.assert_allclose(found.shares.numpy(), values[order] / values.sum())
    directions = vectors[:, order]
    directions *= np.sign(directions[np.abs(directions).argmax(0), range(2)])
    np.testing.assert_allclose(found.places.numpy(), (points - points.mean(0)).numpy() @ directions, atol=1e-9)
    turned = principal_components(-points)
    torch.testing.assert_close(turned.places, -found.places)


def test_a_line_of_points_has_one_component() -> None:
    found = principal_components(torch.tensor([[1.0], [2.0], [4.0]]))
    assert found.shares.tolist() == [1.0, 0.0]
    assert found.places[:, 1].tolist() == [0.0, 0.0, 0.0]
    same = principal_components(torch.ones(3, 4))
    assert same.shares.tolist() == [0.0, 0.0]
