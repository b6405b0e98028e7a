"""Options of `gymnast dream`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from gymnast.settings.options import at_least, check_device

Policy = Literal["greedy", "explore", "random"]


@dataclass(frozen=True)
class DreamOptions:
    """Compare a world model with its environment: prediction errors, and returns of its agent inside and outside."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder or checkpoint of a run whose agent has a world model."""
    video: bool = False
    """Film imagined beside real episodes."""
    episodes: int = 10
    """Real episodes to play; the first three are filmed."""
    horizon: int = 50
    """Steps that the model predicts without seeing the environment."""
    context: int = 20
    """Real steps that the model watches before it predicts."""
    starts: int = 256
    """Moments of the real episodes to predict from, at most."""
    policy: Policy = "greedy"
    """Who acts in the real episodes: the agent, greedily or as in training, or random actions."""
    temperature: float = 1.0
    """Factor of the model's randomness; 0 predicts its most likely outcome."""
    seed: int = 0
    """Seed of all random numbers."""
    num_envs: int = 8
    """Number of environments stepped together."""
    out: str = field(default="", metadata={"metavar": "FOLDER"})
    """Folder for the figure, the numbers and the video. Default: dream/ in the run's folder."""
    json: bool = False
    """Print one JSON object."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the code from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        for name in ("episodes", "horizon", "context", "starts", "num_envs", "threads"):
            at_least(name, getattr(self, name), 1)
        at_least("seed", self.seed, 0)
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ValueError(f"temperature must be a number >= 0, got {self.temperature}")
        check_device(self.device)
