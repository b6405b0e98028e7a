"""Options of `gymnast hopfield`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from gymnast.settings.options import at_least

Rule = Literal["hebb", "pseudo-inverse"]
Order = Literal["asynchronous", "synchronous"]


@dataclass(frozen=True)
class HopfieldOptions:
    """Store patterns in a Hopfield network, and recall them from corrupted ones."""

    dataset: str = field(default="", metadata={"metavar": "NAME"})
    """Data set whose observations are stored. Default: random patterns."""
    env: str = field(default="", metadata={"metavar": "ID"})
    """Environment whose observations, under random actions, are stored."""
    env_steps: int = 2_000
    """Steps to record in env; a recording with the same settings is used again."""
    encoder: str = field(default="", metadata={"metavar": "RUN"})
    """Run whose features of the observations are stored, instead of the observations."""
    patterns: tuple[int, ...] = ()
    """Patterns to store, a network for each number. Default: 10 of data, 0.05 to 0.25 of the units of random ones."""
    units: int | None = None
    """Units of random patterns. Default: 300."""
    rule: Rule = "hebb"
    """How patterns are stored."""
    order: Order = "asynchronous"
    """How units are updated: one after the other, or all at once."""
    noise: float = 0.0
    """Share of the units that are flipped before recall."""
    sweeps: int = 100
    """Updates of each unit, at most."""
    seed: int = 0
    """Seed of all random numbers."""
    out: str = field(default="runs/hopfield", metadata={"metavar": "FOLDER"})
    """Folder for the pictures and the numbers."""
    json: bool = False
    """Print one JSON object."""

    def __post_init__(self) -> None:
        if self.dataset and self.env:
            raise ValueError(f"dataset {self.dataset} cannot be combined with env {self.env}")
        has_data = bool(self.dataset or self.env)
        if self.encoder and not has_data:
            raise ValueError(f"encoder {self.encoder} has no effect without dataset or env")
        if self.units is not None and has_data:
            raise ValueError(f"units {self.units} has no effect with dataset or env, whose observations give them")
        if not self.env and self.env_steps != 2_000:
            raise ValueError(f"env_steps {self.env_steps} has no effect without env")
        for name, allowed in (("rule", get_args(Rule)), ("order", get_args(Order))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if min(self.patterns, default=1) < 1:
            raise ValueError(f"patterns must be numbers >= 1, got {' '.join(map(str, self.patterns))}")
        if not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"noise must be between 0 and 1, got {self.noise}")
        for name in ("env_steps", "sweeps"):
            at_least(name, getattr(self, name), 1)
        if self.units is not None:
            at_least("units", self.units, 1)
        at_least("seed", self.seed, 0)
        if not self.out:
            raise ValueError("out must be a folder, got ''")
