"""`gymnast pretrain autoencoder`: what each kind must show, and that its runs are runs like all others."""

import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents.supervised.autoencoders.linear import LinearConfig
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.table import config_class, kinds_of
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting import pictures
from gymnast.fitting import state as last_state
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, config_of, fit, options_of, resume
from gymnast.fitting.parts import Parts, load_kept
from gymnast.fitting.session import FitSession
from gymnast.networks.autoencoders.contractive import contraction
from gymnast.networks.autoencoders.decoders import decoder
from gymnast.networks.autoencoders.denoising import corrupted
from gymnast.networks.autoencoders.masked import hidden_patches
from gymnast.networks.autoencoders.outputs import Output
from gymnast.networks.autoencoders.prior import CodePrior
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.autoencoders.sparse import divergence
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.autoencoders.variational import Normal, Progress, freed, importance_weighted
from gymnast.replay.datasets.labelled import Labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import folder, metrics_log
from gymnast.storage.encoder import read_encoder
from tests import fit_worlds as worlds


@pytest.fixture
def drawn() -> None:
    """For tests that look at pictures; others draw none, which takes most of the time of a small run."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        draw_none(monkeypatch)


def draw_none(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pictures, "draw", lambda *_: {})
    patch.setattr(pictures, "curve", lambda folder, _: folder / "curve.png")


def options(tmp_path: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(tmp_path), "name": "r", "epochs": 2, **changes})


def task_of(result: FitResult) -> Any:
    """The task of a run with its kept network."""
    kept = folder.read_config(result.path)
    parts = Parts.make(kept["task"], options_of(kept), config_of(kept))
    load_kept(parts.task, result.path / "checkpoints" / "best.pt")
    return parts.task


def config(kind: str, **changes: Any) -> Any:
    network: dict[str, Any] = {} if kind == "linear" else {"network": "mlp", "hidden_sizes": (32,)}
    small: dict[str, dict[str, Any]] = {"recurrent": {"units": 16, "latent_size": 16}, "vq": {"prior_units": 16}}
    return config_class(f"autoencoder-{kind}")(**{"linear_probe": False, **network, **small.get(kind, {}), **changes})


STATEFUL: dict[str, dict[str, Any]] = {
    "variational": {"anneal": 20, "free_bits": 0.1},
    "stacked": {"layer_epochs": 1, "dropped": 0.1, "tied": True},
}
"""Options with which a kind keeps more from one update to the next."""


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("kind", kinds_of("autoencoder"))
def test_every_kind_repeats_and_resumes_exactly(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, chosen = f"autoencoder-{kind}", config(kind, batch_size=128, **STATEFUL.get(kind, {}))
    whole = fit(task, options(tmp_path / "whole"), chosen)
    assert whole.exit_code == 0
    assert evaluate(whole.path) == whole.measures
    samples = ["samples"] if kind in ("variational", "vq", "wasserstein") else []
    for name in ("reconstructions", "latent_use", "walk", *samples):
        assert (whole.path / f"{name}.png").stat().st_size > 1_000
    draw_none(monkeypatch)
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == 15:  # of 24
            self.interrupts.received = signal.SIGINT

    with monkeypatch.context() as patch:
        patch.setattr(FitSession, "_after_update", interrupted)
        part = fit(task, options(tmp_path / "part"), chosen)
    assert part.exit_code == 130
    torch.manual_seed(5)
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    states = [last_state.read(path / "checkpoints" / "last.pt")[1].network["heads"] for path in (whole.path, rest.path)]
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


@pytest.mark.parametrize("kind", kinds_of("autoencoder"))
def test_every_kind_is_an_encoder_and_learns(tmp_path: Path, kind: str) -> None:
    known = {"anneal": 0} if kind == "variational" else {}  # else the rate, which counts, rises at first
    result = fit(f"autoencoder-{kind}", options(tmp_path, epochs=3), config(kind, **known))
    losses = [row["loss"] for row in metrics_log.read(result.path / "metrics.jsonl") if row["kind"] == "eval"]
    assert losses[-1] < losses[0]
    encoder = read_encoder(result.path)
    task = task_of(result)
    obs = task.inputs(task.test[:5])
    assert torch.equal(encoder.build().eval()(obs), task.network.backbone(obs))


def test_decoders_start_at_the_mean_of_the_data(tmp_path: Path) -> None:
    for loss in ("mse", "bernoulli"):
        task: Any = Parts.make("autoencoder-convolutional", options(tmp_path), config("convolutional", loss=loss)).task
        images = task.target(task.sample(1000))
        with torch.no_grad():
            restored = task.decode(task.encode(task.sample(1000)))
        assert torch.allclose(restored.mean(0), images.mean(0), atol=0.03)
        if loss == "mse":  # in units of the data's variance
            error = task.network.heads["output"].error(restored, images).mean().item()
            assert error == pytest.approx(1.0, abs=0.1)
    assert Output("gaussian", spread=0.02).log_std.exp().item() == pytest.approx(0.02)


def test_observations_with_frames_before_their_episode_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    worlds.record("some/set-v0", worlds.here(worlds.Frames), "--frame-stack", "3", "--episodes", "6")
    made = {"dataset": "some/set-v0"}
    task: Any = Parts.make("autoencoder-convolutional", options(tmp_path, **made), config("convolutional")).task
    kept = torch.cat([task.train, task.test])
    time = kept - task.data.starts[task.data.episode[kept]]
    assert time.min() == 2
    assert len(kept) == len(task.data) - 2 * task.data.episodes


@pytest.mark.parametrize(
    "shape",
    [(84, 84), (8, 8, 1), (10, 10, 4), (4, 84, 84), (3, 21, 17), (4, 9, 12, 3), (13, 40)],
)
def test_images_of_any_layout_come_back_from_what_is_restored(shape: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    obs = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for flat in (False, True):
        target = Target(space, lambda: obs, flat=flat)
        values = target(obs)
        assert values.shape == (3, *target.shape)
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        assert torch.equal(target.back(values).round().byte(), obs)
        assert torch.allclose(target.planes(values), Target(space, lambda: obs)(obs))
    shape_of = Target(space, lambda: obs).shape
    made = decoder(
        7,
        shape_of,
        hidden_sizes=(),
        channels=8,
        activation="relu",
        init="he",
        generator=torch.Generator().manual_seed(0),
    )
    assert made(torch.zeros(2, 7)).shape == (2, *shape_of)


def test_convolutions_in_bfloat16_are_less_exact_and_weights_stay_float32() -> None:
    space = spaces.Box(0, 255, (1, 84, 84), np.uint8)
    images = torch.randint(0, 256, (4, 1, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Labelled("noise", space, images, torch.zeros(4, 1), ())
    found = []
    for bf16 in (False, True):
        chosen = config_class("autoencoder-convolutional")(network="nature-cnn", bf16=bf16)
        source = Source(data, validation=0.5, split_seed=0, seed=np.random.SeedSequence(0), epochs=1)
        task = Autoencoder(source, chosen, device=torch.device("cpu"))
        latent = task.encode(images)
        loss = task.loss(task.batch(torch.arange(4)), torch.Generator())[0]
        loss.backward()
        assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in task.network.parameters())
        found.append((latent, task.decode(latent), loss))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded)
        assert (rounded - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("network", ["mlp", "impala"])
def test_bfloat16_needs_convolutions_that_have_it(tmp_path: Path, network: str) -> None:
    with pytest.raises(
        UsageError, match=f"bf16 needs images and network nature-cnn, a3c-cnn or efficient-cnn, got {network}"
    ):
        fit(
            "autoencoder-convolutional",
            options(tmp_path),
            config_class("autoencoder-convolutional")(network=network, bf16=True),
        )
    with pytest.raises(ValueError, match="bf16 has no effect on a linear autoencoder, got True"):
        LinearConfig(bf16=True)


def test_vectors_are_counted_in_deviations() -> None:
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    sample = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    target = Target(space, lambda: sample)
    assert target(sample).tolist() == [[-1.0, 0.0], [1.0, 0.0]]  # the second number never changes
    assert torch.equal(target.back(target(sample)), sample)
    assert not target.unit
    assert Target(spaces.Discrete(3), lambda: torch.arange(3)).unit


def test_the_errors_of_outputs_are_those_of_their_distributions() -> None:
    output, target = torch.randn(4, 3), torch.rand(4, 3)
    assert torch.allclose(Output("mse", spread=0.5).error(output, target), (output - target).square().mean(1) * 4)
    bernoulli = torch.distributions.Bernoulli(logits=output, validate_args=False)
    assert torch.allclose(Output("bernoulli", spread=0.5).error(output, target), -bernoulli.log_prob(target).sum(1))
    normal = torch.distributions.Normal(output, 0.3)
    assert torch.allclose(
        Output("gaussian", spread=1.0, std=0.3).error(output, target),
        -normal.log_prob(target).sum(1),
        atol=1e-5,
    )


@pytest.mark.slow
def test_a_linear_autoencoder_finds_the_principal_subspace(tmp_path: Path) -> None:
    chosen = LinearConfig(
        latent_size=4,
        batch_size=2000,
        learning_rate=0.01,
        schedule="cosine-annealing",
        optimizer_options='{"betas": [0.9, 0.9]}',
    )
    task = task_of(fit("autoencoder-linear", options(tmp_path, epochs=1500, eval_every=1500), chosen))
    images = task.network.heads["target"](task.inputs(task.train)).double()
    _, _, components = torch.linalg.svd(images - images.mean(0), full_matrices=False)
    basis = torch.linalg.qr(task.network.heads["decoder"].output.weight.detach().double())[0]
    outside = basis - components[:4].T @ (components[:4] @ basis)  # its norm is the sine of the largest angle
    assert torch.linalg.matrix_norm(outside, 2) < 1e-3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "pretrain needs a model first: gymnast pretrain MODEL; choose from autoencoder"),
        (
            "autoencode --kind linear",
            "'autoencode'; choose from autoencoder, gan, energy; did you mean autoencoder?",
        ),
        ("autoencoder --dataset digits", "pretrain autoencoder needs --kind; choose from convolutional, linear"),
        ("autoencoder --kind liner --dataset digits", "got liner; did you mean linear?"),
        ("autoencoder --kind", "got nothing"),
        ("autoencoder --kind linear --kind linear", "--kind is given twice"),
        (
            "autoencoder --kind linear --dataset digits --network mlp",
            "--network of a linear autoencoder must be linear",
        ),
        ("autoencoder --kind linear --dataset digits --hidden-sizes 3", "are its latent_size, got (3,)"),
        ("autoencoder --kind convolutional --dataset digits --latent-size 0", "--latent-size must be >= 1, got 0"),
        ("autoencoder --kind convolutional --dataset spirals --loss bernoulli", "loss bernoulli needs numbers between"),
        ("autoencoder --kind convolutional --dataset digits --augment shift", "--augment has no place"),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message.replace("latent_size", "--latent-size") in error or message in error


def test_fit_names_the_command_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "autoencoder-linear", "--dataset", "digits"]) == 2
    assert "gymnast pretrain autoencoder --kind linear" in capsys.readouterr().err
    assert main(["fit", "--help"]) == 0
    assert "autoencoder" not in capsys.readouterr().out


def test_help_lists_models_kinds_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in (
        ("--help", "autoencoder"),
        ("autoencoder --help", "convolutional"),
        ("autoencoder --kind convolutional --help", "--decoder-channels"),
    ):
        assert main(["pretrain", *words.split()]) == 0
        assert shown in capsys.readouterr().out


@pytest.mark.parametrize("corruption", ["gaussian", "dropout"])
def test_denoising_restores_better_than_it_is_given(tmp_path: Path, corruption: str) -> None:
    chosen = config("denoising", corruption=corruption, hidden_sizes=(128,))
    measures = fit("autoencoder-denoising", options(tmp_path, epochs=12), chosen).measures
    assert measures is not None
    assert measures["mse"] < 0.5 * measures["given_mse"]


def test_corruption_is_of_the_asked_size() -> None:
    target = torch.ones(200, 100)
    generator = torch.Generator().manual_seed(0)
    noisy = corrupted(target, "gaussian", noise=0.3, dropped=0.0, generator=generator)
    assert (noisy - target).std().item() == pytest.approx(0.3, rel=0.02)
    dropped = corrupted(target, "dropout", noise=0.0, dropped=0.25, generator=generator)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert set(dropped.unique().tolist()) == {0.0, 1.0}


def test_sparse_codes_reach_their_target(tmp_path: Path) -> None:
    chosen = config("sparse", sparsity_target=0.1, learning_rate=3e-3)
    measures = fit("autoencoder-sparse", options(tmp_path, epochs=14), chosen).measures
    assert measures is not None
    assert measures["activation"] == pytest.approx(0.1, abs=0.02)
    assert measures["r2"] > 0.3


def test_more_l1_gives_more_zeros(tmp_path: Path) -> None:
    zeros = []
    for weight in (0.0, 0.03):
        chosen = config("sparse", sparsity="l1", sparsity_weight=weight)
        found = fit("autoencoder-sparse", options(tmp_path / str(weight), epochs=5), chosen)
        assert found.measures is not None
        zeros.append(found.measures["zeros"])
    assert zeros[1] > zeros[0] + 0.2


def test_the_divergence_of_sparse_codes_is_that_of_coins() -> None:
    latent = torch.tensor([[0.1, 0.5], [0.3, 0.7]])
    coins = [torch.distributions.Bernoulli(torch.tensor(share)) for share in (0.05, 0.2, 0.6)]
    wanted = sum(torch.distributions.kl_divergence(coins[0], coin) for coin in coins[1:])
    assert divergence(0.05, latent).item() == pytest.approx(float(wanted), rel=1e-5)


def test_the_bounds_of_a_linear_gaussian_model_are_in_order() -> None:
    """x = W z + b + noise; log p(x) is normal with covariance W W' + s^2 I, and so is the true posterior."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, std = torch.randn(5, 2, generator=generator), torch.randn(5, generator=generator), 0.7
    observed = torch.randn(400, 2, generator=generator) @ weight.T + bias
    observed = observed + std * torch.randn(400, 5, generator=generator)
    whole = torch.distributions.MultivariateNormal(bias, weight @ weight.T + std**2 * torch.eye(5))
    exact = whole.log_prob(observed).mean().item()
    output = Output("gaussian", spread=1.0, std=std)

    def log_likelihood(latent: torch.Tensor) -> torch.Tensor:
        return -output.error(latent @ weight.T + bias, observed)

    inner = weight.T @ weight / std**2 + torch.eye(2)
    mean = (observed - bias) @ weight @ torch.linalg.inv(inner) / std**2
    apart = Normal(mean + 0.3, 0.3 - inner.diagonal().log().expand(400, 2))  # not the true one

    def bound(posterior: Normal, samples: int) -> float:
        return importance_weighted(posterior, log_likelihood, samples, generator).mean().item()

    elbo = sum(bound(apart, 1) for _ in range(50)) / 50
    assert (log_likelihood(apart.sample(generator)) - apart.rate().sum(1)).mean().item() == pytest.approx(elbo, abs=0.1)
    assert elbo + 0.1 < sum(bound(apart, 5) for _ in range(50)) / 50 < exact - 0.05
    assert bound(apart, 5000) == pytest.approx(exact, abs=0.02)


def test_the_measured_bounds_of_a_linear_model_lie_below_its_exact_likelihood(tmp_path: Path) -> None:
    """A linear decoder of fixed deviation is a linear Gaussian model, whose likelihood is known in closed form."""
    chosen = config(
        "variational",
        learning_rate=0.03,
        network="linear",
        activation="identity",
        hidden_sizes=(4,),
        decoder_sizes=(),
        latent_size=1,
        output_std=0.5,
        anneal=0,
        likelihood_samples=500,
    )
    found = fit("autoencoder-variational", options(tmp_path, dataset="spirals", epochs=25), chosen)
    measures = found.measures
    assert measures is not None
    task = task_of(found)
    layer = task.network.heads["decoder"].output
    weight, bias = layer.weight.detach(), layer.bias.detach()
    whole = torch.distributions.MultivariateNormal(bias, weight @ weight.T + 0.25 * torch.eye(2))
    exact = whole.log_prob(task.target(task.inputs(task.test))).mean().item()
    assert measures["elbo"] + 0.01 < measures["log_likelihood"] < exact + 0.01
    assert measures["log_likelihood"] == pytest.approx(exact, abs=0.05)


def test_with_the_true_posterior_every_bound_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, std = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 0.5  # columns at right angles
    observed = torch.randn(50, 3, generator=generator)
    inner = weight.T @ weight / std**2 + torch.eye(2)
    posterior = Normal(observed @ weight @ torch.linalg.inv(inner) / std**2, -inner.diagonal().log().expand(50, 2))
    output = Output("gaussian", spread=1.0, std=std)
    whole = torch.distributions.MultivariateNormal(torch.zeros(3), weight @ weight.T + std**2 * torch.eye(3))
    found = importance_weighted(posterior, lambda z: -output.error(z @ weight.T, observed), 1, generator)
    assert torch.allclose(found, whole.log_prob(observed), atol=1e-4)


def test_the_rate_is_the_divergence_and_free_bits_bound_it() -> None:
    normal = Normal(torch.tensor([[0.5, 0.0], [1.5, 0.0]]), torch.tensor([[0.2, 0.0], [-1.0, 0.0]]))
    theirs = torch.distributions.Normal(normal.mean, (0.5 * normal.log_variance).exp())
    standard = torch.distributions.Normal(0.0, 1.0)
    assert torch.allclose(normal.rate(), torch.distributions.kl_divergence(theirs, standard), atol=1e-6)
    used = normal.rate().mean(0)[0].item()
    assert freed(normal.rate(), 0.1).item() == pytest.approx(used + 0.1)
    assert freed(normal.rate(), 0.0).item() == pytest.approx(used)


def test_annealing_grows_to_one_and_is_kept() -> None:
    progress = Progress(4)
    assert [float(progress.step()) for _ in range(6)] == [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]
    assert progress.state_dict()["updates"] == 6
    assert Progress(0).step() == 1.0


@pytest.mark.parametrize("loss", ["gaussian", "bernoulli"])
def test_a_variational_run_reports_rate_distortion_and_bounds(tmp_path: Path, loss: str) -> None:
    chosen = config("variational", loss=loss, beta=2.0, likelihood_samples=20, anneal=20, free_bits=0.05)
    found = fit("autoencoder-variational", options(tmp_path, epochs=8), chosen)
    measures = found.measures
    assert measures is not None
    assert measures["elbo"] == pytest.approx(-measures["rate"] - measures["distortion"])
    assert measures["loss"] == pytest.approx(measures["distortion"] + 2 * measures["rate"])
    assert measures["elbo"] < measures["log_likelihood"]
    assert measures["rate"] > 0.5


def test_the_contraction_is_that_of_autograds_jacobian(tmp_path: Path) -> None:
    task = task_of(fit("autoencoder-contractive", options(tmp_path, epochs=1), config("contractive", latent_size=5)))
    obs = task.inputs(task.test[:4])
    target, generator = task.network.heads["target"](obs), torch.Generator().manual_seed(0)

    def encode(values: torch.Tensor) -> torch.Tensor:
        return task.encode(task.network.heads["target"].back(values.unsqueeze(0))).squeeze(0)

    wanted = sum(torch.autograd.functional.jacobian(encode, image).square().sum() for image in target) / 4
    latent, exact = task.contraction(target, 0, generator)
    assert torch.allclose(latent, task.encode(obs), atol=1e-5)
    assert exact.item() == pytest.approx(float(wanted), rel=1e-5)
    estimates = [task.contraction(target, 10, generator)[1].item() for _ in range(300)]
    assert sum(estimates) / 300 == pytest.approx(exact.item(), rel=0.05)


def test_the_contraction_has_the_right_gradient() -> None:
    weight = torch.randn(3, 4, requires_grad=True)
    inputs = torch.randn(6, 4, requires_grad=True)
    norm = contraction(inputs @ weight.T, inputs, 0, torch.Generator())
    assert norm.item() == pytest.approx(weight.square().sum().item(), rel=1e-5)
    norm.backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(weight.grad, 2 * weight, atol=1e-5)  # type: ignore[arg-type]


def test_the_penalty_contracts(tmp_path: Path) -> None:
    norms = []
    for weight in (0.0, 0.1):
        chosen = config("contractive", contraction_weight=weight, probes=0, latent_size=8)
        found = fit("autoencoder-contractive", options(tmp_path / str(weight)), chosen)
        assert found.measures is not None
        norms.append(found.measures["contraction"])
    assert norms[1] < 0.7 * norms[0]


def test_codes_are_the_nearest_and_pass_gradients_straight_through() -> None:
    quantiser = Quantiser(2, 2, decay=0.5)
    quantiser.codes.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    vectors = torch.tensor([[0.2, 0.1], [0.7, 0.9]], requires_grad=True)
    codes, index = quantiser(vectors)
    assert index.tolist() == [0, 1]
    assert torch.allclose(codes, quantiser.codes)
    (codes * torch.tensor([3.0, 5.0])).sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.tolist() == [[3.0, 5.0], [3.0, 5.0]]


def test_codes_follow_running_means_and_dead_ones_start_again() -> None:
    quantiser, generator = Quantiser(3, 1, decay=0.5), torch.Generator().manual_seed(0)
    quantiser.codes.copy_(torch.tensor([[0.0], [10.0], [100.0]]))
    quantiser.counts.copy_(torch.tensor([2.0, 2.0, 0.8]))
    quantiser.sums.copy_(quantiser.codes * quantiser.counts.unsqueeze(1))
    quantiser.follow(torch.tensor([[1.0], [2.0], [9.0], [8.0]]), generator)
    assert quantiser.codes[:2].flatten().tolist() == [(0 + 1.5) / 2.0, (10 + 8.5) / 2.0]
    assert quantiser.codes[2].item() in (1.0, 2.0, 9.0, 8.0)  # its count fell to 0.4
    assert quantiser.counts.tolist() == [2.0, 2.0, 1.0]


def test_vq_uses_its_codes(tmp_path: Path) -> None:
    found = fit("autoencoder-vq", options(tmp_path, epochs=12), config("vq", hidden_sizes=(64,)))
    measures = found.measures
    assert measures is not None
    assert measures["used_codes"] >= 0.9
    assert measures["r2"] > 0.4
    assert 1.0 < measures["perplexity"] <= 64.0
    assert measures["rate"] < 0.9 * 16 * np.log(
        measures["perplexity"]
    )  # codes depend on their places and on each other
    task = task_of(found)
    index = task.network.heads["prior"].sample(200, torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = task.network.heads["prior"](index).mean().item()  # the entropy of what is drawn
    assert own == pytest.approx(measures["rate"], rel=0.25)


def test_the_prior_of_codes_is_a_distribution_and_draws_from_itself() -> None:
    prior = CodePrior(3, 2, 4, init="he", generator=torch.Generator().manual_seed(0))
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.no_grad():
        assert torch.allclose(prior(every), torch.full((9,), 2 * np.log(3)).float())  # uniform at first
        prior.output.weight.normal_(0.0, 2.0, generator=torch.Generator().manual_seed(1))
        share = (-prior(every)).exp()
    assert share.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert share.max().item() > 0.2
    drawn = prior.sample(20_000, torch.Generator().manual_seed(0))
    found = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / len(drawn)
    assert 0.5 * (found - share).abs().sum().item() < 0.02


def test_the_prior_leaves_the_encoder_as_it_is(tmp_path: Path) -> None:
    task = task_of(fit("autoencoder-vq", options(tmp_path, epochs=1), config("vq")))
    index = task.tokenizer.encode(task.inputs(task.test[:20]))
    task.network.heads["prior"](index).sum().backward()
    with_gradient = {
        name for name, value in task.network.named_parameters() if value.grad is not None and value.grad.any()
    }
    assert with_gradient
    assert all(name.startswith("heads.prior") for name in with_gradient)


@pytest.mark.parametrize("tied", [False, True])
def test_layers_of_a_stack_learn_one_after_the_other(tmp_path: Path, tied: bool) -> None:
    chosen = config("stacked", hidden_sizes=(20, 10), layer_epochs=2, tied=tied)
    parts = Parts.make("autoencoder-stacked", options(tmp_path, epochs=6), chosen)
    task: Any = parts.task
    generator, layers, length = torch.Generator().manual_seed(0), task.network.backbone.layers, len(task.train)

    def learned(seen: int) -> list[bool]:
        task.network.heads["seen"].examples.fill_(seen)
        task.network.zero_grad()
        task.loss(task.batch(task.train[:50]), generator)[0].backward()
        return [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in layers]

    assert (learned(0), task.learning) == ([True, False], 1)
    assert (learned(2 * length), task.learning) == ([True, True], 2)
    below = layers[0].weight.grad.clone()  # of its own error only: the layer above sends none down
    learned(0)
    assert torch.equal(below, layers[0].weight.grad)
    assert (learned(4 * length), task.learning) == ([True, True], 0)
    assert not torch.equal(below, layers[0].weight.grad)


def test_a_tied_stack_decodes_by_the_transposed_weights_of_its_encoder(tmp_path: Path) -> None:
    found = fit(
        "autoencoder-stacked", options(tmp_path, epochs=20), config("stacked", hidden_sizes=(30, 10), tied=True)
    )
    assert found.measures is not None
    assert found.measures["r2"] > 0.4
    task = task_of(found)
    decoder = task.network.heads["decoder"]
    assert [name for name, _ in decoder.named_parameters()] == ["biases.0", "biases.1"]
    one, other = (layer.weight for layer in task.network.backbone.layers)
    latent = task.encode(task.inputs(task.test[:5]))
    wanted = (latent @ other + decoder.biases[1]).relu() @ one + decoder.biases[0]
    assert torch.allclose(task.decode(latent), wanted, atol=1e-5)


def test_layers_that_learned_one_by_one_restore_already(tmp_path: Path) -> None:
    chosen = config("stacked", hidden_sizes=(64, 32), layer_epochs=5, learning_rate=3e-3)
    found = fit("autoencoder-stacked", options(tmp_path, epochs=11), chosen)
    rows = [row for row in metrics_log.read(found.path / "metrics.jsonl") if row["kind"] == "eval"]
    assert rows[0]["r2"] < 0.1  # the second layer has learned nothing yet
    assert rows[9]["r2"] > 0.3  # and nothing has learned as a whole


class Counter(gym.Env[Any, Any]):
    """Episodes of 5 to 9 steps; an observation is the number of the episode, and the step in it."""

    observation_space = spaces.Box(0, 1000, (2,), np.float32)
    action_space = spaces.Discrete(2)
    episode = -1

    def reset(self, **_: Any) -> Any:
        Counter.episode += 1
        self.number, self.step_in = Counter.episode, 0
        return self._seen(), {}

    def step(self, _: Any) -> Any:
        self.step_in += 1
        return self._seen(), 0.0, self.step_in == 5 + self.number % 5, False, {}

    def _seen(self) -> Any:
        return np.array([self.number, self.step_in], np.float32)


def test_windows_are_consecutive_and_never_cross_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    gym.register("test/Counter-v0", Counter)
    chosen = config("recurrent", window=4, stride=2)
    made = {"dataset": "", "env": "test/Counter-v0", "env_steps": 200}
    task: Any = Parts.make("autoencoder-recurrent", options(tmp_path, **made), chosen).task
    for index in (task.train, task.validation):
        windows = task.batch(index).obs
        assert windows.shape == (len(index), 4, 2)
        assert (windows[..., 0] == windows[:, :1, 0]).all()
        assert (windows[..., 1].diff(dim=1) == 1).all()
        assert (windows[:, 0, 1] % 2 == 0).all()
    lengths = task.data.starts.diff()
    assert len(task.train) + len(task.validation) == int(sum(max(0, (int(n) - 4) // 2 + 1) for n in lengths))
    assert not set(task.batch(task.train).obs[:, 0, 0].tolist()) & set(task.batch(task.test).obs[:, 0, 0].tolist())
    with pytest.raises(ValueError, match="window 50 is longer than every episode for train"):
        Parts.make("autoencoder-recurrent", options(tmp_path, **made), config("recurrent", window=50))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrent_latent_restores_the_order_of_its_window(tmp_path: Path, cell: str) -> None:
    chosen = config("recurrent", cell=cell, units=64, latent_size=32, learning_rate=3e-3)
    found = fit("autoencoder-recurrent", options(tmp_path, dataset="digits-rows", epochs=6), chosen)
    assert found.measures is not None
    assert found.measures["r2"] > 0.5
    task = task_of(found)
    assert task.inputs(task.test[:3]).shape == (3, 8)  # one row of pixels each
    with torch.no_grad():
        windows = task.batch(task.test[:50]).obs
        restored = task.decode(task.encode(windows))
    error, turned = ((rows - windows).square().mean().item() for rows in (restored, restored.flip(1)))
    assert error < 0.5 * turned


def test_probes_of_latents_are_beside_those_of_random_weights(tmp_path: Path) -> None:
    task, few = "autoencoder-convolutional", {"latent_size": 4, "learning_rate": 3e-3}
    found = fit(task, options(tmp_path, epochs=5), config("convolutional", linear_probe=True, **few))
    measures = found.measures
    assert measures is not None
    assert evaluate(found.path) == measures
    assert measures["probe_accuracy"] > 0.6
    assert 0.2 < measures["random_probe_accuracy"] < measures["probe_accuracy"] - 0.1
    plain = fit(task, options(tmp_path / "plain", epochs=5), config("convolutional", **few)).measures
    assert plain is not None
    assert {**plain, **measures} == measures
    assert set(measures) - set(plain) == {"probe_accuracy", "random_probe_accuracy"}
    rows = fit("autoencoder-recurrent", options(tmp_path, dataset="copy", epochs=1, updates=5), config("recurrent"))
    assert rows.measures is not None
    assert "probe_accuracy" not in rows.measures  # its classes are of steps


def test_random_weights_of_vq_have_codes_of_their_own(tmp_path: Path) -> None:
    task: Any = Parts.make("autoencoder-vq", options(tmp_path), config("vq")).task
    made = [task.random(np.random.SeedSequence(seed)) for seed in (1, 1, 2)]
    latents = [one.encode(task.inputs(task.test)) for one in made]
    assert len(latents[0].unique(dim=0)) > 200  # of 359 examples
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


def test_patches_are_hidden_whole_and_as_many_as_asked() -> None:
    mask = hidden_patches(torch.Size([50, 3, 9, 12]), 4, 0.5, torch.Generator().manual_seed(0))
    assert mask.shape == (50, 1, 9, 12)
    corners = mask[:, 0, ::4, ::4]  # one pixel of each patch
    assert (corners.flatten(1).sum(1) == 4).all()  # of 3 x 3 patches, rounded half to even
    assert torch.equal(mask[:, 0], corners.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :9, :12])
    assert not torch.equal(mask[0], mask[1])


def test_masked_restores_hidden_patches_better_than_their_mean(tmp_path: Path) -> None:
    found = fit("autoencoder-masked", options(tmp_path, epochs=12), config("masked", hidden_sizes=(256,), hidden=0.25))
    assert found.measures is not None
    task = task_of(found)
    images = task.network.heads["target"](task.inputs(task.test))
    assert found.measures["hidden_mse"] < 0.8 * images.var(0, correction=0).mean().item()
    assert found.measures["loss"] < 1.0
