"""gymnast/Memory-v0 on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.small import memory


class Memory(Game):
    """See a cue, walk down a corridor that shows nothing, and choose the action that the cue named.

    ## Description
    The rules of `gymnast.envs.small.memory.Memory`, all rows at once.

    ## Action Space
    `Discrete(cues)`: the answer; only the last step counts.

    ## Observation Space
    `Box(0, 1, (cues + 1,), float32)`: the cue as one-hot in the first observation, zeros in the corridor, and a last
    entry that is 1 when the answer counts.

    ## Rewards
    After the answer: +1 if it is the cue's action, else -1; 0 before.

    ## Starting State
    The cue is uniform.

    ## Episode End
    Terminated after the answer: after exactly `delay + 1` steps.

    ## Arguments
    `delay` (10), the steps between cue and question, at least 1; `cues` (2), at least 2.

    ## Version History
    * v0: first version
    """

    render_fps = 8

    def __init__(self, delay: int = 10, cues: int = 2, *, device: torch.device) -> None:
        super().__init__(device=device)
        self.single = memory.Memory(delay, cues, render_mode="rgb_array")
        self.observation_space, self.action_space = self.single.observation_space, self.single.action_space
        self.delay, self.cues = delay, cues
        self.entries = torch.arange(cues + 1, device=device)

    def initial(self, draws: Draws) -> State:
        cue = draws.integer(0, self.cues)
        return {"cue": cue, "time": torch.zeros_like(cue)}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        cue, time = state["cue"], state["time"]
        asked = time == self.delay
        reward = torch.where(asked, torch.where(action == cue, 1.0, -1.0), 0.0)
        return {"cue": cue, "time": time + 1}, reward, asked

    def observe(self, state: State) -> Tensor:
        cue, time = state["cue"], state["time"]
        entry = torch.where(time == 0, cue, torch.where(time == self.delay, self.cues, -1))
        return (self.entries == entry[:, None]).to(torch.float32)

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.memory", delay=self.delay, cues=self.cues)

    def render(self, state: State) -> np.ndarray:
        """The corridor, uint8 [32, 32 (delay + 1), 3]: the way walked blue, the cue in a separate shade."""
        self.single.cue, self.single.time = int(state["cue"]), int(state["time"])
        picture = self.single.render()
        assert picture is not None
        return picture
