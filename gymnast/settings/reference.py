"""What a reference is: a whole run that is known to learn, and the value to compare it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gymnast.settings import presets

Measure = Literal["return", "length", "value error"]
MAXIMUM, OPTIMUM, SHORTEST = "maximum", "optimum", "shortest path"


@dataclass(frozen=True)
class Reference:
    """A run of an agent, and what it is compared with."""

    help: str
    agent: str
    env: str
    published: float
    """The published, best possible or exact value of the measure."""
    source: str
    """Where it is from: a paper, a book, RL Zoo with its env steps, or how it is known."""
    presets: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the run and of the agent, by field; they take precedence over the presets."""
    episodes: int = 100
    """Episodes of each evaluation."""
    measure: Measure = "return"
    """What is compared: the final evaluation's mean return or episode length, or the largest error of a state's value,
    against the exact one."""

    @property
    def values(self) -> dict[str, Any]:
        """Every field of run and config that the reference sets."""
        own = {"env": self.env, "eval_episodes": self.episodes, **self.options}
        return presets.over(presets.apply(self.presets, self.agent), own)

    @property
    def steps(self) -> int | None:
        """Env steps at most; None for agents that plan without any."""
        steps: int | None = self.values.get("steps")
        return steps

    @property
    def goal(self) -> str:
        """The value to compare with, and its source."""
        measure = "" if self.measure == "return" else f"{self.measure} "
        return f"{measure}{self.published:g} ({self.source})"
