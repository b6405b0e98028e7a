"""Results of an evaluation."""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from gymnast.atari import scores
from gymnast.atari.protocols import Protocol


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of the evaluation's episodes, in the order of their seeds."""

    env: str
    agent: str
    seed: int
    trained_env_steps: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    protocol: Protocol | None = None
    """For an Atari game: the protocol of play and of the learner."""
    trained_frame_skip: int = 1
    """Frames per env step in training."""

    @property
    def mean_return(self) -> float:
        return statistics.fmean(self.returns) if self.finite else float(np.mean(self.returns))

    @property
    def std_return(self) -> float:
        """Standard deviation over the episodes (of the population: divided by their number)."""
        return statistics.pstdev(self.returns) if self.finite else math.nan

    @property
    def finite(self) -> bool:
        """Whether no return is infinite or not a number."""
        return all(map(math.isfinite, self.returns))

    def as_json(self) -> dict[str, Any]:
        return {
            "env": self.env,
            "agent": self.agent,
            "seed": self.seed,
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "std_return": self.std_return,
            "median_return": statistics.median(self.returns) if self.finite else float(np.median(self.returns)),
            "min_return": float(np.min(self.returns)),
            "max_return": float(np.max(self.returns)),
            "mean_length": statistics.fmean(self.lengths),
            "env_steps": sum(self.lengths),
            "trained_env_steps": self.trained_env_steps,
            **({} if self.protocol is None else self._atari(self.protocol)),
        }

    def stamp(self) -> dict[str, Any]:
        """For an Atari game, the fields of all its records: the protocol and the number of training frames."""
        if self.protocol is None:
            return {}
        return {
            "protocol": self.protocol.label,
            "trained_frames": self.trained_env_steps * self.trained_frame_skip,
        }

    def _atari(self, protocol: Protocol) -> dict[str, Any]:
        """Protocol, frames, and the human-normalized score if reference scores exist for the game."""
        values: dict[str, Any] = {
            **self.stamp(),
            "protocol_settings": protocol.as_json(),
            "frames": sum(self.lengths) * protocol.frame_skip,
        }
        if scores.game_of(self.env) is not None:
            values["human_normalized"] = scores.human_normalized(self.env, self.mean_return)
            values["human_gap"] = scores.human_gap(self.env, self.mean_return)
            values["reference"] = dataclasses.asdict(scores.reference(self.env))
        return values

    def as_text(self) -> str:
        values = self.as_json()
        return (
            f"{self.agent} on {self.env} after {self.trained_env_steps:,} env steps: mean return "
            f"{values['mean_return']:.2f} ± {values['std_return']:.2f} over {values['episodes']} episodes "
            f"(median {values['median_return']:.2f}, min {values['min_return']:.2f}, max {values['max_return']:.2f}, "
            f"mean length {values['mean_length']:.1f}, seed {self.seed})" + self._atari_text()
        )

    def _atari_text(self) -> str:
        if self.protocol is None:
            return ""
        lines = [f"protocol {self.protocol.label}: {self.protocol.as_text()}"]
        if scores.game_of(self.env) is not None:
            found = scores.reference(self.env)
            lines.append(
                f"human-normalized score {scores.human_normalized(self.env, self.mean_return):.3f}, human gap "
                f"{scores.human_gap(self.env, self.mean_return):.3f} (random {found.random:g}, human {found.human:g}; "
                f"{found.source})"
            )
        return "".join(f"\n{line}" for line in lines)
