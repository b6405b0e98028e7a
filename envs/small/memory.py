"""Memory: a cue is shown once, and asked for many steps later."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CELL = 32  # pixels of one cell of the rendered row


class Memory(gym.Env[NDArray[np.float32], Any]):
    """See a cue, walk down a corridor that shows nothing, and choose the action that the cue named.

    ## Description
    The T-maze of Bakker (2002, "Reinforcement learning with long short-term memory") without its walls: what matters
    was seen `delay` steps ago, so a policy of only the last observation does no better than chance.

    ## Action Space
    `Discrete(cues)`: the answer; only the last step counts.

    ## Observation Space
    `Box(0, 1, (cues + 1,), float32)`: the cue as one-hot in the first observation, zeros in the corridor, and a last
    entry that is 1 when the answer counts.

    ## Rewards
    After the answer: +1 if it is the cue's action, else -1; 0 before. The optimal return is +1, that of chance
    2 / cues - 1.

    ## Starting State
    The cue is uniform.

    ## Episode End
    Terminated after the answer: after exactly `delay + 1` steps.

    ## Arguments
    `delay` (10), the steps between cue and question, at least 1; `cues` (2), at least 2.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(self, delay: int = 10, cues: int = 2, *, render_mode: str | None = None) -> None:
        if delay < 1:
            raise ValueError(f"delay must be >= 1, got {delay}")
        if cues < 2:
            raise ValueError(f"cues must be >= 2, got {cues}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        self.observation_space = gym.spaces.Box(0.0, 1.0, (cues + 1,), np.float32)
        self.action_space = gym.spaces.Discrete(cues)
        self.render_mode = render_mode
        self.delay, self.cues = delay, cues
        self.cue = self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.cue, self.time = int(self.np_random.integers(self.cues)), 0
        return self._seen(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        asked = self.time == self.delay
        reward = (1.0 if int(action) == self.cue else -1.0) if asked else 0.0
        self.time += 1
        return self._seen(), reward, asked, False, {}

    def _seen(self) -> NDArray[np.float32]:
        seen = np.zeros(self.cues + 1, np.float32)
        if self.time == 0:
            seen[self.cue] = 1.0
        seen[-1] = self.time == self.delay
        return seen

    def render(self) -> NDArray[np.uint8] | None:
        """The corridor, uint8 [32, 32 (delay + 1), 3]: the way walked blue, the cue in a separate shade."""
        if self.render_mode is None:
            return None
        picture = np.full((1, self.delay + 1, 3), 24, np.uint8)
        picture[0, min(self.time, self.delay)] = (66, 135, 245)
        shade = 105 + 150 * (self.cue + 1) // self.cues
        picture[0, 0] = (shade, shade * 161 // 245, 66) if self.time == 0 else (60, 60, 60)
        return picture.repeat(CELL, 0).repeat(CELL, 1)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        return {"cue": self.cue, "time": self.time, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.cue, self.time = snapshot["cue"], snapshot["time"]
        self.np_random.bit_generator.state = snapshot["np_random"]
