"""`gymnast fit` over recorded episodes: every task learns, repeats, resumes exactly, and refuses what does not fit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS, config_class
from gymnast.errors import UsageError
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import FitResult, fit, resume
from gymnast.fitting.session import FitSession
from gymnast.replay.datasets.episodes import read_dataset
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint, metrics_log
from tests import fit_worlds as worlds

WORLDS = {cls.__name__.lower(): cls for cls in (worlds.Walk, worlds.Multi, worlds.Bits, worlds.Push, worlds.Parts)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set of each world: at random (`rand/NAME-v0`) and of a policy (`pol/NAME-v0`)."""
    root = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for name, cls in WORLDS.items():
            worlds.record(f"rand/{name}-v0", worlds.here(cls))
            worlds.policy(cls, root / f"{name}.pt")
            worlds.record(f"pol/{name}-v0", worlds.here(cls), policy=str(root / f"{name}.pt"))
        worlds.record("rand/frames-v0", worlds.here(worlds.Frames))
        worlds.record("rand/lake-v0", "FrozenLake-v1", "--env-options", '{"is_slippery": false}', steps=2000)
    return root


@pytest.fixture(autouse=True)
def place(sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets))
    monkeypatch.chdir(tmp_path)


def run(task: str, dataset: str, out: str = "a", *, config: FitConfig | None = None, **changes: Any) -> FitResult:
    episodes = {"eval_episodes": 0} if task in ("behaviour-cloning", "distillation") else {}
    options = FitOptions(**{"dataset": dataset, "out": out, "name": "r", "epochs": 4, **episodes, **changes})
    return fit(task, options, config)


def measures(*args: Any, **kwargs: Any) -> dict[str, float]:
    result = run(*args, **kwargs)
    assert result.exit_code == 0
    assert result.measures is not None
    return result.measures


def common(name: str) -> float:
    """The share of the most common action of a policy's data set."""
    actions = read_dataset(f"pol/{name}-v0").actions(torch.arange(1000)).reshape(1000, -1)
    return float(actions.unique(dim=0, return_counts=True)[1].max()) / 1000


# What each task learns, beside what is known without learning.


@pytest.mark.parametrize("name", ["walk", "multi", "bits", "parts"])
def test_behaviour_cloning_learns_choices(name: str) -> None:
    found = measures("behaviour-cloning", f"pol/{name}-v0", config=made("behaviour-cloning"), epochs=12)
    assert common(name) < 0.75
    assert found["accuracy"] > common(name) + 0.15
    assert found["perplexity"] < 2.5


@pytest.mark.parametrize("loss", ["nll", "mse"])
def test_behaviour_cloning_learns_real_numbers(loss: str) -> None:
    found = measures("behaviour-cloning", "pol/push-v0", config=made("behaviour-cloning", loss=loss), epochs=15)
    assert found["r2"] > 0.7


def made(task: str, **changes: Any) -> FitConfig:
    """A config that learns quickly."""
    return config_class(task)(**{"learning_rate": 3e-3, **changes})


@pytest.mark.parametrize("name", WORLDS)
def test_inverse_dynamics_finds_the_action(name: str) -> None:
    config = made("inverse-dynamics", learning_rate=0.01)
    found = measures("inverse-dynamics", f"rand/{name}-v0", config=config, epochs=20)
    if name == "push":
        assert found["r2"] > 0.8
    else:
        chance = {"walk": 1 / 3, "parts": 1 / 3, "multi": 1 / 6, "bits": 1 / 8}[name]
        assert found["accuracy"] > min(chance + 0.5, 0.95)


@pytest.mark.parametrize("name", WORLDS)
def test_dynamics_predicts_what_follows(name: str) -> None:
    found = measures("dynamics", f"rand/{name}-v0", config=made("dynamics"), epochs=15)
    assert found["r2"] > (0.6 if name == "parts" else 0.9)  # the other part changes once in an episode
    assert found["reward_r2"] > 0.9
    data = read_dataset(f"rand/{name}-v0")
    assert found["end_accuracy"] >= 1 - data.terminated.double().mean().item() - 0.02


def test_dynamics_predicts_features_of_images() -> None:
    config = made("dynamics", network="lenet5", network_options={"channels_axis": "last"})
    found = measures("dynamics", "rand/frames-v0", config=config, epochs=10)
    assert found["r2"] > 0.3
    assert found["reward_r2"] > 0.3


@pytest.mark.parametrize("name", ["walk", "push", "parts"])
def test_reward_and_value_beat_their_means(name: str) -> None:
    assert measures("reward", f"rand/{name}-v0", "a", config=made("reward"), epochs=10)["r2"] > 0.95
    assert measures("value", f"rand/{name}-v0", "b", config=made("value", gamma=0.5), epochs=10)["r2"] > 0.4


CONTRASTS = [("walk", {"pairs": "views"}), ("walk", {"pairs": "time"}), ("walk", {"loss": "triplet"})]
CONTRASTS += [("frames", {"pairs": "views"}), ("frames", {"pairs": "time"})]


@pytest.mark.parametrize(("name", "changes"), CONTRASTS, ids=str)
def test_contrastive_finds_the_other_half(name: str, changes: dict[str, str]) -> None:
    network = {} if name == "walk" else {"network": "lenet5", "network_options": {"channels_axis": "last"}}
    config = made("contrastive", batch_size=64, **network, **changes)
    found = measures("contrastive", f"rand/{name}-v0", config=config, epochs=6)
    assert found["top5"] > 10 / 256
    assert found["accuracy"] > 3 / 256
    assert found["feature_std"] > 0.01  # not collapsed


def test_skip_gram_finds_neighbours() -> None:
    found = measures("skip-gram", "rand/lake-v0", config=made("skip-gram", learning_rate=0.03), epochs=20)
    assert found["accuracy"] > 0.6  # chance is 0.5


# Every task repeats and resumes.

EVERY: dict[str, tuple[str, dict[str, Any]]] = {
    "behaviour-cloning": ("pol/multi-v0", {"value_coef": 0.5}),
    "distillation": ("rand/walk-v0", {"teacher": "walk.pt"}),
    "dynamics": ("rand/push-v0", {}),
    "dynamics features": ("rand/frames-v0", {"network": "lenet5", "predict": "features"}),
    "inverse-dynamics": ("rand/bits-v0", {"schedule": "cosine-annealing"}),
    "value": ("rand/parts-v0", {"average": 0.9}),
    "reward": ("rand/push-v0", {"optimizer": "rmsprop", "weight_penalty": "l2"}),
    "contrastive": ("rand/walk-v0", {"batch_size": 64}),
    "contrastive views": ("rand/frames-v0", {"pairs": "views", "network": "lenet5", "batch_size": 64}),
    "contrastive triplet": ("rand/walk-v0", {"loss": "triplet", "batch_size": 64, "schedule": "plateau"}),
    "skip-gram": ("rand/lake-v0", {}),
}


@pytest.mark.parametrize("kind", EVERY)
def test_a_run_repeats_resumes_exactly_and_is_measured_again(kind: str, sets: Path) -> None:
    task, (dataset, changes) = kind.split()[0], EVERY[kind]
    if "teacher" in changes:
        changes = {**changes, "teacher": str(sets / changes["teacher"])}
    config = made(task, **changes)
    whole, again = (run(task, dataset, out, config=config, epochs=3, log_every=3) for out in ("whole", "again"))
    assert log(whole) == log(again)
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 17)
        part = run(task, dataset, "part", config=config, epochs=3, log_every=3)
    assert (part.exit_code, part.updates) == (130, 17)
    torch.manual_seed(99)
    rest = resume(part.path)
    assert log(rest) == log(whole)
    assert same_weights(rest.path, whole.path)
    assert evaluate(whole.path) == whole.measures
    row = metrics_log.read(whole.path / "metrics.jsonl")[-1]
    assert row["kind"] == "final"


def log(result: FitResult) -> bytes:
    return (result.path / "metrics.jsonl").read_bytes()


def stopping(monkeypatch: pytest.MonkeyPatch, *updates: int) -> None:
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates in updates:
            self.interrupts.received = signal.SIGINT

    monkeypatch.setattr(FitSession, "_after_update", interrupted)


def same_weights(one: Path, other: Path) -> bool:
    found = [checkpoint.read(run / "checkpoints" / "last.pt")[1]["agent"] for run in (one, other)]
    flat = [[tensor for part in state.values() for tensor in part.values()] for state in found]
    return len(flat[0]) == len(flat[1]) and all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


# Input that does not fit.

INCEPTION = {"network": "inception", "network_options": {"auxiliary": True}}
WRONG = [
    ("skip-gram", "rand/walk-v0", {}, "skip-gram needs Discrete observations"),
    ("behaviour-cloning", "pol/walk-v0", {"loss": "mse"}, "loss mse needs Box actions"),
    ("contrastive", "rand/lake-v0", {}, "contrastive needs images or vectors of floats"),
    ("contrastive", "rand/parts-v0", {}, "contrastive needs images or vectors of floats"),
    ("contrastive", "rand/walk-v0", {"augment_pad": 2}, "augment_pad 2 has no effect on Box"),
    ("contrastive", "rand/walk-v0", {"mc_samples": 3}, "mc_samples 3 has no effect on contrastive"),
    ("value", "rand/walk-v0", {"mc_samples": 3}, "mc_samples 3 has no effect: network auto has no dropout"),
    ("value", "rand/walk-v0", {"augment": "shift"}, "augment shift needs images"),
    ("value", "rand/walk-v0", {"network": "lenet5"}, "lenet5"),
    ("dynamics", "rand/walk-v0", {"momentum": 0.5}, "momentum 0.5 has no effect without predict features"),
    ("dynamics", "rand/walk-v0", {"loss": "cosine"}, "loss cosine needs predict features"),
    (
        "value",
        "rand/frames-v0",
        {"network": "inception", "network_options": {"auxiliary": True}},
        "gymnast fit classify",
    ),
    (
        "behaviour-cloning",
        "rand/frames-v0",
        {"network": "inception", "network_options": {"auxiliary": True}},
        "classify",
    ),
    ("value", "rand/nothing-v0", {}, "rand/nothing-v0"),
    ("value", "rand/walk-v0", {"schedule": "linear", "schedule_options": '{"start_factor": 7}'}, "schedule linear"),
    ("value", "rand/walk-v0", {"optimizer": "sgd", "optimizer_options": '{"momentum": -1}'}, "optimizer sgd: "),
    ("value", "rand/walk-v0", {"optimizer": "sgd", "optimizer_options": '{"momentum": "a"}'}, "optimizer sgd: "),
]


@pytest.mark.parametrize(("task", "dataset", "changes", "message"), WRONG, ids=[f"{w[0]} {w[2]}" for w in WRONG])
def test_wrong_input_is_one_line_and_leaves_nothing(task: str, dataset: str, changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        run(task, dataset, config=config_class(task)(**changes))
    assert "\n" not in str(raised.value)
    assert not Path("a").exists()


SETTINGS = [
    ("contrastive", {"margin": 0.5}, "margin 0.5 has no effect without loss triplet"),
    ("contrastive", {"pairs": "views", "ahead": 5}, "ahead 5 has no effect without pairs time"),
    ("contrastive", {"pairs": "views", "augment": "none"}, "pairs views needs augment shift"),
    ("contrastive", {"batch_size": 1}, "batch_size must be >= 2"),
    ("dynamics", {"predict": "obs", "loss": "cosine"}, "loss cosine needs predict features"),
    ("value", {"loss": "cosine"}, "loss must be auto or one of mse, l1, huber, log-cosh"),
    ("value", {"augment_pad": 2}, "augment_pad 2 has no effect without augment shift"),
    ("value", {"penalty_weight": 0.5}, "penalty_weight 0.5 has no effect without weight_penalty"),
    ("value", {"gamma": 1.5}, "gamma must be between 0 and 1"),
    ("distillation", {}, "distillation needs a teacher"),
    ("distillation", {"teacher": "x", "temperature": 0.0}, "temperature must be > 0"),
    ("skip-gram", {"window": 0}, "window must be >= 1"),
]


@pytest.mark.parametrize(("task", "changes", "message"), SETTINGS, ids=[f"{s[0]} {s[1]}" for s in SETTINGS])
def test_settings_that_contradict_each_other(task: str, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_class(task)(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": 0.001}, "validation 0.001 of .* episodes leaves none for validation"),
        ({"eval_episodes": 3}, "eval_episodes 3 has no effect on value, which fits no policy"),
        ({"dataset": "spirals"}, "value needs recorded episodes, and spirals is a labelled data set"),
        ({"device": "cuda:77"}, "cuda"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("value", **{"dataset": "rand/walk-v0", **changes})
    assert not Path("a").exists()


def test_fixed_splits_are_not_split_otherwise() -> None:
    for changes in ({"validation": 0.5}, {"split_seed": 3}):
        with pytest.raises(UsageError, match="has no effect: the splits of spirals are fixed"):
            run("classify", "spirals", **changes)


def test_one_episode_cannot_be_split() -> None:
    worlds.record("rand/one-v0", worlds.here(worlds.Walk), "--episodes", "1")
    with pytest.raises(UsageError, match=r"validation 0.2 of 1 episodes leaves none for validation"):
        run("value", "rand/one-v0")


def test_not_a_number_in_the_data(sets: Path) -> None:
    import h5py

    worlds.record("rand/nan-v0", worlds.here(worlds.Walk), steps=100)
    with h5py.File(sets / "rand" / "nan-v0" / "data" / "main_data.hdf5", "r+") as file:
        file["episode_1/observations"][0, 0] = np.nan
    with pytest.raises(UsageError, match="NaN") as raised:
        run("value", "rand/nan-v0")
    assert "\n" not in str(raised.value)


def test_the_splits_are_of_whole_episodes() -> None:
    from gymnast.fitting.parts import Parts

    parts = Parts.make("value", FitOptions(dataset="rand/walk-v0"), config_class("value")())
    episode = read_dataset("rand/walk-v0").episode
    kept, learned = set(episode[parts.task.validation].tolist()), set(episode[parts.task.train].tolist())
    assert kept
    assert not kept & learned
    assert len(parts.task.validation) + len(parts.task.train) == 1000


def test_every_task_has_its_test() -> None:
    assert {kind.split()[0] for kind in EVERY} == {name for name, entry in TASKS.items() if entry.needs == "episodes"}
