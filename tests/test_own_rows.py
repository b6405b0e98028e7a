"""The game of docs/own-native-environment.md: short, the same as CONTRIBUTING's of tensors, trained by its command."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numba
import pytest
import torch

from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.engine import TensorEngine
from gymnast.training import parts
from tests.conformance import check_env
from tests.test_worked_example import block

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "own-native-environment.md").read_text(encoding="utf-8")
ID = "./ring.py:my/Ring-v0"
CPU = torch.device("cpu")


def example() -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with both examples in it."""
    (tmp_path / "ring.py").write_text(example(), encoding="utf-8", newline="\n")
    (tmp_path / "chase.py").write_text(block("python"), encoding="utf-8", newline="\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name in ("ring", "chase") or name.startswith("gymnast_file_ring")]:
        del sys.modules[name]
    for id in ("my/Ring-v0", "my/Chase-v0"):
        gym.registry.pop(id, None)


def test_it_is_short() -> None:
    assert len(example().splitlines()) <= 50


def test_it_keeps_what_is_promised(folder: Path) -> None:
    check_env(make(ID, 4, compile=True))  # of which there is nothing to compile but the rules


def test_it_is_the_game_of_tensors(folder: Path) -> None:
    row_game = importlib.import_module("ring").Ring(device=CPU)
    row = RowEngine(row_game, row_game.row_rules(), 20, keep_final=False)
    tensor = TensorEngine(importlib.import_module("chase").Chase(device=CPU), 20, compile=False, keep_final=False)
    generator = torch.Generator().manual_seed(0)
    for engine in (row, tensor):
        engine.begin(row_keys(1, 20, device=CPU))
    for _ in range(40):
        action = torch.randint(3, (20,), generator=generator)
        one, two = row.advance(action, 15, None), tensor.advance(action, 15, None)
        assert torch.equal(one.next_obs, two.next_obs)  # type: ignore[arg-type] # a Box's are tensors
        assert torch.equal(one.obs, two.obs)  # type: ignore[arg-type]
        assert torch.equal(one.reward, two.reward)


def test_the_command_trains_it(folder: Path) -> None:
    words = f"train ppo --env {ID} --num-envs 8 --rollout-steps 16 --steps 256 --no-video --eval-episodes 2"
    assert main(words.split()) == 0


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command says."""
    assert main(["train", "ppo", "--env", ID, "--steps", "60"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("runs").exists()
    return line


def test_another_device_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "pick_device", lambda name: "meta")
    assert "Ring has rules of one row only, which need the device cpu or cuda, not meta" in refused(capsys)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("options.drift:", "options.drft:", "neither the state nor the options have 'drft'"),
        ("(cell + by) % size", "(cell + by) % siz", "name 'siz' is not defined (ring.py, line 20)"),
        ("obs[cell]", "obs[0, cell]", "cannot index array(float32, 1d, C) with 2 indices"),
    ],
)
def test_wrong_rules_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str, message: str
) -> None:
    assert right in example()
    Path("ring.py").write_text(example().replace(right, wrong), encoding="utf-8", newline="\n")
    line = refused(capsys)
    assert "cannot be compiled" in line
    assert message in line
