"""Runs of `gymnast fit`: what stops them, what they resume, and what they keep when something fails."""

from __future__ import annotations

import os
import pickle
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gymnast.fitting.fit
from gymnast.agents.supervised.labelled import Classify, ClassifyConfig
from gymnast.agents.supervised.table import TASKS, config_class, kinds_of
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, fit, resume
from gymnast.fitting.session import FitSession
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.fit_request import pretraining, resolve
from gymnast.settings.flags import flags_of
from gymnast.storage import checkpoint, metrics_log
from tests import fit_worlds as worlds
from tests.test_cli import change, flag_words
from tests.test_writers import history

SMALL = {"network": "mlp", "hidden_sizes": (16,), "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)


def run(out: str = "a", *, config: ClassifyConfig | None = None, **changes: Any) -> FitResult:
    options = FitOptions(**{"dataset": "digits", "out": out, "name": "r", "epochs": 3, **changes})
    return fit("classify", options, config or ClassifyConfig(**SMALL))  # type: ignore[arg-type]


def rows(result: FitResult, kind: str = "eval") -> list[dict[str, Any]]:
    return [row for row in metrics_log.read(result.path / "metrics.jsonl") if row["kind"] == kind]


def stopped(at: int, out: str, **changes: Any) -> FitResult:
    """A run that a signal stops after this number of updates."""
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == at:
            self.interrupts.received = signal.SIGINT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitSession, "_after_update", interrupted)
        result = run(out, **changes)
    assert result.exit_code == 130
    return result


# Ends and resumes.


def test_patience_counts_on_in_a_resumed_run() -> None:
    config = ClassifyConfig(network="mlp", hidden_sizes=(8,), learning_rate=0.3)
    chosen = {"config": config, "epochs": 40, "patience": 3}
    whole = run("whole", **chosen)
    assert len(rows(whole)) < 40
    part = stopped(23 * (len(rows(whole)) - 2), "part", **chosen)  # inside the patience
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"has finished: 3 evaluations in a row were no better \(patience\)"):
        resume(whole.path, epochs=90)


def test_updates_limit_a_run_and_its_last_network_is_evaluated() -> None:
    whole = run("whole", updates=30)
    assert (whole.updates, [row["update"] for row in rows(whole)]) == (30, [23, 30])
    part = stopped(10, "part", updates=30)
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="has finished its 30 updates"):
        resume(whole.path, epochs=9)


def test_the_last_epoch_is_evaluated_whatever_the_period() -> None:
    result = run(epochs=5, eval_every=3)
    assert [row["epoch"] for row in rows(result)] == [3, 5]
    assert [row["update"] for row in rows(run("b", epochs=2, eval_every=9))] == [46]


@pytest.mark.parametrize("schedule", ["cosine-annealing", "one-cycle", "linear", "polynomial"])
def test_a_schedule_that_ends_with_the_run_has_no_more_epochs(schedule: str) -> None:
    config = ClassifyConfig(**SMALL, schedule=schedule)  # type: ignore[arg-type]
    result = run(config=config, epochs=2)
    with pytest.raises(UsageError, match=f"cannot change: its schedule {schedule} ends with the last of them"):
        resume(result.path, epochs=4)
    assert [row["kind"] for row in metrics_log.read(result.path / "metrics.jsonl")][-1] == "final"


def test_other_schedules_go_on() -> None:
    config = ClassifyConfig(**SMALL, schedule="exponential")  # type: ignore[arg-type]
    assert resume(run(config=config, epochs=1).path, epochs=2).exit_code == 0
    given = ClassifyConfig(**SMALL, schedule="cosine-annealing", schedule_options='{"T_max": 500}')  # type: ignore[arg-type]
    whole = run("whole", config=given, epochs=2)
    assert rows(resume(run("b", config=given, epochs=1).path, epochs=2))[-1] == rows(whole)[-1]


def test_fewer_epochs_than_a_run_has_begun() -> None:
    part = stopped(50, "part", epochs=4)
    with pytest.raises(UsageError, match=r"epochs must be at least 3, which .* has begun"):
        resume(part.path, epochs=1)
    with pytest.raises(UsageError, match="epochs must be >= 1"):
        resume(part.path, epochs=0)
    assert resume(part.path, epochs=3).exit_code == 0


def test_a_signal_in_the_final_episodes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    worlds.record("some/set-v0", "CartPole-v1", steps=200)
    played = gymnast.fitting.fit._played

    def interrupted(*args: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return played(*args)

    with monkeypatch.context() as patch:
        patch.setattr(gymnast.fitting.fit, "_played", interrupted)
        part = fit("behaviour-cloning", FitOptions(dataset="some/set-v0", name="r", epochs=1))
    assert (part.exit_code, part.measures) == (143, None)
    assert "to continue: gymnast resume" in capsys.readouterr().err
    assert not rows(part, "final")
    rest = resume(part.path)  # nothing is left but the end
    assert rest.measures is not None
    assert rest.measures["mean_return"] > 0


# Failures.


def test_a_full_disk_keeps_the_earlier_checkpoint_and_fails_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, wrote = checkpoint.save, []

    def full(path: Path, *args: Any) -> None:
        wrote.append(path.name)
        if len(wrote) > 2:
            raise OSError(28, "No space left on device")
        save(path, *args)

    monkeypatch.setattr(checkpoint, "save", full)
    result = run()
    assert result.exit_code == 1
    error = capsys.readouterr().err
    assert "checkpoint was not written: No space left on device; the previous one is kept" in error
    assert checkpoint.read(result.path / "checkpoints" / "last.pt")[0].env_step == 0
    assert rows(result, "final")  # what could be measured is logged


def test_a_full_disk_before_any_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    worlds_path = worlds.record("some/set-v0", worlds.here(worlds.Walk), steps=200)
    result = fit("behaviour-cloning", FitOptions(dataset=worlds_path, name="r", epochs=1))
    assert result.exit_code == 1
    assert result.measures is not None
    assert "mean_return" not in result.measures


@pytest.mark.parametrize("error", [ValueError("data set x is damaged"), OSError(5, "Input/output error")])
def test_data_that_become_unreadable_stop_the_run_in_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, calls = Classify.batch, []

    def failing(self: Classify, index: Tensor) -> Any:
        calls.append(1)
        if len(calls) > 30:
            raise error
        return batch(self, index)

    monkeypatch.setattr(Classify, "batch", failing)
    result = run()
    assert result.exit_code == 1
    assert str(error) in capsys.readouterr().err
    checkpoint.read(result.path / "checkpoints" / "last.pt")


def test_batch_normalisation_and_a_batch_of_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    config = ClassifyConfig(network="mlp", network_options={"norm": "batch"}, batch_size=1)
    result = run(config=config, epochs=1)
    assert result.exit_code == 1
    assert "BatchNorm cannot learn from a batch of one row" in capsys.readouterr().err


def test_a_batch_of_one_row_is_finite() -> None:
    result = run(config=ClassifyConfig(**{**SMALL, "batch_size": 1}), updates=20)  # type: ignore[arg-type]
    assert result.measures is not None
    assert np.isfinite(list(result.measures.values())).all()


def test_batch_normalisation_with_an_average_resumes_and_evaluates_exactly() -> None:
    config = ClassifyConfig(network="mlp", network_options={"norm": "batch"}, average=0.95, learning_rate=3e-3)
    whole = run("whole", config=config)
    part = stopped(31, "part", config=config)
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    assert evaluate(whole.path) == whole.measures
    assert whole.measures is not None
    assert whole.measures["accuracy"] > 0.9


def test_a_measure_that_is_not_a_number_never_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    measures, calls = Classify.measures, []

    def broken(self: Classify, outputs: Any) -> dict[str, float]:
        calls.append(1)
        found = measures(self, outputs)
        return {**found, "accuracy": float("nan")} if len(calls) == 1 else found

    monkeypatch.setattr(Classify, "measures", broken)
    result = run()
    assert rows(result)[0]["accuracy"] is None
    about, _ = checkpoint.read(result.path / "checkpoints" / "best.pt")
    assert about.env_step > 23
    assert result.measures is not None
    assert result.measures["accuracy"] == max(row["accuracy"] for row in rows(result)[1:])


def test_evaluating_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = FitSession.evaluate
    seen = []

    def watched(self: FitSession) -> None:
        def state() -> list[Any]:
            tensors = [*self.task.network.state_dict().values(), torch.get_rng_state(), self.generator.get_state()]
            return [tensor.clone() for tensor in tensors]

        before = state()
        evaluation(self)
        seen.append(all(torch.equal(a, b) for a, b in zip(before, state(), strict=True)))

    monkeypatch.setattr(FitSession, "evaluate", watched)
    options = {"units": 8, "dropout": 0.3}
    run(
        config=ClassifyConfig(network="lstm", network_options=options, mc_samples=3, average=0.9), dataset="digits-rows"
    )
    assert seen == [True] * 3


def test_the_log_rises_and_repeats_nothing_after_a_resume() -> None:
    part = stopped(40, "part", log_every=5)
    rest = resume(part.path)
    updates = [row["update"] for row in rows(rest, "fit")]
    assert updates == sorted(set(updates))
    assert updates[-1] == 69


@pytest.mark.slow
def test_sigkill_leaves_a_run_that_resumes() -> None:
    words = ["fit", "classify", "--dataset", "digits", "--name", "k", "--out", "runs"]
    patch = "import gymnast.fitting.session as s; s.SAVE_PERIOD = 0.0; from gymnast.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", patch, *words, "--epochs", "100000"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        log = Path("runs/digits/classify/k/metrics.jsonl")
        while not log.exists() or log.read_text().count('"eval"') < 5:
            assert process.poll() is None
        process.kill()
    about, _ = checkpoint.read("runs/digits/classify/k/checkpoints/last.pt")
    assert about.env_step > 0
    done = resume("runs/digits/classify/k", epochs=about.env_step // 23 + 3)
    assert done.exit_code == 0
    updates = [row["update"] for row in rows(done)]
    assert updates == sorted(set(updates))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_a_checkpoint_and_an_exit_code(number: signal.Signals, code: int) -> None:
    words = ["fit", "classify", "--dataset", "digits", "--name", "k", "--out", "runs", "--epochs", "100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "gymnast", *words], stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    ) as process:
        log = Path("runs/digits/classify/k/metrics.jsonl")
        while not log.exists() or '"eval"' not in log.read_text():
            assert process.poll() is None
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert "to continue: gymnast resume" in error
    assert "Traceback" not in error
    about, _ = checkpoint.read("runs/digits/classify/k/checkpoints/last.pt")
    assert about.env_step >= 23


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_payload_in_a_checkpoint_never_runs(name: str) -> None:
    result = run(epochs=1)
    path = result.path / "checkpoints" / name
    use = (lambda: resume(result.path, epochs=3)) if name == "last.pt" else (lambda: evaluate(result.path))
    path.write_bytes(pickle.dumps({"fit": Payload()}))
    with pytest.raises(UsageError):
        use()
    torch.save({"fit": Payload()}, path)
    with pytest.raises(UsageError):
        use()
    assert not Path("pwned").exists()


def test_a_checkpoint_of_another_network_is_one_line() -> None:
    result, other = run(), run("b", config=ClassifyConfig(network="mlp", hidden_sizes=(5,)))
    path = Path("checkpoints") / "last.pt"
    (result.path / path).write_bytes((other.path / path).read_bytes())
    with pytest.raises(UsageError) as raised:
        resume(result.path, epochs=5)
    assert "\n" not in str(raised.value)
    (result.path / "config.json").write_text("{")
    with pytest.raises(UsageError):
        resume(result.path, epochs=5)


def test_odd_paths(capsys: pytest.CaptureFixture[str]) -> None:
    result = run()
    (result.path / "checkpoints" / "best.pt").unlink()
    shown = str(result.path)
    for words in (["evaluate", shown], ["report", shown], ["resume", shown], ["resume", "nowhere"], ["report", "a"]):
        if words == ["evaluate", shown]:
            assert main(words) in (0, 2)
        else:
            assert main(words) == 2, words
        error = capsys.readouterr().err.strip()
        assert len([each for each in error.splitlines() if each.startswith("gymnast:")]) <= 1, error
        assert "Traceback" not in error


# Options.


GIVEN: dict[str, tuple[str, Any]] = {
    "dataset": ("y", "y"),
    "env": ("CartPole-v1", "CartPole-v1"),
    "policy": ("runs/a", "runs/a"),
    "network": ("linear", "linear"),
    "activation": ("gelu", "gelu"),
    "optimizer": ("sgd", "sgd"),
    "optimizer_options": ('{"eps": 1e-3}', '{"eps": 1e-3}'),
    "schedule": ("cosine-annealing", "cosine-annealing"),
    "schedule_options": ('{"eta_min": 1e-5}', '{"eta_min": 1e-5}'),
    "class_weights": ("balanced", "balanced"),
    "teacher": ("runs/b", "runs/b"),
    "features": ("runs/b", "runs/b"),
    "name": ("mine", "mine"),
    "out": ("elsewhere", "elsewhere"),
    "device": ("cuda:1", "cuda:1"),
    "track": ("tensorboard", ("tensorboard",)),
    "wandb_tags": ("a", ("a",)),
    "wandb_project": ("mine", "mine"),
    "wandb_entity": ("us", "us"),
    "wandb_group": ("together", "together"),
}
"""Values for options whose type does not say what they may be."""
BESIDE = {
    **dict.fromkeys(("policy", "env_steps"), "--env CartPole-v1"),
    "augment_pad": "--augment shift",
    "penalty_weight": "--weight-penalty l2",
    "schedule_options": "--schedule cosine-annealing",
    "focal_gamma": "--loss focal",
    "margin": "--loss triplet",
    "gamma": "--value-coef 1",
    "momentum": "--predict features",
    **dict.fromkeys(("wandb_project", "wandb_mode", "wandb_entity", "wandb_group", "wandb_tags"), "--track wandb"),
}
"""Options without which another one has no effect, and is refused."""


OWN_GIVEN: dict[tuple[str, str], tuple[str, Any]] = {
    ("autoencoder-vq", "latent_size"): ("136", 136),  # multiples of code_size
    ("autoencoder-vq", "code_size"): ("16", 16),
    ("autoencoder-linear", "network"): ("mlp", "mlp"),
    ("energy-boltzmann", "hidden_sizes"): ("3", (3,)),
}
OWN_BESIDE = {
    ("value", "gamma"): "",
    ("contrastive", "momentum"): "",
    ("autoencoder-denoising", "dropped"): "--corruption dropout",
    ("autoencoder-stacked", "dropped"): "--layer-epochs 2",
}
"""The same for one task."""
IMAGES = ("augment", "augment_pad")
REFUSED: dict[str, tuple[str, ...]] = {
    **{f"autoencoder-{kind}": IMAGES for kind in kinds_of("autoencoder")},
    "autoencoder-linear": (
        *IMAGES,
        *("network", "hidden_sizes", "activation", "layer_norm", "decoder_sizes", "decoder_channels", "bf16"),
    ),
    **{f"gan-{kind}": IMAGES for kind in kinds_of("gan")},
    "gan-wgan": (*IMAGES, "spectral_norm"),
    "gan-wgan-gp": (*IMAGES, "minibatch_kernels"),
    "autoencoder-stacked": (*IMAGES, "network", "latent_size", "decoder_sizes", "decoder_channels"),
    "behaviour-cloning": ("layer_norm",),
    "distillation": ("layer_norm",),
    "energy-rbm": ("network", "activation", "layer_norm", "mc_samples"),
    "energy-boltzmann": (*IMAGES, "network", "activation", "layer_norm", "init", "mc_samples"),
}
"""Options of all tasks that have no place in one of them."""
ALSO = {
    ("autoencoder-linear", "latent_size"): {"hidden_sizes"},
    ("autoencoder-vq", "code_grid"): {"hidden_sizes", "latent_size"},
}
"""Options that follow another one."""


def resolved(task: str, words: list[str]) -> dict[str, Any]:
    model = TASKS[task].model
    kind = ["--kind", task.removeprefix(f"{model}-")]
    asked = pretraining(model, [*kind, *words]) if model else resolve(task, words)
    return asdict(asked.options) | asdict(asked.config)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_task_changes_its_resolved_options(task: str) -> None:
    """Row 35: every option arrives, and changes nothing but what it names; what has no place in a task is refused."""
    for name, flag in flags_of(FitOptions, config_class(task)).items():
        given = OWN_GIVEN.get((task, name), GIVEN.get(name))
        if name == "loss" and flag.type is str:
            given = config_class(task).losses[-1], config_class(task).losses[-1]
        texts, value = change(flag.type, flag.default) if given is None else ([given[0]], given[1])
        beside = OWN_BESIDE.get((task, name), BESIDE.get(name, ""))
        always = {"--env": "Pendulum-v1"} if name == "env" or "--env" in beside else {"--dataset": "x"}
        always |= {"--teacher": "runs/a"} if task == "distillation" else {}
        words = dict(zip(*[iter(shlex.split(beside))] * 2, strict=True)) | always
        written = flag_words(name, texts, value)
        rest = [word for key, text in words.items() if key != written[0] for word in (key, text)]
        if name in REFUSED.get(task, ()):
            with pytest.raises(UsageError):
                resolved(task, [*rest, *written])
            continue
        old = resolved(task, [word for pair in words.items() for word in pair])
        new = resolved(task, [*rest, *written])
        assert new[name] == value, name
        assert {key for key in new if new[key] != old[key]} == {name} | ALSO.get((task, name), set())


def test_a_policy_takes_its_normalisation_from_the_network() -> None:
    with pytest.raises(UsageError, match="--layer-norm cannot be combined with a policy, whose network is PPO's"):
        resolve("behaviour-cloning", ["--dataset", "x", "--layer-norm"])
    asked = resolve("behaviour-cloning", ["--dataset", "x", "--network", "mlp", "--network.norm", "layer"])
    assert asked.config.network_options == {"norm": "layer"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mc-samples 5 --network mlp", "mc_samples 5 has no effect: network mlp has no dropout"),
        ("--augment-pad 2", "--augment-pad 2 has no effect without augment shift"),
        ("--penalty-weight 0.5", "--penalty-weight 0.5 has no effect without --weight-penalty"),
        ("--eval-episodes 5", "eval_episodes 5 has no effect on classify"),
        ("--focal-gamma 3", "--focal-gamma needs loss focal"),
        ("--label-smoothing 1", "--label-smoothing must be >= 0 and < 1"),
        ("--class-weights 1,0", "--class-weights must be balanced or positive numbers"),
        ('--schedule one-cycle --schedule-options {"pct_start":7}', "schedule one-cycle"),
        ('--optimizer sgd --optimizer-options {"momentum":-1}', "optimizer sgd"),
        ("--device cuda:77", "cuda"),
        ("--lerning-rate 1", "did you mean --learning-rate?"),
        ("--network.auxiliary --network lenet5", "--network.auxiliary"),
        ("--updates 0", "--updates must be >= 1"),
    ],
)
def test_wrong_options_are_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "classify", "--dataset", "digits", *words.split(), "--out", "runs"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert message.replace("_", "-") in error.replace("_", "-"), error
    assert not Path("runs").exists()


def test_class_weights_balance() -> None:
    config = ClassifyConfig(**SMALL, class_weights="balanced")  # type: ignore[arg-type]
    plain, weighted = run("a"), run("b", config=config)
    assert rows(plain)[0] != rows(weighted)[0]
    assert weighted.measures is not None
    assert weighted.measures["accuracy"] > 0.7


@pytest.mark.slow
def test_wandb_counts_updates() -> None:
    words = ["fit", "classify", "--dataset", "digits", "--name", "w", "--out", "runs", "--epochs", "1"]
    words += ["--log-every", "10", "--track", "wandb", "--wandb-mode", "offline"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    subprocess.run([sys.executable, "-m", "gymnast", *words], check=True, capture_output=True, env=env, timeout=120)
    path = Path("runs/digits/classify/w")
    _, content = checkpoint.read(path / "checkpoints" / "last.pt")
    found = history(path, content["fit"]["writers"]["wandb_id"])
    assert [row["update"] for row in found if "fit/loss" in row] == [10, 20, 23]
    assert [row["update"] for row in found if "eval/accuracy" in row] == [23]
    assert not [row for row in found if "env_step" in row]
