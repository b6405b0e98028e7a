"""Options of `gymnast sample`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gymnast.settings.options import at_least, check_device

FORMATS = (".npz", ".npy", ".png")
"""Endings of the file: arrays by name, one array, a grid of pictures."""
PICTURES = 1_024
"""Samples of a grid, at most."""


@dataclass(frozen=True)
class SampleOptions:
    """Draw samples from a run of gymnast pretrain that has fitted a distribution, and write them to a file."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder or checkpoint of the run."""
    out: str = field(metadata={"metavar": "FILE"})
    """File: .npz or .npy for observations as the environment gives them, .png for a grid of pictures."""
    number: int = 64
    """Number of samples."""
    seed: int = 0
    """Seed of all random numbers. The first samples of a seed are the same for every number."""
    steps: int | None = None
    """Steps of Gibbs sampling from noise to a sample, for energy-rbm. Default: 1,000."""
    temperature: float | None = None
    """Factor of the deviation of the latents, for autoencoder-variational and -wasserstein. Default: 1."""
    label: int | None = None
    """Class, or Discrete action, of all samples of gan-conditional. Default: as often as in the data."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the code from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        suffix = Path(self.out).suffix
        if suffix not in FORMATS:
            raise ValueError(f"out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {self.out}")
        for name in ("number", "threads"):
            at_least(name, getattr(self, name), 1)
        if suffix == ".png" and self.number > PICTURES:
            raise ValueError(f"number must be at most {PICTURES:,} in a picture, got {self.number:,}; .npz takes more")
        at_least("seed", self.seed, 0)
        check_device(self.device)
