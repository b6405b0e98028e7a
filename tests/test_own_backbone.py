"""A network of the user's own, named on the command line, and never imported because a checkpoint names it."""

import sys
from pathlib import Path

import pytest

from gymnast.cli.main import main

SOURCE = """
from torch import nn
print("imported")

class Small(nn.Module):
    out_features = 8

    def __init__(self, observation_space):
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, obs):
        return self.layer(obs).relu()
"""


def test_own_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def gymnast(words: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command, which finds the user's module not imported yet."""
        sys.modules.pop("nets", None)
        code = main(words.split())
        return (code, *capsys.readouterr())

    options = "--steps 60 --learning-starts 20 --no-video --name r"
    code, _, said = gymnast(f"train dqn --env CartPole-v1 --network nets:Small {options}")
    assert code == 0, said
    run = "runs/CartPole-v1/dqn/r"
    code, shown, said = gymnast(f"evaluate {run} --episodes 1")
    assert (code, shown) == (2, "")
    assert "--trust" in said
    assert len(said.splitlines()) == 1
    assert "nets" not in sys.modules
    code, shown, said = gymnast(f"evaluate {run} --episodes 1 --trust")
    assert code == 0, said
    assert shown.startswith("imported")
    code, _, said = gymnast("train dqn --env CartPole-v1 --network nets:Smal --steps 60")
    assert (code, said) == (2, "gymnast: network nets:Smal: nets has no class Smal; did you mean Small?\n")
