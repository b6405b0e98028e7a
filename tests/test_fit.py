"""`gymnast fit` on labelled data: it learns, resumes exactly, keeps the best network, and refuses bad input."""

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import gymnast.fitting.data
from gymnast.agents.supervised.labelled import ClassifyConfig, RegressConfig
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, fit, resume
from gymnast.fitting.learner import Learner
from gymnast.fitting.optimisation import batches
from gymnast.fitting.session import FitSession
from gymnast.replay.datasets.labelled import Labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint, metrics_log

SMALL = ClassifyConfig(network="mlp", hidden_sizes=(64,), learning_rate=3e-3)


def options(tmp_path: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(tmp_path), "name": "r", "epochs": 3, **changes})


def logged(result: FitResult) -> list[dict[str, Any]]:
    return metrics_log.read(result.path / "metrics.jsonl")


def test_a_run_leaves_its_files_and_its_measures(tmp_path: Path) -> None:
    result = fit("classify", options(tmp_path), SMALL)
    assert result.exit_code == 0
    assert result.path == tmp_path / "digits" / "classify" / "r"
    for name in ("config.json", "curve.png", "confusion.png", "checkpoints/best.pt", "checkpoints/last.pt"):
        assert (result.path / name).stat().st_size > 0
    rows = logged(result)
    assert [row["kind"] for row in rows if row["kind"] != "fit"] == ["eval"] * 3 + ["final"]
    assert rows[-1]["accuracy"] == result.measures["accuracy"] > 0.8  # type: ignore[index]
    best = max(row["accuracy"] for row in rows if row["kind"] == "eval")
    assert result.measures["accuracy"] == best  # type: ignore[index]
    assert evaluate(result.path) == result.measures


def test_same_seed_same_run_and_another_seed_another_one(tmp_path: Path) -> None:
    runs = [fit("classify", options(tmp_path / str(n), seed=seed), SMALL) for n, seed in enumerate((0, 0, 1))]
    logs = [(run.path / "metrics.jsonl").read_bytes() for run in runs]
    assert logs[0] == logs[1] != logs[2]


EVERYTHING = ClassifyConfig(
    network="lenet5",
    optimizer="sgd",
    optimizer_options='{"momentum": 0.9}',
    learning_rate=0.05,
    schedule="one-cycle",
    average=0.9,
    augment="shift",
    augment_pad=1,
    max_grad_norm=1.0,
)


@pytest.mark.parametrize("stop", [1, 40, 46, 70])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of an epoch (23 updates each), and at its end."""
    whole = fit("classify", options(tmp_path / "whole", epochs=4, log_every=7), EVERYTHING)
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == stop:
            self.interrupts.received = signal.SIGINT

    monkeypatch.setattr(FitSession, "_after_update", interrupted)
    part = fit("classify", options(tmp_path / "part", epochs=4, log_every=7), EVERYTHING)
    assert part.exit_code == 130
    assert part.measures is None
    assert part.updates == stop
    monkeypatch.undo()
    if stop == 40:
        as_an_earlier_build(part.path / "checkpoints" / "last.pt")
    rest = resume(part.path)
    assert rest.measures == whole.measures
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    ours, theirs = (checkpoint.read(run.path / "checkpoints" / "last.pt")[1] for run in (rest, whole))
    for part_name in ("backbone", "heads"):
        for name, value in theirs["agent"][part_name].items():
            assert torch.equal(ours["agent"][part_name][name], value)


def as_an_earlier_build(path: Path) -> None:
    """Rewrite a checkpoint in the form that knew one network only."""
    about, content = checkpoint.read(path)
    kept = content["fit"]
    (learner,), counts = kept.pop("learners"), kept.pop("counts")
    kept |= {**learner, "summed": counts["loss"]}
    checkpoint.save(path, about, content)


def test_dropout_resumes_exactly_from_torchs_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ClassifyConfig(network="lstm", network_options={"units": 16, "dropout": 0.3})
    chosen = {"dataset": "digits-rows", "epochs": 2}
    whole = fit("classify", options(tmp_path / "whole", **chosen), config)
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == 30:
            self.interrupts.received = signal.SIGTERM

    monkeypatch.setattr(FitSession, "_after_update", interrupted)
    part = fit("classify", options(tmp_path / "part", **chosen), config)
    assert part.exit_code == 143
    monkeypatch.undo()
    torch.manual_seed(123)
    assert resume(part.path).measures == whole.measures


def test_more_epochs_go_on_where_the_run_ended(tmp_path: Path) -> None:
    whole = fit("classify", options(tmp_path / "whole", epochs=4), SMALL)
    part = fit("classify", options(tmp_path / "part", epochs=2), SMALL)
    with pytest.raises(UsageError, match="has finished its 2 epochs; --epochs with a larger number goes on"):
        resume(part.path)
    rest = resume(part.path, epochs=4)
    evaluations = [[row for row in logged(run) if row["kind"] == "eval"] for run in (whole, rest)]
    assert evaluations[0] == evaluations[1]


def test_patience_stops_early_and_the_best_network_is_kept(tmp_path: Path) -> None:
    config = ClassifyConfig(network="mlp", hidden_sizes=(8,), learning_rate=0.3)  # too large to improve for long
    result = fit("classify", options(tmp_path, epochs=60, patience=3), config)
    scores = [row["accuracy"] for row in logged(result) if row["kind"] == "eval"]
    assert len(scores) < 60
    assert scores.index(max(scores)) == len(scores) - 4
    assert result.measures is not None
    assert result.measures["accuracy"] == max(scores)


def test_the_average_is_the_exponential_one_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    learn = Learner.learn
    last: dict[str, torch.Tensor] = {}

    def watched(self: Learner, batch: object, updates: int) -> Any:
        assert self.average is not None
        if not seen:
            seen.append(self.average.state())
        metrics = learn(self, batch, updates)
        seen.append(self.weights.data.clone())
        last["average"] = self.average.state()
        return metrics

    monkeypatch.setattr(Learner, "learn", watched)
    config = ClassifyConfig(network="mlp", hidden_sizes=(8,), average=0.8)
    result = fit("classify", options(tmp_path, epochs=1), config)
    expected = seen[0]
    for weights in seen[1:]:
        expected = 0.8 * expected + 0.2 * weights
    torch.testing.assert_close(last["average"], expected, rtol=1e-4, atol=1e-6)
    kept = checkpoint.read_agent(result.path / "checkpoints" / "best.pt")[1]  # the average is evaluated and kept
    flat = torch.cat([value.flatten() for part in ("backbone", "heads") for value in kept[part].values()])
    assert not torch.allclose(flat.sort()[0], seen[-1].sort()[0])
    torch.testing.assert_close(flat.sort()[0], expected.sort()[0], rtol=1e-4, atol=1e-6)


def test_epochs_see_every_example_once_in_another_order() -> None:
    index = torch.arange(10)
    assert [part.tolist() for part in batches(index, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [len(part) for part in batches(index, 3)] == [3, 3, 4]  # a single last one joins the batch before
    assert [len(part) for part in batches(index, 1)] == [1] * 10


def test_xor_needs_a_hidden_layer(tmp_path: Path) -> None:
    common = {"dataset": "xor", "epochs": 300, "eval_every": 50, "log_every": 100}
    config = {"learning_rate": 0.05, "init": "xavier", "activation": "tanh"}
    networks = {
        "hidden": ClassifyConfig(network="mlp", hidden_sizes=(4,), **config),  # type: ignore[arg-type]
        "linear": ClassifyConfig(network="linear", **config),  # type: ignore[arg-type]
    }
    found = {name: fit("classify", options(tmp_path / name, **common), one).measures for name, one in networks.items()}
    assert found["hidden"] is not None
    assert found["hidden"]["accuracy"] == 1.0
    assert found["linear"] is not None
    assert found["linear"]["accuracy"] <= 0.75


def test_next_symbols_of_strings_are_classified_at_every_step(tmp_path: Path) -> None:
    config = ClassifyConfig(network="lstm", network_options={"units": 8}, learning_rate=0.03)
    result = fit("classify", options(tmp_path, dataset="anbn", epochs=150, eval_every=50), config)
    assert result.measures is not None
    assert result.measures["accuracy"] > 0.8
    assert 1.0 <= result.measures["perplexity"] < 2.0
    with pytest.raises(UsageError, match="network mlp has one output for a sequence, and anbn asks for one at each"):
        fit("classify", options(tmp_path / "b", dataset="anbn"), ClassifyConfig(network="mlp"))


def line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of numbers: y = 3 x - 1."""
    inputs = torch.linspace(-1, 1, 50).unsqueeze(1)
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    made = Labelled("line", space, inputs, 3 * inputs - 1, ())
    monkeypatch.setattr(gymnast.fitting.data, "read", lambda task, options, known=None: made)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "log-cosh"])
def test_numbers_are_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    line(monkeypatch)
    config = RegressConfig(network="linear", learning_rate=0.05, loss=loss, batch_size=10)  # type: ignore[arg-type]
    result = fit("regress", options(tmp_path, epochs=60), config)
    assert result.measures is not None
    assert result.measures["r2"] > 0.99
    state = checkpoint.read_agent(result.path / "checkpoints" / "best.pt")[1]
    weight, bias = (value.item() for value in state["heads"].values())
    assert (weight, bias) == pytest.approx((3.0, -1.0), abs=0.1)
    assert (result.path / "regression.png").is_file()


def test_a_data_set_of_the_wrong_kind_of_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="regress needs numbers, and digits has classes; classify fits them"):
        fit("regress", options(tmp_path))
    line(monkeypatch)
    with pytest.raises(UsageError, match="classify needs classes, and line has numbers; regress fits them"):
        fit("classify", options(tmp_path))


def test_a_loss_that_is_not_finite_stops_the_run_with_the_last_checkpoint(tmp_path: Path) -> None:
    config = ClassifyConfig(network="mlp", optimizer="sgd", learning_rate=1e30)
    result = fit("classify", options(tmp_path, log_every=1), config)
    assert result.exit_code == 1
    state = checkpoint.read(result.path / "checkpoints" / "last.pt")[1]
    assert all(bool(value.isfinite().all()) for value in state["agent"]["backbone"].values())


def test_monte_carlo_dropout_averages_passes(tmp_path: Path) -> None:
    config = ClassifyConfig(network="gru", network_options={"units": 16, "dropout": 0.5}, mc_samples=20)
    plain = ClassifyConfig(network="gru", network_options={"units": 16, "dropout": 0.5})
    chosen = {"dataset": "digits-rows", "epochs": 2}
    with_passes = fit("classify", options(tmp_path / "a", **chosen), config)
    without = fit("classify", options(tmp_path / "b", **chosen), plain)
    assert with_passes.measures is not None
    assert without.measures is not None
    assert with_passes.measures["entropy"] > 0
    assert "entropy" not in without.measures
    assert with_passes.measures["loss"] != without.measures["loss"]
    assert evaluate(with_passes.path) == with_passes.measures  # its passes are drawn by a seed


WRONG = {
    "--dataset digit": "classify needs a labelled data set, one of digits, .*; got digit; did you mean digits?",
    "--dataset digits --loss mse": "--loss must be one of auto, cross-entropy, focal, hinge, got mse",
    "--dataset digits --validation 0": "--validation must be > 0 and < 1, got 0",
    "--dataset digits --validation 0.0001": "validation 0.0001 of 1,797 examples leaves none for validation",
    "--dataset digits --env CartPole-v1": "give a dataset, or an env to record data in; got both",
    "": "give a dataset, or an env to record data in; got neither",
    "--dataset digits --policy x": "--policy x has no effect without env",
    "--dataset digits --network nature-cnn": "nature-cnn needs larger images",
    "--dataset digits --label-smoothing 0.1 --loss hinge": "--label-smoothing needs loss cross-entropy, got hinge",
    "--dataset digits --class-weights 1,2": "class_weights must be 10 numbers, one for each class, got 2",
    "--dataset xor --augment shift": "augment shift needs images",
    "--dataset digits --optimizer lbfgs": "--optimizer lbfgs cannot be used: it needs a closure",
    "--dataset digits --schedule-options {": "--schedule-options must be a JSON object",
    "--dataset digits --network.width 2 --network lenet5": "--network.width",
    "--dataset digits --wandb-tags a": "--wandb-tags a has no effect without wandb in track",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "classify", *words.split(), "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert re.search(WRONG[words].replace("?", "\\?"), error), error
    assert not (tmp_path / "runs").exists()


def test_the_command_line_fits_resumes_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "fit classify --dataset digits --network lenet5 --network.channels-axis last --epochs 1 --name r"
    assert main([*words.split(), "--out", str(tmp_path), "--track", "tensorboard"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert "lenet5" in printed
    run = str(tmp_path / "digits" / "classify" / "r")
    assert main(["evaluate", run, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert 0 < values["accuracy"] < 1
    assert math.isfinite(values["loss"])
    assert main(["resume", run, "--epochs", "2"]) == 0
    assert main(["resume", run, "--steps", "2"]) == 2
    assert "--epochs sets the total of a fitted network" in capsys.readouterr().err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    events = EventAccumulator(run)
    events.Reload()
    assert {"eval/accuracy", "fit/loss"} <= set(events.Tags()["scalars"])
    assert main(["report", run]) == 2
    assert main(["fit", "--help"]) == 0
    assert main(["fit", "classify", "--help"]) == 0
    assert "--label-smoothing" in capsys.readouterr().out
    assert main(["fit"]) == 2
    assert main(["fit", "clasify"]) == 2
    assert "did you mean classify?" in capsys.readouterr().err


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    result = fit("classify", options(tmp_path), SMALL)
    last = result.path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(UsageError, match="damaged or not a checkpoint"):
        resume(result.path, epochs=9)
