"""Bandit: one state, k arms, and the regret of every pull."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray


class Bandit(gym.Env[Any, Any]):
    """Choose among arms whose rewards are random; the regret is the mean loss compared with the best arm.

    ## Description
    The k-armed testbed of Sutton & Barto (2018, section 2.3), or Bernoulli arms. Which bandit it is depends on `means`
    or on `problem`, never on the reset seed, which only draws the rewards. So parallel rows, training and evaluation
    face the same arms.

    ## Action Space
    `Discrete(arms)`: the arm to pull.

    ## Observation Space
    `Discrete(1)`: always 0.

    ## Rewards
    `gaussian`: normal with the arm's mean and standard deviation 1. `bernoulli`: 1 with the arm's mean as probability,
    else 0. `info["regret"]` is the best mean minus the mean of the arm pulled: the pseudo-regret of this step.

    ## Starting State
    The only one.

    ## Episode End
    Never; the registered id truncates after 1000 pulls.

    ## Arguments
    `kind` (`gaussian` or `bernoulli`), `arms` (10), `means` (one for each arm; drawn when None: standard normal for
    Gaussian arms, uniform for Bernoulli arms), `problem` (0), the seed of that draw.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(
        self,
        kind: str = "gaussian",
        arms: int | None = None,
        *,
        means: Sequence[float] | None = None,
        problem: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if kind not in ("gaussian", "bernoulli"):
            raise ValueError(f"kind must be gaussian or bernoulli, got {kind!r}")
        if render_mode is not None:
            raise ValueError(f"render_mode must be None: a bandit has nothing to show, got {render_mode!r}")
        arms = (10 if means is None else len(means)) if arms is None else arms
        if arms < 1:
            raise ValueError(f"arms must be >= 1, got {arms}")
        if problem < 0:
            raise ValueError(f"problem must be >= 0, got {problem}")
        if means is None:
            draw = np.random.default_rng(problem)
            means = draw.normal(size=arms).tolist() if kind == "gaussian" else draw.random(arms).tolist()
        if len(means) != arms:
            raise ValueError(f"means must contain one number for each of the {arms} arms, got {len(means)}")
        if not np.isfinite(means).all() or (kind == "bernoulli" and not all(0 <= mean <= 1 for mean in means)):
            limits = "between 0 and 1" if kind == "bernoulli" else "finite"
            raise ValueError(f"means must be {limits}, got {list(means)}")
        self.observation_space = gym.spaces.Discrete(1)
        self.action_space = gym.spaces.Discrete(arms)
        self.render_mode = None
        self.kind = kind
        self.means: NDArray[np.float64] = np.array(means, np.float64)  # [arms]
        self._means: list[float] = self.means.tolist()  # plain floats: indexing them is faster
        self._best = max(self._means)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        mean = self._means[action]
        if self.kind == "gaussian":
            reward = mean + self.np_random.standard_normal()
        else:
            reward = float(self.np_random.random() < mean)
        return 0, reward, False, False, {"regret": self._best - mean}

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        return {"np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.np_random.bit_generator.state = snapshot["np_random"]
