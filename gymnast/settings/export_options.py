"""Options of `gymnast export`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from gymnast.settings.options import at_least


@dataclass(frozen=True)
class ExportOptions:
    """Write the greedy policy of a run, with all that it does to observations and actions, for use without gymnast."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder or checkpoint of the run."""
    to: Literal["onnx", "torch-export", "safetensors"] = "onnx"
    """onnx runs with onnxruntime and NumPy alone, torch-export is a graph for torch, safetensors the weights only."""
    out: str | None = field(default=None, metadata={"metavar": "DIR"})
    """New folder to write. Default: ENV-AGENT-FORMAT in the current one."""
    member: int | None = None
    """Seed of the population member to export. Default: the best member."""
    sample: bool = False
    """Draw actions from the policy, by a seed that is one more input, instead of the greedy ones."""
    observations: int = 1_000
    """Observations of the environment on which the result must act like the agent; 0 does not compare them."""
    tolerance: float = 1e-4
    """Largest difference of real actions, relative to numbers above 1, and of action values or logits, relative to an
    observation's largest one if it is above 1."""
    seed: int = 0
    """Seed of the episodes in which they are compared."""
    trust: bool = False
    """Import the code from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        if self.sample and self.to == "safetensors":
            raise ValueError("sample has no effect on safetensors, which holds weights only")
        for name in ("observations", "seed"):
            at_least(name, getattr(self, name), 0)
        if not 0.0 <= self.tolerance < math.inf:
            raise ValueError(f"tolerance must be >= 0, got {self.tolerance}")
