"""Flipped bits in checkpoints and replay blocks are refused by name; nothing damaged is ever loaded (row 44)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, rebuild
from gymnast.training.train import resume, train
from tests.test_checkpoint import ABOUT
from tests.test_resume import config, same

DATA = Path(__file__).parent / "data" / "before_rooms"
STATE = {
    "agent": {
        "layers": [{"weight": torch.randn(64, 64)}, {"weight": torch.randn(64, 64), "bias": torch.zeros(64)}],
        "updates": 7,
        "rate": 0.25,
        "name": "adam",
        "empty": torch.zeros(0, 3),
    },
    "rng": torch.arange(500, dtype=torch.uint8),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "x.pt", ABOUT, STATE)
    return tmp_path / "x.pt"


def flip(path: Path, places: Any, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= bit
    path.write_bytes(content)


def test_whatever_byte_is_flipped_the_state_is_whole_or_refused(saved: Path) -> None:
    whole, (_, state) = saved.read_bytes(), checkpoint.read(saved)
    rng = np.random.default_rng(0)
    head, tail = range(0, 3000, 7), range(len(whole) - 2500, len(whole))  # the list of parts lies at the end
    refused: list[str] = []
    for place in [*head, *rng.integers(0, len(whole), 300).tolist(), *tail]:
        saved.write_bytes(whole)
        flip(saved, [place], 1 << int(rng.integers(8)))
        try:
            same(checkpoint.read(saved)[1], state)  # padding, or a date
        except UsageError as error:
            refused.append(str(error))
    assert len(refused) > 1000
    assert all(str(saved) in line and "\n" not in line for line in refused)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("agent.layers[0].weight", STATE["agent"]["layers"][0]["weight"]),
        ("agent.layers[1].weight", STATE["agent"]["layers"][1]["weight"]),
        ("rng", STATE["rng"]),
    ],
)
def test_the_tensor_is_named(saved: Path, name: str, tensor: torch.Tensor) -> None:
    place = saved.read_bytes().index(tensor.numpy().tobytes())
    flip(saved, range(place, place + 20))
    with pytest.raises(UsageError) as caught:
        checkpoint.read(saved)
    assert str(caught.value) == (f"{saved} is damaged: the tensor {name} does not match its digest; it was not loaded")


def test_a_plain_value_that_changed_is_refused(saved: Path) -> None:
    place = saved.read_bytes().index(b"adam")
    flip(saved, [place])
    with pytest.raises(UsageError, match=r"x\.pt is damaged: a part does not match its digest"):
        checkpoint.read(saved)


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_cut_file_is_refused(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:-cut])
    with pytest.raises(UsageError, match="is damaged or not a checkpoint"):
        checkpoint.read(saved)


def test_a_checkpoint_of_an_earlier_build_has_digests_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "CartPole-v1" / "ppo" / "landed", run)
    best = run / "checkpoints" / "best.pt"
    rebuild.load(run)
    weight = max(_tensors(checkpoint.read_agent(best)[1]), key=lambda tensor: tensor.nbytes)
    flip(best, [best.read_bytes().index(weight.contiguous().numpy().tobytes()) + 5])
    with pytest.raises(UsageError, match=r"best\.pt is damaged: the tensor agent\..* does not match its digest"):
        rebuild.load(run)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def test_a_damaged_run_is_neither_evaluated_nor_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = TrainOptions(
        env="gymnast/Catch-v0", steps=120, eval_every=0, eval_episodes=2, video=False, out=str(tmp_path), name="run"
    )
    small = {"hidden_sizes": (16,), "batch_size": 8, "replay_size": 100, "learning_starts": 40}
    run = train("dqn", options, config("dqn", small)).path
    (block,) = (run / "checkpoints" / "replay").iterdir()
    kept = block.read_bytes()
    for place in (0, len(kept) // 2, len(kept) - 1):
        flip(block, [place])
        with pytest.raises(UsageError, match=rf"{block.name} is damaged: its checksum does not match"):
            resume(run, steps=200)
        block.write_bytes(kept)
    capsys.readouterr()
    for name, command in (("best.pt", "evaluate"), ("last.pt", "resume")):
        file = run / "checkpoints" / name
        whole = file.read_bytes()
        flip(file, np.random.default_rng(1).integers(0, len(whole) // 2, 20).tolist())
        assert main([command, str(run), *(["--steps", "200"] if command == "resume" else [])]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert f"{file} is damaged" in said[0]
        file.write_bytes(whole)
    assert resume(run, steps=200).exit_code == 0
