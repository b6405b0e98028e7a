"""Every backbone learns: the digits as images, or as sequences of their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gymnast.agents.supervised.labelled import ClassifyConfig
from gymnast.fitting.fit import fit
from gymnast.networks.backbones.sequence import SequenceBackbone
from gymnast.networks.backbones.table import BACKBONES, backbone_class
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import metrics_log

OTHERS = {
    "nature-cnn": "needs larger images",
    "a3c-cnn": "needs larger images",
    "efficient-cnn": "needs larger images",
    "combined": "needs a uint8 image of at least 36x36 pixels",
    "embedding": "needs Discrete or MultiDiscrete observations",
}
"""Backbones that do not read such small images, and why."""
HEAVY = ("inception", "squeeze-excitation", "resnet", "xception", "densenet")
"""Those that only `make long` trains."""
OPTIONS: dict[str, dict[str, Any]] = {"inception": {"norm": "batch", "auxiliary": True}}


def kind(name: str) -> str:
    return "digits-rows" if issubclass(backbone_class(name), SequenceBackbone) else "digits"


def accuracy(name: str, tmp_path: Path, *, epochs: int = 5, **options: Any) -> float:
    chosen = FitOptions(dataset=kind(name), out=str(tmp_path), name="r", epochs=epochs, eval_every=epochs)
    config = ClassifyConfig(network=name, network_options=options, learning_rate=3e-3)
    result = fit("classify", chosen, config)
    assert result.exit_code == 0
    assert result.measures is not None
    return result.measures["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in HEAVY else ())
        for name in sorted(BACKBONES.keys() - OTHERS.keys())
    ],
)
def test_a_backbone_learns_digits(name: str, tmp_path: Path) -> None:
    assert accuracy(name, tmp_path, epochs=12 if name == "linear" else 5, **OPTIONS.get(name, {})) > 0.9


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_the_others_say_why_not(name: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=OTHERS[name]):
        accuracy(name, tmp_path)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "transformer", "wavenet"])
def test_an_output_at_each_step_learns(name: str, tmp_path: Path) -> None:
    """The next symbol of a^n b^n, asked for in the same pass as all others."""
    chosen = FitOptions(dataset="anbn", out=str(tmp_path), name="r", epochs=60, eval_every=60, log_every=5)
    result = fit("classify", chosen, ClassifyConfig(network=name, learning_rate=0.01))
    rows = [row for row in metrics_log.read(result.path / "metrics.jsonl") if row["kind"] == "fit"]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.85
