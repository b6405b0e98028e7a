"""Measures of the samples of autoencoders, which are those of GANs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gymnast.agents.supervised.frechet import frechet
from gymnast.agents.supervised.table import config_class
from gymnast.cli.main import main
from gymnast.fitting import pictures
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, config_of, fit, options_of
from gymnast.fitting.parts import Parts, load_kept
from gymnast.networks.gans.features import RandomFeatures
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import folder, metrics_log

OF_SAMPLES = {"frechet", "precision", "recall", "f1"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: {})
    monkeypatch.setattr(pictures, "curve", lambda folder, _: folder / "curve.png")


def run(tmp_path: Path, kind: str, *, epochs: int = 1, **changes: Any) -> FitResult:
    options = FitOptions(dataset="digits", out=str(tmp_path), name="r", epochs=epochs)
    small = {"network": "mlp", "hidden_sizes": (32,), "linear_probe": False, "batch_size": 256}
    return fit(f"autoencoder-{kind}", options, config_class(f"autoencoder-{kind}")(**{**small, **changes}))


def task_of(result: FitResult) -> Any:
    kept = folder.read_config(result.path)
    parts = Parts.make(kept["task"], options_of(kept), config_of(kept))
    load_kept(parts.task, result.path / "checkpoints" / "best.pt")
    return parts.task


@pytest.mark.parametrize("kind", ["variational", "vq"])
def test_samples_are_measured_in_every_evaluation_as_those_of_gans(tmp_path: Path, kind: str) -> None:
    result = run(tmp_path, kind, epochs=2)
    assert result.measures is not None
    assert evaluate(result.path) == result.measures
    logged = [row["frechet"] for row in metrics_log.read(result.path / "metrics.jsonl") if row["kind"] == "eval"]
    assert len(logged) == 2
    assert result.measures["frechet"] in logged
    task, real, fake = task_of(result), [], []
    features = RandomFeatures(1)
    for part in torch.split(task.test, 256):
        real.append(features(task.inputs(part).movedim(-1, 1) / 255))
        with torch.no_grad():
            fake.append(features(task.drawn(len(part), torch.Generator().manual_seed(int(part[0])))))
    assert result.measures["frechet"] == pytest.approx(frechet(torch.cat(real), torch.cat(fake)), rel=1e-5)
    gan: Any = Parts.make(
        "gan-vanilla", options_of(folder.read_config(result.path)), config_class("gan-vanilla")()
    ).task
    batch = task.batch(task.test[:50])
    assert torch.equal(gan.outputs(batch)["real"], task.outputs(batch)["real"])


def test_real_examples_as_samples_have_no_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path, "variational")
    task = task_of(result)
    outputs = task.outputs(task.batch(task.test))
    assert task.measures(outputs)["frechet"] > 0.1
    shuffled = task.target(task.inputs(task.test)).flip(0)
    monkeypatch.setattr(task, "drawn", lambda number, _: shuffled[:number])
    measures = task.measures(task.outputs(task.batch(task.test)))
    assert measures["frechet"] == pytest.approx(0.0, abs=1e-6)
    assert (measures["precision"], measures["recall"]) == (1.0, 1.0)


def test_they_can_be_left_out_and_change_nothing_else(tmp_path: Path) -> None:
    with_them, without = (
        run(tmp_path / str(number), "variational", sample_measures=number == 0) for number in range(2)
    )
    assert with_them.measures is not None
    assert without.measures is not None
    assert set(with_them.measures) - set(without.measures) == OF_SAMPLES
    assert {**with_them.measures, **without.measures} == with_them.measures
    records = [
        (result.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines() for result in (with_them, without)
    ]
    for one, other in zip(*records, strict=True):
        kept = {name: value for name, value in json.loads(one).items() if name.rpartition("/")[2] not in OF_SAMPLES}
        assert kept == json.loads(other)
    assert not OF_SAMPLES & set(run(tmp_path / "plain", "convolutional").measures or {})


def test_few_validation_examples_have_no_measures_of_samples(tmp_path: Path) -> None:
    task = task_of(run(tmp_path, "vq"))
    assert not OF_SAMPLES & set(task.measures(task.outputs(task.batch(task.test[:3]))))
    assert set(task.measures(task.outputs(task.batch(task.test[:4])))) >= OF_SAMPLES


def test_the_features_of_another_run_are_compared(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", "convolutional", hidden_sizes=(20,))
    result = run(tmp_path / "other", "variational", features=str(plain.path))
    task = task_of(result)
    encoder = task_of(plain).network.backbone
    with torch.no_grad():
        outputs = task.outputs(task.batch(task.test))
        assert torch.allclose(outputs["real"], encoder(task.inputs(task.test)), atol=1e-5)
    assert result.measures is not None
    assert result.measures["frechet"] == pytest.approx(task.measures(outputs)["frechet"], rel=0.5)


def test_features_without_measures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "vq", "--dataset", "digits", "--features", "runs/a", "--no-sample-measures"]
    assert main(["pretrain", "autoencoder", *words]) == 2
    assert "--features runs/a has no effect without --sample-measures" in capsys.readouterr().err
