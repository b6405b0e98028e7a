"""A network of the user's own, named on the command line, and never imported because a checkpoint names it."""

import subprocess
import sys
from pathlib import Path

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


def gymnast(folder: Path, words: str) -> subprocess.CompletedProcess:
    start = "import sys; from gymnast.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, *words.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_own_backbone(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SOURCE)
    options = "--steps 60 --learning-starts 20 --no-video --name r"
    trained = gymnast(tmp_path, f"train dqn --env CartPole-v1 --backbone nets:Small {options}")
    assert trained.returncode == 0, trained.stderr
    run = "runs/CartPole-v1/dqn/r"
    refused = gymnast(tmp_path, f"evaluate {run} --episodes 1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--trust" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    trusted = gymnast(tmp_path, f"evaluate {run} --episodes 1 --trust")
    assert trusted.returncode == 0, trusted.stderr
    assert trusted.stdout.startswith("imported")
    wrong = gymnast(tmp_path, "train dqn --env CartPole-v1 --backbone nets:Smal --steps 60")
    assert (wrong.returncode, wrong.stderr) == (2, "gymnast: backbone nets:Smal: nets has no Smal\n")
