"""Fitted networks without their data: `gymnast.load` of them, what they encode, restore, draw and predict."""

import dataclasses
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import gymnast
from gymnast.agents.base import torch_seed
from gymnast.agents.supervised.fitted import BLOCK, FittedNetwork
from gymnast.agents.supervised.table import config_class
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.fit import FitResult, config_of, fit, options_of
from gymnast.fitting.parts import Parts, load_kept
from gymnast.networks.layers.inputs import Vector
from gymnast.networks.layers.restored import from_vector, within
from gymnast.replay.datasets import labelled
from gymnast.replay.datasets.writer import DatasetWriter
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint, folder

NETWORK = {"network": "mlp", "hidden_sizes": (16,)}
DIGITS = spaces.Box(0, 255, (8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def run(runs: Path, task: str, *, dataset: str = "digits", name: str = "r", **changes: Any) -> Path:
    """A run of three updates, made once."""
    path = runs / dataset.replace("/", "-") / task / name
    if not path.exists():
        options = FitOptions(dataset=dataset, out=str(runs), name=name, updates=3, epochs=3)
        network = {"hidden_sizes": (16,)} if task == "energy-rbm" else NETWORK
        network = {} if task in ("autoencoder-linear", "energy-boltzmann") else network
        result = fit(task, options, config_class(task)(**{**network, **changes}))
        assert isinstance(result, FitResult)
        assert result.path == path
    return path


def trained(path: Path) -> Any:
    """The task of a run over its data, with its kept network."""
    kept = folder.read_config(path)
    parts = Parts.make(kept["task"], options_of(kept), config_of(kept))
    load_kept(parts.task, path / "checkpoints" / "best.pt")
    return parts.task


def episodes(name: str, space: Any, rows: list[Any], monkeypatch: pytest.MonkeyPatch, root: Path) -> str:
    """A data set of episodes of three steps with the observations of a space, and two actions."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    with DatasetWriter(
        name, observation_space=space, action_space=spaces.Discrete(2, start=1), num_envs=1, root=root
    ) as writer:
        for number, (row, following) in enumerate(pairwise(rows)):
            writer.add(
                row,
                torch.tensor([1 + number % 2]),
                reward=torch.tensor([float(number % 5)]),
                terminated=torch.tensor([number % 3 == 2]),
                truncated=torch.zeros(1, dtype=torch.bool),
                next_obs=following,
                rows=torch.zeros(1, dtype=torch.int64),
                seeds=[None],
            )
        writer.finish({})
    return name


PARTS = spaces.Dict(
    {
        "at": spaces.Box(-1, 1, (2,), np.float64),
        "room": spaces.Discrete(3, start=4),
        "bits": spaces.MultiBinary(2),
        "picture": spaces.Box(0, 255, (2, 2), np.uint8),
    }
)


def of_parts(number: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "at": torch.rand(1, 2, generator=generator) * 2 - 1,
            "room": torch.randint(4, 7, (1,), generator=generator),
            "bits": torch.randint(2, (1, 2), generator=generator, dtype=torch.int8),
            "picture": torch.randint(256, (1, 2, 2), generator=generator, dtype=torch.uint8),
        }
        for _ in range(number)
    ]


def digits(number: int) -> np.ndarray:
    return labelled.labelled("digits", seed=0).inputs[:number].numpy()


@pytest.mark.parametrize("kind", ["convolutional", "linear", "variational", "vq", "sparse", "wasserstein"])
def test_decode_of_encode_is_what_the_task_restores(runs: Path, kind: str) -> None:
    path = run(runs, f"autoencoder-{kind}")
    task, model = trained(path), gymnast.load(path)
    batch = task.batch(torch.arange(5))
    with torch.no_grad():
        restored = task.compared_rows(batch)["restored"]
        latent = task.encode(batch.obs).numpy()
        wanted = task.network.heads["target"].back(restored).round().clamp(0, 255).byte().numpy()
    assert np.array_equal(model.encode(digits(5)), latent)
    decoded = model.decode(model.encode(digits(5)))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, wanted)


def test_one_observation_is_a_row_of_a_batch_and_tensors_are_taken_too(runs: Path) -> None:
    model = gymnast.load(run(runs, "autoencoder-variational"))
    assert (model.name, model.latent_size, model.observation_space) == ("autoencoder-variational", 16, DIGITS)
    latent = model.encode(digits(3)[0])
    assert latent.shape == (16,)
    assert np.allclose(latent, model.encode(torch.from_numpy(digits(3)))[0], atol=1e-5)
    assert model.decode(latent).shape == (8, 8, 1)
    assert model.decode(torch.from_numpy(latent)[None]).shape == (1, 8, 8, 1)
    many = np.repeat(digits(1), 300, 0)
    assert model.encode(many).shape == (300, 16)
    assert model.decode(model.encode(many)).shape == (300, 8, 8, 1)


@pytest.mark.parametrize("task", ["autoencoder-variational", "energy-rbm"])
def test_samples_are_drawn_by_the_trained_task_in_blocks(runs: Path, task: str) -> None:
    path = run(runs, task)
    model = gymnast.load(path)
    steps = {"steps": 3} if task == "energy-rbm" else {}
    number = BLOCK + 7
    samples = model.sample(number, seed=5, **steps)
    assert (samples.shape, samples.dtype) == ((number, 8, 8, 1), np.uint8)
    whole = trained(path)
    whole.draws = type(whole.draws)(**steps)
    values = []
    for block in range(2):
        seeds = np.random.SeedSequence(5, spawn_key=(block,))
        with torch.no_grad():
            values.append(whole.drawn(BLOCK, torch.Generator().manual_seed(torch_seed(seeds))))
    wanted = within(DIGITS, whole.observed(torch.cat(values)[:number])).byte().numpy()
    assert np.array_equal(samples, wanted)
    assert np.array_equal(samples, np.concatenate(list(model.blocks(number, seed=5, **steps))))
    assert np.array_equal(samples[:9], model.sample(9, seed=5, **steps))  # the first ones are always the same
    assert not np.array_equal(samples[:9], model.sample(9, seed=6, **steps))


def test_loading_and_sampling_need_no_data_and_leave_torchs_generator(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(runs, "autoencoder-variational")

    def absent(*_: Any, **__: Any) -> None:
        raise AssertionError("the data set was read")

    monkeypatch.setattr("gymnast.fitting.data.read", absent)
    monkeypatch.setattr("gymnast.replay.datasets.labelled.labelled", absent)
    before = torch.get_rng_state()
    model = gymnast.load(path / "checkpoints" / "last.pt")
    model.sample(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_observations_in_parts_come_back_as_the_environment_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = episodes("parts-v0", PARTS, of_parts(31), monkeypatch, tmp_path / "sets")
    path = run(tmp_path, "autoencoder-variational", dataset=name)
    shutil.rmtree(tmp_path / "sets")
    model = gymnast.load(path)
    sample = PARTS.sample()
    decoded = model.decode(model.encode(sample))
    assert PARTS.contains(decoded)
    samples = model.sample(BLOCK + 1)
    assert {key: (part.shape[1:], part.dtype) for key, part in samples.items()} == {
        key: (part.shape, part.dtype) for key, part in PARTS.items()
    }
    rows = [{key: part[row] for key, part in samples.items()} for row in (0, BLOCK)]
    assert all(PARTS.contains(row) for row in rows)
    out = tmp_path / "samples.npz"
    assert main(["sample", str(path), "--number", "130", "--out", str(out)]) == 0
    with np.load(out) as arrays:
        assert set(arrays) == {f"observations/{key}" for key in PARTS}
        assert np.array_equal(arrays["observations/at"], model.sample(130)["at"])


def test_the_way_back_from_vectors() -> None:
    obs = {key: torch.cat([row[key] for row in of_parts(6)]) for key in PARTS}
    found = from_vector(PARTS, Vector(PARTS)(obs))
    assert all(torch.allclose(found[key].double(), obs[key].double()) for key in PARTS)
    choices = spaces.MultiDiscrete([[2, 3]], start=[[1, -1]])
    values = torch.tensor([[[1, 1]], [[2, -1]]])
    assert torch.equal(from_vector(choices, Vector(choices)(values)), values)
    counts = spaces.Box(np.array([0, -2]), np.array([3, 2]), dtype=np.int32)
    assert within(counts, torch.tensor([[0.6, -2.4], [9.0, 0.4]])).tolist() == [[1, -2], [3, 0]]
    assert within(spaces.MultiBinary(2), torch.tensor([[0.4, 0.6]])).tolist() == [[0, 1]]


def test_temperature_scales_the_latents(runs: Path) -> None:
    model = gymnast.load(run(runs, "autoencoder-variational"))
    cold = model.sample(5, temperature=0.0)
    assert np.array_equal(cold, np.repeat(model.decode(np.zeros(16))[None], 5, 0))
    assert np.array_equal(model.sample(5, temperature=1.0), model.sample(5))


def test_a_boltzmann_machine_draws_from_its_exact_distribution(runs: Path) -> None:
    path = run(runs, "energy-boltzmann", dataset="xor")
    model = gymnast.load(path)
    samples = model.sample(4000, seed=1)
    share = np.bincount((samples @ np.array([2, 1])).astype(int), minlength=4) / 4000
    exact = model.network.log_probability().exp().detach().numpy()
    assert np.abs(share - exact).sum() / 2 < 0.03


def test_a_stack_of_rbms_restores_its_hidden_units(runs: Path) -> None:
    path = run(runs, "energy-rbm", name="stack", hidden_sizes=(16, 5), layer_epochs=1)
    model = gymnast.load(path)
    latent = model.encode(digits(2))
    low, high = model.task.stack[0], model.task.stack[1]
    hidden = high.layer(low.layer(Vector(DIGITS)(torch.from_numpy(digits(2)))).sigmoid()).sigmoid()
    assert np.allclose(latent, hidden.detach().numpy())
    means = low.inputs(low.visible_mean(high.visible_mean(hidden))) * 255
    wanted = means.round().clamp(0, 255).detach().numpy().reshape(2, 8, 8, 1)
    assert np.array_equal(model.decode(hidden), wanted)


@pytest.mark.parametrize(
    ("task", "dataset", "names"),
    [
        ("classify", "digits", {"class", "probability"}),
        ("value", "walk-v0", {"value"}),
        ("reward", "walk-v0", {"reward"}),
        ("dynamics", "walk-v0", {"next_obs", "reward", "end"}),
        ("inverse-dynamics", "walk-v0", {"action"}),
    ],
)
def test_predictions_are_the_tasks(
    runs: Path, task: str, dataset: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.rand(1, 3, generator=generator) for _ in range(31)]
    space = spaces.Box(0, 1, (3,), np.float32)
    if dataset == "walk-v0" and not (runs / "sets").exists():
        episodes(dataset, space, rows, monkeypatch, runs / "sets")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(runs / "sets"))
    path = run(runs, task, dataset=dataset)
    whole, model = trained(path), gymnast.load(path)
    index = torch.arange(6)
    batch = whole.batch(index)
    given = {"obs": whole.inputs(index)}
    if "action" in whole.takes:
        given["action"] = batch.action
    if "next_obs" in whole.takes:
        given["next_obs"] = batch.next_obs
    found = model.predict(**given)
    assert set(found) == names
    one = model.predict(**{key: value[0] for key, value in given.items()})
    with torch.no_grad():
        outputs = whole.outputs(batch)
    for name, value in found.items():
        assert np.allclose(one[name], value[0], atol=1e-5)
        kept = {"value": "output", "class": "probability", "action": "mode"}.get(name, name)
        wanted = outputs["output"] if task == "reward" else outputs.get(kept)
        if name == "class":
            wanted = outputs["probability"].argmax(-1)
        elif name == "end":
            wanted = outputs["end"].sigmoid()
        elif name == "action":
            wanted = outputs["mode"] + 1  # the space begins with 1
        elif name == "next_obs":
            change = whole.network.heads["scale"].back(whole.predictions(batch.obs, batch.action)[0])
            wanted = (batch.obs + change).clamp(0, 1)
        assert wanted is not None
        assert np.allclose(value, wanted.detach().numpy().reshape(value.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("task", "call", "said"),
    [
        (
            "autoencoder-vq",
            lambda model: model.predict(digits(1)),
            "autoencoder-vq has no predict; these have: classify",
        ),
        ("classify", lambda model: model.sample(1), "classify has no sample; these have: "),
        ("classify", lambda model: model.decode(np.zeros(16)), "classify has no decode; these have: "),
        (
            "classify",
            lambda model: model.encode(np.zeros((3, 3))),
            r"encode was given an observation of shape \(3",
        ),
        ("classify", lambda model: model.predict(digits(1), action=1), "predict of classify takes obs"),
        ("autoencoder-variational", lambda model: model.sample(0), "n must be >= 1, got 0"),
        ("autoencoder-variational", lambda model: model.sample(1, steps=2), "steps 2 has no effect on samples of auto"),
        ("autoencoder-variational", lambda model: model.sample(1, temperature=-1), "temperature must be >= 0, got -1"),
        ("autoencoder-variational", lambda model: model.decode(np.zeros(3)), r"latents of shape \(3,\), and they are"),
    ],
)
def test_what_a_network_does_not_have_is_said(runs: Path, task: str, call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(gymnast.load(run(runs, task)))


def test_loading_says_what_does_not_fit(runs: Path, tmp_path: Path) -> None:
    path = run(runs, "classify")
    for name in ("agent", "network"):
        with pytest.raises(UsageError, match=f"{name} has no effect on .*best.pt, a fitted network"):
            gymnast.load(path, **{name: torch.nn.Identity})
    assert isinstance(gymnast.load(path), FittedNetwork)
    about, content = checkpoint.read(path / "checkpoints" / "best.pt")
    policy = dataclasses.replace(about, config={**about.config, "task": "behaviour-cloning"})
    for changed, said in (
        (policy, "is of a run of behaviour-cloning, which keeps its agent in best.pt"),
        (dataclasses.replace(about, targets=None), "does not say what its targets are"),
        (dataclasses.replace(about, config={**about.config, "task": "none"}), "has no task 'none'"),
    ):
        checkpoint.save(tmp_path / "changed.pt", changed, {"agent": content["agent"]})
        with pytest.raises(UsageError, match=said):
            gymnast.load(tmp_path / "changed.pt")


OWN = """
from torch import nn
class Net(nn.Module):
    def __init__(self, space):
        super().__init__()
        self.out_features = 64
        self.scale = nn.Parameter(__import__("torch").ones(64))
    def forward(self, obs):
        return obs.flatten(1).float() * self.scale
"""


def test_a_users_own_network_is_only_imported_with_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own_net.py"
    file.write_text(OWN)
    words = f"pretrain autoencoder --kind convolutional --dataset digits --network {file}:Net --updates 2 --name own"
    assert main([*words.split(), "--out", str(tmp_path)]) == 0
    path = tmp_path / "digits" / "autoencoder-convolutional" / "own"
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str(file):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match="is code from outside gymnast: import"):
        gymnast.load(path)
    assert gymnast.load(path, trust=True).latent_size == 64


@pytest.mark.parametrize("name", ["samples.npy", "samples.npz"])
def test_the_command_writes_exact_observations(runs: Path, tmp_path: Path, name: str) -> None:
    path, out = run(runs, "autoencoder-variational"), tmp_path / name
    assert main(["sample", str(path), "--number", "130", "--seed", "3", "--out", str(out)]) == 0
    loaded = np.load(out)
    array = loaded if name.endswith("y") else loaded["observations"]
    assert np.array_equal(array, gymnast.load(path).sample(130, seed=3))
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_command_draws_a_grid(runs: Path, tmp_path: Path) -> None:
    path, out = run(runs, "autoencoder-variational"), tmp_path / "grid.png"
    assert main(["sample", str(path), "--number", "7", "--out", str(out)]) == 0
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        ("", "--out a.npz", "no run or checkpoint"),
        ("autoencoder-variational", "--out a.gif", "--out must end in .npz, .npy or .png, got a.gif"),
        ("autoencoder-variational", "--out none/a.npz", "--out none/a.npz: there is no folder none"),
        ("autoencoder-variational", "--out a.npz --number 0", "--number must be >= 1, got 0"),
        ("autoencoder-variational", "--out a.png --number 2000", "--number must be at most 1,024 in a picture"),
        ("autoencoder-variational", "--out a.npz --steps 5", "--steps 5 has no effect on samples of"),
        ("energy-rbm", "--out a.npz --temperature 2", "--temperature 2.0 has no effect on samples of energy-rbm, only"),
        ("autoencoder-convolutional", "--out a.npz", "autoencoder-convolutional has no sample; these have: "),
    ],
)
def test_the_command_fails_before_it_draws(
    runs: Path, tmp_path: Path, task: str, words: str, said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(runs, task) if task else tmp_path / "none"
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["sample", str(path), *words.split()]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
