"""`gymnast pretrain gan`: what each kind must show, and that its runs are runs like all others."""

import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gymnast.agents.supervised import quality
from gymnast.agents.supervised.fitted import FittedNetwork
from gymnast.agents.supervised.frechet import frechet
from gymnast.agents.supervised.manifolds import manifolds, nearest, radii
from gymnast.agents.supervised.table import config_class, kinds_of
from gymnast.cli.main import main
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, config_of, fit, options_of, resume
from gymnast.fitting.parts import Parts, load_kept
from gymnast.fitting.session import FitSession
from gymnast.networks.gans.features import RandomFeatures
from gymnast.networks.gans.heads import Codes, Score
from gymnast.networks.gans.history import ROWS, History
from gymnast.networks.gans.losses import LOSSES
from gymnast.networks.gans.minibatch import MinibatchDiscrimination
from gymnast.networks.gans.penalties import interpolated, normalise_spectra, r1, with_spectra
from gymnast.networks.modes import learning, opposing, resting
from gymnast.replay.datasets.labelled import labelled
from gymnast.replay.datasets.points import grid, ring
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint, folder, metrics_log
from gymnast.storage.encoder import read_encoder
from gymnast.storage.rebuild import load

RING: dict[str, Any] = {"network": "mlp", "hidden_sizes": (32,), "generator_sizes": (32,), "latent_size": 4}
IMAGES: dict[str, Any] = {
    "network": "dcgan",
    "network_options": {"width": 4},
    "generator_channels": 4,
    "latent_size": 8,
}


def options(tmp_path: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(tmp_path), "name": "r", "epochs": 2, **changes})


def config(kind: str, **changes: Any) -> Any:
    layers = {**IMAGES, "network_options": {"width": 4, "norm": "layer"}} if kind == "wgan-gp" else IMAGES
    return config_class(f"gan-{kind}")(**{**layers, **changes})


def task_of(result: FitResult) -> Any:
    """The task of a run with its kept network."""
    kept = folder.read_config(result.path)
    parts = Parts.make(kept["task"], options_of(kept), config_of(kept))
    load_kept(parts.task, result.path / "checkpoints" / "best.pt")
    return parts.task


def fresh(kind: str, tmp_path: Path, data: str = "digits", **changes: Any) -> Any:
    """The task of a run that has not begun."""
    return Parts.make(f"gan-{kind}", options(tmp_path, dataset=data), config(kind, **changes)).task


@pytest.mark.parametrize("kind", kinds_of("gan"))
def test_every_kind_is_measured_drawn_and_an_encoder(tmp_path: Path, kind: str) -> None:
    result = fit(f"gan-{kind}", options(tmp_path, updates=12), config(kind))
    assert result.exit_code == 0
    assert evaluate(result.path) == result.measures
    assert {"frechet", "precision", "recall"} <= set(result.measures or {})
    for name in ("samples", "training", "walk"):
        assert (result.path / f"{name}.png").stat().st_size > 1_000
    encoder, task = read_encoder(result.path), task_of(result)
    obs = task.inputs(task.test[:5])
    assert torch.allclose(encoder.build().eval()(obs), task.network.backbone(obs), atol=1e-5)


@pytest.mark.parametrize("kind", ["wgan-gp", "infogan", "hinge"])
def test_runs_repeat_and_resume_exactly(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both optimizers, batch normalisation, spectral norms, averages and pictures from the course of training."""
    task, chosen = f"gan-{kind}", config(kind, generator_norm="batch", average=0.9)
    whole = fit(task, options(tmp_path / "whole"), chosen)
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == 28:  # in the second epoch, and between two updates of a generator that has one in five
            self.interrupts.received = signal.SIGINT

    monkeypatch.setattr(FitSession, "_after_update", interrupted)
    part = fit(task, options(tmp_path / "part"), chosen)
    assert part.exit_code == 130
    monkeypatch.undo()
    torch.manual_seed(5)
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    ours, theirs = (checkpoint.read(run.path / "checkpoints" / "last.pt")[1]["agent"] for run in (rest, whole))
    for group in theirs:
        assert all(torch.equal(ours[group][name], value) for name, value in theirs[group].items())
    for name in ("training", "samples"):
        assert (rest.path / f"{name}.png").read_bytes() == (whole.path / f"{name}.png").read_bytes()


def test_losses_are_those_of_the_papers() -> None:
    real, fake = torch.randn(50), torch.randn(50)
    p, q = real.sigmoid(), fake.sigmoid()
    wanted = {
        "non-saturating": (-p.log().mean() - (1 - q).log().mean(), -q.log().mean()),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "least-squares": (((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2, ((fake - 1) ** 2).mean() / 2),
        "hinge": ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), -fake.mean()),
    }
    assert wanted.keys() == LOSSES.keys()
    for name, (discriminator, generator) in wanted.items():
        assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(discriminator.item(), abs=1e-5)
        assert LOSSES[name].generator(fake).item() == pytest.approx(generator.item(), abs=1e-5)


def test_penalties_are_those_of_a_known_function() -> None:
    """Of x' A x / 2 the gradient is A x."""
    matrix = torch.diag(torch.tensor([1.0, 2.0, 0.5]))

    def score(values: Tensor) -> Tensor:
        return 0.5 * (values @ matrix * values).sum(1)

    real, fake = torch.randn(40, 3), torch.randn(40, 3)
    assert r1(score, real).item() == pytest.approx(0.5 * (real @ matrix).square().sum(1).mean().item(), rel=1e-5)
    share = torch.rand(40, generator=torch.Generator().manual_seed(3)).view(-1, 1)
    norms = ((real + share * (fake - real)) @ matrix).norm(dim=1)
    size, norm = interpolated(score, real, fake, torch.Generator().manual_seed(3))
    assert size.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)
    assert norm.item() == pytest.approx(norms.mean().item(), rel=1e-5)


def test_penalties_have_a_gradient_even_where_the_score_has_none() -> None:
    layer = nn.Linear(3, 1)
    nn.init.zeros_(layer.weight)
    size, _ = interpolated(lambda x: layer(x).squeeze(1), torch.randn(4, 3), torch.randn(4, 3), torch.Generator())
    size.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(layer.weight.grad).all()  # type: ignore[arg-type]


def test_spectral_norms_are_one_and_fold_into_the_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(5 * 16, 3))
    plain = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(5 * 16, 3))
    normalise_spectra(network)
    network.train()
    for _ in range(30):
        network(torch.zeros(1, 2, 6, 6))
    network.eval()
    for layer in (network[0], network[2]):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)  # type: ignore[operator, union-attr]
    plain.load_state_dict(with_spectra(network.state_dict()))
    images = torch.randn(4, 2, 6, 6)
    assert torch.allclose(plain(images), network(images), atol=1e-6)
    with pytest.raises(ValueError, match="constrained already"):
        normalise_spectra(network)


def test_minibatch_discrimination_sums_closeness_to_the_others() -> None:
    module = MinibatchDiscrimination(4, 3, 2, generator=torch.Generator().manual_seed(0))
    features = torch.randn(5, 4)
    maps = (features @ module.weight).view(5, 3, 2)
    found = module(features)
    for row in range(5):
        for kernel in range(3):
            others = [(maps[row, kernel] - maps[other, kernel]).abs().sum() for other in range(5) if other != row]
            assert found[row, kernel].item() == pytest.approx(sum((-one).exp().item() for one in others), rel=1e-4)
    same = module(torch.ones(5, 4))
    assert torch.allclose(same, torch.full((5, 3), 4.0))  # a collapsed batch


def test_a_projection_adds_the_product_of_features_and_label() -> None:
    generator = torch.Generator().manual_seed(0)
    score = Score(6, conditions=3, condition="projection", init="he", generator=generator)
    features, label = torch.randn(4, 6), torch.eye(3)[[0, 2, 1, 2]]
    vectors = score.projection.weight.T[[0, 2, 1, 2]]  # type: ignore[union-attr, index, operator]
    wanted = score.output(features).squeeze(1) + (vectors * features).sum(1)
    assert torch.allclose(score(features, label), wanted, atol=1e-6)
    other = Score(6, conditions=3, condition="concatenation", init="he", generator=generator)
    assert not torch.allclose(other(features, label), other(features, label.roll(1, 0)))


def test_the_density_of_codes() -> None:
    codes = Codes(5, 3, 1, init="he", generator=torch.Generator().manual_seed(0))
    drawn = codes.draw(2000, torch.Generator().manual_seed(1))
    assert drawn[:, :3].mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert torch.equal(drawn[:, :3].sum(1), torch.ones(2000))
    assert drawn[:, 3].abs().max() <= 1
    assert drawn[:, 3].var().item() == pytest.approx(1 / 3, rel=0.1)
    features = torch.randn(7, 5)
    output = codes.output(codes.hidden(features))
    category, numbers = codes.log_density(features, drawn[:7])
    assert torch.allclose(category, output[:, :3].log_softmax(1)[torch.arange(7), drawn[:7, :3].argmax(1)])
    normal = torch.distributions.Normal(output[:, 3], (0.5 * output[:, 4]).exp())
    assert torch.allclose(numbers, normal.log_prob(drawn[:7, 3]), atol=1e-5)


@pytest.mark.parametrize("examples", [400, 12])  # the second covariance is singular
def test_the_distance_is_that_of_the_formula(examples: int) -> None:
    """Beside torch-fidelity's, by the eigenvalues of the product, and scipy's root of it."""
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(20, 20, generator=generator)
    one = torch.randn(400, 20, generator=generator) @ mixing
    other = torch.randn(examples, 20, generator=generator) @ mixing * 0.7 + 0.3
    first, second = (np.cov(part.double().numpy(), rowvar=False) for part in (one, other))
    difference = (one.double().mean(0) - other.double().mean(0)).square().sum().item()
    both = difference + np.trace(first) + np.trace(second)
    eigenvalues = np.linalg.eigvals(first @ second).astype(complex)
    assert frechet(one, other) == pytest.approx(both - 2 * np.sqrt(eigenvalues).real.sum(), rel=1e-6)
    assert frechet(one, other) == pytest.approx(both - 2 * np.trace(linalg.sqrtm(first @ second)).real, rel=1e-5)
    assert frechet(other, one) == pytest.approx(frechet(one, other), rel=1e-6)
    assert frechet(one, one) == pytest.approx(0.0, abs=1e-6)


def test_the_distance_of_numbers_by_hand() -> None:
    """Of normal distributions of one number it is (m1 - m2)^2 + (s1 - s2)^2."""
    one, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [9.0]])  # deviations sqrt(2) and 4 sqrt(2)
    assert frechet(one, other) == pytest.approx(16 + 2 * 9)
    assert frechet(torch.ones(3, 2), torch.zeros(3, 2)) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="two examples or more"):
        frechet(one[:1], other)


def test_precision_and_recall_are_those_of_balls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against loops, in several chunks."""
    monkeypatch.setattr("gymnast.agents.supervised.manifolds.CHUNK", 7)
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(40, 2, generator=generator), torch.randn(30, 2, generator=generator) + 1.0

    def reach(points: Tensor) -> list[float]:
        return [sorted(float((one - other).norm()) for other in points)[3] for one in points]

    def covered(point: Tensor, points: Tensor, radii: list[float]) -> bool:
        return any(float((point - other).norm()) <= radius for other, radius in zip(points, radii, strict=True))

    of_real, of_fake = reach(real), reach(fake)
    assert radii(real.double(), 3).tolist() == pytest.approx(of_real, rel=1e-4)
    found = manifolds(real, fake)
    assert found.precision == pytest.approx(sum(covered(point, real, of_real) for point in fake) / 30)
    assert found.recall == pytest.approx(sum(covered(point, fake, of_fake) for point in real) / 40)
    assert 0 < found.precision < 1
    assert 0 < found.recall < 1
    assert nearest(fake, real).tolist() == torch.cdist(fake, real).argmin(1).tolist()
    assert manifolds(real, real) == (1.0, 1.0)
    assert manifolds(real, real + 100) == (0.0, 0.0)


def test_coverage_counts_modes_and_what_is_near() -> None:
    mixture = ring()
    points = torch.cat([mixture.centres[:3] + 0.03, mixture.centres[3:4] + 0.05, torch.zeros(4, 2)])
    assert quality.coverage(points, mixture) == {"modes": 3.0, "near": 3 / 8}


@pytest.mark.parametrize(("name", "mixture"), [("gaussians", ring()), ("gaussians-grid", grid())])
def test_mixtures_are_around_their_centres(name: str, mixture: Any) -> None:
    data = labelled(name, seed=1)
    assert data.mixture is not None
    assert torch.equal(data.mixture.centres, mixture.centres)
    away = data.inputs - mixture.centres[data.targets]
    assert away.std().item() == pytest.approx(mixture.deviation, rel=0.02)
    assert torch.bincount(data.targets).tolist() == [10_000 // len(mixture.centres)] * len(mixture.centres)
    assert not torch.equal(data.inputs, labelled(name, seed=2).inputs)
    assert all(data.space.contains(row) for row in data.inputs[:20].numpy())


def test_random_features_are_fixed() -> None:
    images = torch.rand(3, 2, 12, 10)
    torch.manual_seed(1)
    first = RandomFeatures(2)(images)
    torch.manual_seed(2)
    assert torch.equal(first, RandomFeatures(2)(images))
    assert first.shape == (3, 256)
    assert first.var(0).min() > 0


def test_history_keeps_evenly_spaced_moments_and_never_goes_back() -> None:
    def run(updates: int) -> History:
        history = History(torch.zeros(2, 3), (1,), unit=False)
        for update in range(updates):
            if history.is_due:
                history.keep(torch.full((2, 1), float(update)))
            history.seen += 1
        return history

    for updates in (1, 8, 9, 10, 100):
        moments = run(updates).moments()
        apart = int(run(updates).apart)
        assert list(moments) == list(range(0, updates, apart))
        assert len(moments) <= ROWS
        assert all(row[0].item() == update for update, row in moments.items())
    history = run(50)
    history.load_state_dict(run(20).state_dict())
    assert int(history.seen) == 50
    history.load_state_dict(run(60).state_dict())
    assert int(history.seen) == 60


def test_opposing_networks_keep_their_gradients_and_modes() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    network[0].bias.requires_grad_(False)
    inputs = torch.randn(5, 2, requires_grad=True)
    with opposing(network):
        assert network[1].training
        loss = network(inputs).square().sum() + network(inputs)[0, 0]
        with resting(network):
            assert not network[1].training
        assert network[1].training
    assert not network[1].training
    assert [one.requires_grad for one in network.parameters()] == [True, False, True, True]
    loss.backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0
    assert all(one.grad is None for one in network.parameters())


def learned(network: nn.Module) -> list[Any]:
    return list(network.parameters())


@pytest.mark.parametrize("kind", ["lsgan", "infogan"])
def test_each_loss_has_only_its_own_gradients(kind: str, tmp_path: Path) -> None:
    task = fresh(kind, tmp_path)
    batch, generator = task.batch(task.train[:8]), torch.Generator().manual_seed(0)
    made = task.network.heads["generator"]
    learning(task.discriminator)
    task.loss(batch, generator)[0].backward()
    assert all(one.grad.abs().sum() > 0 for one in learned(task.discriminator))
    assert not any(one.grad.abs().sum() for one in learned(made))
    for one in learned(task.discriminator):
        one.grad.zero_()
    task.discriminator.eval()
    task.generator_loss(batch, generator)[0].backward()
    assert all(one.grad.abs().sum() > 0 for one in learned(made))
    assert not any(one.grad.abs().sum() for one in learned(task.discriminator))


def test_one_pass_over_both_is_two_passes(tmp_path: Path) -> None:
    task = fresh("hinge", tmp_path, network_options={"width": 4, "norm": "none"})
    real, fake = torch.rand(2, 6, *task.shape)
    one = task.both(real, fake, None)
    assert not task.mixes
    task.mixes = True
    for mine, theirs in zip(one, task.both(real, fake, None), strict=True):
        assert torch.allclose(mine.score, theirs.score, atol=1e-5)
        assert torch.allclose(mine.features, theirs.features, atol=1e-5)
    assert fresh("dcgan", tmp_path / "b").mixes  # its batch normalisation is of each batch on its own


def test_a_generator_normalises_by_batches_to_learn_and_by_running_statistics_to_draw(tmp_path: Path) -> None:
    task = fresh("dcgan", tmp_path)
    made, batch = task.network.heads["generator"], task.batch(task.train[:8])
    norm = next(module for module in made.modules() if isinstance(module, nn.BatchNorm2d))
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    task.drawn(8, torch.Generator().manual_seed(0))
    assert torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    task.loss(batch, torch.Generator().manual_seed(0))
    assert not torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    assert not norm.training
    latent = task.latents(4, torch.Generator().manual_seed(3))
    assert torch.allclose(task.generated(latent)[:1], task.generated(latent[:1]), atol=1e-5)


def test_weights_of_a_wgan_are_clipped(tmp_path: Path) -> None:
    task = task_of(fit("gan-wgan", options(tmp_path, epochs=1), config("wgan", clip=0.02)))
    sizes = torch.cat([one.detach().flatten().abs() for one in task.discriminator.parameters()])
    assert sizes.max().item() == pytest.approx(0.02)
    assert (sizes == sizes.max()).float().mean() > 0.2


def test_the_generator_learns_at_every_fifth_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    after = FitSession._after_update

    def watched(self: FitSession, metrics: Any) -> None:
        seen.append(torch.cat([one.detach().flatten() for one in self.task.network.heads["generator"].parameters()]))  # type: ignore[union-attr, index]
        after(self, metrics)

    monkeypatch.setattr(FitSession, "_after_update", watched)
    fit("gan-wgan-gp", options(tmp_path, updates=11), config("wgan-gp"))
    changed = [not torch.equal(one, other) for one, other in pairwise(seen)]
    assert changed == [number in (5, 10) for number in range(2, 12)]


def test_samples_are_of_the_asked_class(tmp_path: Path) -> None:
    """And drawn classes are as frequent as in the data."""
    chosen = config("conditional", **RING, network_options={}, learning_rate=3e-3, r1=0.1)
    result = fit("gan-conditional", options(tmp_path, dataset="gaussians", epochs=5), chosen)
    assert result.measures is not None
    assert result.measures["agreement"] > 0.8
    for name in ("samples", "training"):
        assert (result.path / f"{name}.png").stat().st_size > 1_000
    task, generator, model = task_of(result), torch.Generator().manual_seed(0), load(result.path)
    assert isinstance(model, FittedNetwork)
    for label in range(8):
        points = torch.from_numpy(model.sample(50, label=label))
        assert (torch.cdist(points, ring().centres).argmin(1) == label).float().mean() > 0.8
    with pytest.raises(ValueError, match=r"label must be one of Discrete\(8\), got 8"):
        model.sample(1, label=8)
    conditions = task.network.heads["conditions"]
    drawn = torch.bincount(conditions.draw(8000, generator)) / 1000
    assert drawn.tolist() == pytest.approx([1.0] * 8, abs=0.2)
    assert task.drawn(5, generator).shape == (5, 2)


def test_infogan_tells_its_codes(tmp_path: Path) -> None:
    chosen = config("infogan", **RING, network_options={}, learning_rate=2e-3, categories=8, codes=0)
    measures = fit("gan-infogan", options(tmp_path, dataset="gaussians", epochs=4), chosen).measures
    assert measures is not None
    assert 0.5 * np.log(8) < measures["information"] <= np.log(8)


def test_an_agent_starts_from_a_discriminator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with spectral norms, whose weights the agent has as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    data = ["--env", "CartPole-v1", "--env-steps", "300", "--epochs", "2"]
    assert main(["pretrain", "gan", "--kind", "hinge", *data, "--hidden-sizes", "16", "8", "--name", "g"]) == 0
    run = "runs/CartPole-v1/gan-hinge/g"
    words = ["--encoder", run, "--freeze-encoder", "--steps", "300", "--no-video", "--name", "d"]
    assert main(["train", "dqn", "--env", "CartPole-v1", *words]) == 0
    _, state = checkpoint.read_agent(checkpoint.find("runs/CartPole-v1/dqn/d"))
    for name, value in read_encoder(run).weights.items():
        assert torch.equal(state["online"][f"backbone.{name}"], value)
    action = ["pretrain", "gan", "--kind", "conditional", *data, "--name", "c", "--features", run]
    assert main(action) == 0  # by the recorded actions, measured in that encoder's features
    task = task_of(FitResult(Path("runs/CartPole-v1/gan-conditional/c"), 0, 0, None))
    (cloud,) = (shown for name, shown in task.shown({}).items() if name == "samples")
    assert cloud.real.shape[1] == 2  # in the plane of two principal components
    assert task.measured_in(torch.zeros(3, 4)).shape == (3, 8)
    model = load("runs/CartPole-v1/gan-conditional/c")
    assert isinstance(model, FittedNetwork)
    assert model.sample(6, label=1).shape == (6, 4)
    assert not np.array_equal(model.sample(6, label=1), model.sample(6, label=0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("vanilla --dataset spirals --network dcgan", "network dcgan needs images"),
        ("dcgan --dataset spirals", "network dcgan needs images"),
        ("vanilla --dataset digits --latent-size 0", "--latent-size must be >= 1, got 0"),
        ("vanilla --dataset digits --critic-steps 0", "--critic-steps must be >= 1, got 0"),
        ("vanilla --dataset digits --augment shift", "--augment shift has no place in a GAN"),
        ("vanilla --dataset digits --r1 -1", "--r1 must be >= 0, got -1"),
        ("vanilla --dataset digits --mc-samples 3", "mc_samples 3 has no effect on gan-vanilla"),
        ("vanilla --dataset digits --features nowhere", "nowhere"),
        ("vanilla --dataset digits --validation 0.001", "gan-vanilla needs 4 examples in the validation split, got 2"),
        ("wgan --dataset digits --clip 0", "--clip must be > 0, got 0"),
        ("wgan-gp --dataset digits --network dcgan", "batch normalisation mixes those of a batch"),
        ("wgan-gp --dataset digits --minibatch-kernels 4", "4 cannot be combined with the gradient penalty"),
        ("hinge --dataset digits --network mlp --network.norm spectral", "are constrained already"),
        ("conditional --dataset copy", "gan-conditional needs examples with a class each"),
        ("conditional --dataset digits --condition both", "must be one of projection, concatenation, got both"),
        ("conditional --dataset digits --loss mse", "--loss must be one of"),
        ("infogan --dataset digits --categories 1", "--categories must be 0 or >= 2"),
        ("vanilla --env FrozenLake-v1 --env-steps 50", "needs observations that are a Box or MultiBinary"),
        ("minimax --dataset digits", "--kind must be one of vanilla, dcgan"),
    ],
)
def test_bad_input_is_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    assert main(["pretrain", "gan", "--kind", *words.split()]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "recorded" not in line]
    assert message in error[-1], error
    assert not (tmp_path / "runs").exists()


def test_the_betas_are_the_kinds_unless_others_are_given() -> None:
    assert config("dcgan").optimizer_arguments == {"betas": (0.5, 0.999)}
    assert config("wgan-gp").optimizer_arguments == {"betas": (0.0, 0.9)}
    assert config("wgan").optimizer_arguments == {}
    assert config("dcgan", optimizer="sgd").optimizer_arguments == {}
    assert config("dcgan", optimizer_options='{"betas": [0, 0.5]}').optimizer_arguments == {"betas": [0, 0.5]}


def test_metrics_name_the_player(tmp_path: Path) -> None:
    result = fit(
        "gan-vanilla", options(tmp_path, updates=3, log_every=1), config("vanilla", r1=1.0, minibatch_kernels=4)
    )
    first = metrics_log.read(result.path / "metrics.jsonl")[0]
    assert {"discriminator_loss", "generator_loss", "discriminator_learning_rate", "r1"} <= set(first)


@pytest.mark.long
def test_wgan_gp_covers_eight_modes_and_the_vanilla_gan_does_not(tmp_path: Path) -> None:
    """With the same networks, optimizers and data; `benchmarks/gan_modes.py` has five seeds."""
    layers = {"network": "mlp", "hidden_sizes": (128, 128, 128), "critic_steps": 1}
    learning_ = {"batch_size": 128, "learning_rate": 2e-3, "schedule": "cosine-annealing", "average": 0.99}
    found = {}
    for kind in ("wgan-gp", "vanilla"):
        chosen = config_class(f"gan-{kind}")(**layers, **learning_)
        result = fit(f"gan-{kind}", options(tmp_path, dataset="gaussians", epochs=50, eval_every=25), chosen)
        assert result.measures is not None
        found[kind] = result.measures
    assert found["wgan-gp"]["modes"] == 8
    assert found["wgan-gp"]["near"] >= 0.9
    assert found["vanilla"]["modes"] < 8
