"""Codes with places: `gymnast pretrain autoencoder --kind vq --code-grid N`, and the tokenizer without the trainer."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

import gymnast
from gymnast.agents.supervised.autoencoders.vq import VQConfig
from gymnast.cli.main import main
from gymnast.fitting import pictures
from gymnast.fitting import state as last_state
from gymnast.fitting.fit import fit, resume
from gymnast.fitting.session import FitSession
from gymnast.networks.autoencoders.grid import GridDecoder, ToGrid, windows
from gymnast.networks.autoencoders.prior import CodePrior
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.autoencoders.tokenizer import Tokenizer, grid_tokenizer
from gymnast.networks.build import build
from gymnast.replay.datasets.labelled import labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.storage.encoder import read_encoder

IMAGES = spaces.Box(0, 255, (1, 16, 16), np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: {})
    monkeypatch.setattr(pictures, "curve", lambda folder, _: folder / "curve.png")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def options(tmp_path: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(tmp_path), "name": "r", "epochs": 2, **changes})


def config(**changes: Any) -> VQConfig:
    small = {"network": "lenet5", "code_grid": 2, "codes": 32, "prior_units": 16, "linear_probe": False}
    return VQConfig(**{**small, "batch_size": 128, **changes})


class Trunk(nn.Module):
    """A backbone of one's own with a feature map of 4x4."""

    out_features = 16 * 4 * 4

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 4, 2, 1), nn.ReLU())

    def mapped(self, obs: Tensor) -> Tensor:
        maps: Tensor = self.layers(obs / 255)
        return maps

    def forward(self, obs: Tensor) -> Tensor:
        return self.mapped(obs).flatten(1)


def made(seed: int = 0) -> Tokenizer:
    """A tokenizer of 4x4 codes of small images."""
    return grid_tokenizer(Trunk(), IMAGES, code_grid=4, codes=64, code_size=8, generator=generator(seed))


def dots(number: int, seed: int) -> Tensor:
    """Images with one dot of four pixels each."""
    rng = np.random.default_rng(seed)
    found = np.full((number, 1, 16, 16), 50, np.uint8)
    for image, (row, column) in zip(found, rng.integers(0, 15, (number, 2)), strict=True):
        image[0, row : row + 2, column : column + 2] = 250
    return torch.from_numpy(found)


def learn(tokenizer: Tokenizer, updates: int) -> None:
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=2e-3, betas=(0.9, 0.99))
    for update in range(updates):
        found = tokenizer.losses(dots(64, update), generator(update))
        optimizer.zero_grad()
        (found.error + 0.25 * found.distance).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("length", "side", "kernel", "stride"), [(7, 4, 4, 1), (8, 4, 2, 2), (20, 7, 8, 2), (5, 5, 1, 1)]
)
def test_windows_of_a_grid_cover_a_map_exactly(length: int, side: int, kernel: int, stride: int) -> None:
    assert windows((length, 9), side)[0][0] == kernel
    assert windows((length, 9), side)[1][0] == stride
    covered = {place * stride + offset for place in range(side) for offset in range(kernel)}
    assert covered == set(range(length))
    with pytest.raises(ValueError, match=r"code_grid must be at most the sides of the feature map, 3x9, got 4"):
        ToGrid((2, 3, 9), code_grid=4, code_size=2, init="he", generator=generator())


def test_codes_are_those_of_their_places_row_by_row() -> None:
    space = spaces.Box(0, 1, (10, 10, 2), np.bool_)
    backbone = build("minatar-cnn", space, hidden_sizes=(), init="he", generator=generator())
    tokenizer = grid_tokenizer(backbone, space, code_grid=8, codes=8, code_size=4, generator=generator())
    image = torch.zeros(1, 10, 10, 2, dtype=torch.bool)
    changed = image.clone()
    changed[0, 3, 6] = True
    with torch.no_grad():
        latents = [tokenizer.latents(obs).view(8, 8, 4) for obs in (image, changed)]
    differ = (latents[0] != latents[1]).any(2).nonzero()
    assert differ.amin(0).tolist() == [1, 4]  # a 3x3 convolution without padding reads pixel (3, 6) in cells
    assert differ.amax(0).tolist() == [3, 6]


@pytest.mark.parametrize(
    ("side", "height", "width"),
    [(7, 84, 84), (4, 64, 64), (8, 10, 10), (10, 10, 10), (5, 10, 10), (3, 7, 12), (4, 210, 160)],
)
def test_a_grid_is_decoded_to_images_of_any_size_each_cell_to_its_place(side: int, height: int, width: int) -> None:
    decoder = GridDecoder(side, 3, (2, height, width), channels=4, gain=1.0, generator=generator())
    latent = torch.randn(2, side * side * 3, generator=generator())
    assert decoder(latent).shape == (2, 2, height, width)
    decoder.start_at(torch.full((2, height, width), 0.3))
    for row, column in ((0, 0), (side - 1, 1), (1, side - 1)):
        other = latent.clone()
        other.view(2, side, side, 3)[:, row, column] += 3.0
        with torch.no_grad():
            change = (decoder(other) - decoder(latent)).square().sum((0, 1))
        near = [
            (torch.arange(length) >= (place - 1) * length / side) & (torch.arange(length) < (place + 2) * length / side)
            for place, length in ((row, height), (column, width))
        ]
        inside = near[0].unsqueeze(1) & near[1]
        assert change[inside].mean() > 2 * change[~inside].mean()


def test_a_bad_grid_of_a_decoder() -> None:
    with pytest.raises(ValueError, match=r"code_grid must be at most the sides of the image, 3x8, got 4"):
        GridDecoder(4, 3, (1, 3, 8), channels=4, generator=generator())


def test_the_prior_of_a_grid_reads_the_code_above_and_draws_from_itself() -> None:
    prior = CodePrior(2, 4, 4, columns=2, init="he", generator=generator())
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)
    with torch.no_grad():
        prior.output.weight.normal_(0.0, 2.0, generator=generator(1))
        share = (-prior(every)).exp()
    assert share.sum().item() == pytest.approx(1.0, abs=1e-5)
    drawn = prior.sample(20_000, generator())
    found = torch.bincount((drawn * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / len(drawn)
    assert 0.5 * (found - share).abs().sum().item() < 0.02


def test_a_code_depends_on_the_one_above() -> None:
    prior = CodePrior(2, 4, 16, columns=2, init="he", generator=generator())
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)

    def difference() -> float:
        """How much the likelihood of the third code depends on the first, given the second."""
        share = (-prior(every)).exp().view(2, 2, 2, 2).sum(3)
        below = share[:, 0, 0] / share[:, 0].sum(1)
        return abs(float(below[0] - below[1]))

    with torch.no_grad():
        prior.output.weight.normal_(0.0, 2.0, generator=generator(1))
        prior.before.weight.zero_()
        assert difference() > 0.05
        prior.above.weight.zero_()
        assert difference() < 1e-6


def test_a_tokenizer_learns_without_the_trainer_to_restore_dots() -> None:
    tokenizer, test = made(), dots(200, 10_000)
    tokenizer.start_at(dots(500, 9_999))
    before = tokenizer.losses(dots(64, 9_998), generator()).error.item()
    assert before == pytest.approx(1.0, abs=0.2)  # in units of the variance
    learn(tokenizer, 200)
    codes = tokenizer.encode(test)
    assert codes.dtype == torch.int64
    assert codes.shape == (200, 16)
    assert 0 <= codes.min() < codes.max() < 64
    restored = tokenizer.decode(codes)
    assert restored.dtype == torch.uint8
    assert restored.shape == test.shape
    mean = test.float().mean(0)
    lost = (restored.float() - test.float()).square().sum() / (mean - test.float()).square().sum()
    assert lost.item() < 0.2


def test_a_tokenizer_starts_at_the_mean_and_keeps_its_state() -> None:
    tokenizer, images = made(), dots(300, 1)
    tokenizer.start_at(images)
    codes = torch.zeros(2, 16, dtype=torch.int64)
    assert torch.equal(tokenizer.decode(codes)[0], (images.float().mean(0)).round().byte())
    other = made(5)
    learn(tokenizer, 2)
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other.encode(images), tokenizer.encode(images))
    assert torch.equal(other.decode(codes), tokenizer.decode(codes))
    assert other.output.variance.item() == pytest.approx(
        (images.float() / 255 - images.float().mean(0) / 255).square().mean().item()
    )


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("mlp", IMAGES, "code_grid needs a network with convolutions over images, or with a method mapped; got mlp"),
        ("mlp", spaces.Box(-1, 1, (4,)), "code_grid needs images with bounds, got Box"),
    ],
)
def test_what_a_grid_needs(name: str, space: Any, message: str) -> None:
    backbone = build(name, space, generator=generator())
    with pytest.raises(ValueError, match=message):
        grid_tokenizer(backbone, space, code_grid=2, codes=4, code_size=2, generator=generator())


def test_runs_with_a_grid_repeat_resume_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit("autoencoder-vq", options(tmp_path / "whole"), config())
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == 15:  # of 24
            self.interrupts.received = signal.SIGINT

    with monkeypatch.context() as patch:
        patch.setattr(FitSession, "_after_update", interrupted)
        part = fit("autoencoder-vq", options(tmp_path / "part"), config())
    assert part.exit_code == 130
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    states = [last_state.read(path / "checkpoints" / "last.pt")[1].network["heads"] for path in (whole.path, rest.path)]
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name

    model = gymnast.load(whole.path)
    images = labelled("digits", seed=0).inputs[:20]
    tokenizer = model.task.tokenizer
    with torch.no_grad():
        codes = tokenizer.encode(images)
        assert codes.shape == (20, 4)
        assert model.latent_size == 4 * 8
        latent = model.encode(images)
        assert np.allclose(latent, tokenizer.embedded(codes).numpy(), atol=1e-6)
    assert np.array_equal(model.decode(latent), tokenizer.decode(codes).numpy())
    samples = model.sample(5, seed=1)
    assert (samples.shape, samples.dtype) == ((5, 8, 8, 1), np.uint8)
    assert np.array_equal(samples[:2], model.sample(2, seed=1))

    backbone = read_encoder(whole.path).build()
    with torch.no_grad():
        assert torch.equal(backbone(images), model.network.backbone.mapped(images).flatten(1))


def test_a_grid_uses_its_codes(tmp_path: Path) -> None:
    measures = fit("autoencoder-vq", options(tmp_path, epochs=10), config(batch_size=32)).measures
    assert measures is not None
    assert measures["used_codes"] >= 0.9
    assert measures["r2"] > 0.4
    assert measures["rate"] < 0.9 * 4 * np.log(measures["perplexity"])  # codes depend on their places and on each other


def test_runs_from_before_the_grid_load(tmp_path: Path) -> None:
    run = fit("autoencoder-vq", options(tmp_path, epochs=1), config(code_grid=0, network="mlp", hidden_sizes=(16,)))
    path = run.path / "checkpoints" / "best.pt"
    sample = gymnast.load(path).sample(2)
    state = torch.load(path, weights_only=True)
    about = json.loads(state["about"])
    del about["config"]["code_grid"]
    state["about"] = json.dumps(about)
    torch.save(state, path)
    assert np.array_equal(gymnast.load(path).sample(2), sample)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--code-grid -1", "--code-grid must be >= 0, got -1"),
        ("--code-grid 3 --network lenet5", "code_grid must be at most the sides of the feature map, 2x2, got 3"),
        ("--code-grid 2 --network mlp", "code_grid needs a network with convolutions over images"),
        ("--code-grid 2 --latent-size 64", "--latent-size 64 has no effect with --code-grid, which makes it 32"),
        ("--code-grid 2 --hidden-sizes 64", "have no effect with --code-grid, which reads feature maps"),
        ("--code-grid 2 --decoder-sizes 64", "have no effect with --code-grid, which needs images"),
    ],
)
def test_bad_options_of_a_grid(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "autoencoder", "--kind", "vq", "--dataset", "digits", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_codes_keep_apart() -> None:
    """Otherwise codes of the same place would take turns."""
    quantiser = Quantiser(4, 2, decay=0.99, apart=0.03)
    two = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(8, 1)
    quantiser.follow(two, generator())
    numbers = quantiser.nearest(two)
    assert len(set(numbers.tolist())) == 2
    for seed in range(200):
        quantiser.follow(two + 1e-3 * torch.randn(two.shape, generator=generator(seed)), generator(seed))
        assert torch.equal(quantiser.nearest(two), numbers)
    assert (quantiser.counts == 0).sum() == 2  # the others have never been used
    new = torch.cat([two, torch.full((16, 2), 5.0)])
    for seed in range(5):
        quantiser.follow(new, generator(seed))
    found = quantiser.nearest(new)
    assert torch.equal(found[:16], numbers)
    assert len(set(found.tolist())) == 3
