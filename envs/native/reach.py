"""gymnast/Reach-v0 on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State
from gymnast.envs.small import reach
from gymnast.envs.step import GoalRewards, Obs


class Reach(Game):
    """Push a point to a goal and hold it there; the reward only says whether it is there.

    ## Description
    The rules of `gymnast.envs.small.reach.Reach`, all rows at once.

    ## Action Space
    `Box(-1, 1, (dimension,), float32)`: the push. With it the velocity v becomes v - v / 4 + push / 32, and the point
    moves by v: at most 1/8 a step.

    ## Observation Space
    `Dict`: `observation`, position and velocity, [2 dimension]; `achieved_goal`, the position, and `desired_goal`, each
    [dimension]; all float32.

    ## Rewards
    -1 per step, 0 if no coordinate of the position then differs from the goal's by more than `tolerance`.
    `compute_reward` gives it for other goals.

    ## Starting State
    The point rests in the middle; the goal is uniform in the square.

    ## Episode End
    Never terminated; truncated after 50 steps (the id's time limit).

    ## Arguments
    `size` (1.0), above 0; `tolerance` (0.02), from 0; `dimension` (2), 1 to 3.

    ## Version History
    * v0: first version
    """

    render_fps = 12

    def __init__(self, size: float = 1.0, tolerance: float = 0.02, dimension: int = 2, *, device: torch.device) -> None:
        super().__init__(device=device)
        self.single = reach.Reach(size, tolerance, dimension, render_mode="rgb_array")
        self.observation_space, self.action_space = self.single.observation_space, self.single.action_space
        self.size, self.tolerance = float(self.single.size), float(self.single.tolerance)

    def initial(self, draws: Draws) -> State:
        drawn = torch.stack([draws.uniform(axis) for axis in range(self.single.dimension)], 1)
        goal = (2 * drawn - 1) * self.size
        return {"position": torch.zeros_like(drawn), "velocity": torch.zeros_like(drawn), "goal": goal}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        velocity, goal = state["velocity"], state["goal"]
        velocity = velocity - velocity * float(reach.FRICTION) + action.clamp(-1, 1) * float(reach.PUSH)
        moved = state["position"] + velocity
        position = moved.clamp(-self.size, self.size)
        velocity = torch.where(moved == position, velocity, 0.0)
        after = {"position": position, "velocity": velocity, "goal": goal}
        return after, self.compute_reward(position, goal), self.compute_terminated(position, goal)

    def compute_reward(self, achieved_goal: Tensor, desired_goal: Tensor) -> Tensor:
        """The reward of having reached one goal when another was desired; both [..., dimension], float32 [...]."""
        away = (achieved_goal - desired_goal).abs().amax(-1) > self.tolerance
        return torch.where(away, -1.0, 0.0)

    def compute_terminated(self, achieved_goal: Tensor, desired_goal: Tensor) -> Tensor:
        """Whether the episode would have ended there: never; bool [...] for goals [..., dimension]."""
        return torch.zeros_like(achieved_goal[..., 0], dtype=torch.bool)

    def goal_rewards(self) -> GoalRewards:
        return lambda achieved, desired: (
            self.compute_reward(achieved, desired),
            self.compute_terminated(achieved, desired),
        )

    def observe(self, state: State) -> Obs:
        position = state["position"]
        seen = torch.cat([position, state["velocity"]], 1)
        return {"achieved_goal": position, "desired_goal": state["goal"], "observation": seen}

    def row_rules(self) -> RowRules:
        from gymnast.envs.kernels.reach import act, begin, fields, show  # imports Numba, which a GPU needs not

        single = self.single
        options = {"size": single.size, "tolerance": single.tolerance, "dimension": single.dimension}
        return RowRules(fields(single.dimension), begin, act, show, options=options)

    def render(self, state: State) -> np.ndarray:
        """The square, uint8 [160, 160, 3]: the goal with its tolerance green, the point orange.

        A third coordinate is how bright they are.
        """
        self.single.position, self.single.goal = state["position"].numpy(), state["goal"].numpy()
        picture = self.single.render()
        assert picture is not None
        return picture
