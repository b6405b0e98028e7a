"""MountainCar-v0 and MountainCarContinuous-v0 on the device."""

from __future__ import annotations

import math
from itertools import pairwise

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.canvas import Canvas
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State

LEFT, RIGHT, MAX_SPEED = -1.2, 0.6, 0.07
GRAVITY, FORCE, POWER = 0.0025, 0.001, 0.0015
NAMES = ("position", "velocity")


class _Hill(Game):
    """The valley that both versions share: they differ by action, goal and reward."""

    goal: float
    act: str
    """The function of one row."""

    def __init__(self, *, device: torch.device, goal_velocity: float = 0.0) -> None:
        super().__init__(device=device)
        low, high = np.array([LEFT, -MAX_SPEED], np.float32), np.array([RIGHT, MAX_SPEED], np.float32)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.goal_velocity = float(goal_velocity)

    def initial(self, draws: Draws) -> State:
        position = draws.uniform(0) * 0.2 - 0.6
        return {"position": position, "velocity": torch.zeros_like(position)}

    def observe(self, state: State) -> Tensor:
        return torch.stack([state[name] for name in NAMES], 1)

    def _drive(self, state: State, push: Tensor) -> tuple[State, Tensor]:
        """The state after an acceleration float32 [N], and whether it is the goal, bool [N]."""
        pull = GRAVITY * (3 * state["position"]).cos()
        velocity = (state["velocity"] + push - pull).clamp(-MAX_SPEED, MAX_SPEED)
        position = (state["position"] + velocity).clamp(LEFT, RIGHT)
        velocity = torch.where(position <= LEFT, velocity.clamp(min=0.0), velocity)  # the wall stops the car
        arrived = (position >= self.goal) & (velocity >= self.goal_velocity)
        return {"position": position, "velocity": velocity}, arrived

    def row_rules(self) -> RowRules:
        goal, goal_velocity = np.float32(self.goal), np.float32(self.goal_velocity)
        return RowRules.of("gymnast.envs.kernels.mountain_car", act=self.act, goal=goal, goal_velocity=goal_velocity)

    def render(self, state: State) -> np.ndarray:
        """The valley, the car and the flag, uint8 [200, 300, 3]."""
        canvas = Canvas(200, 300)
        place = [_place(LEFT + (RIGHT - LEFT) * index / 60) for index in range(61)]
        for start, end in pairwise(place):
            canvas.line(start, end, (90, 90, 90))
        x, y = _place(self.goal)
        canvas.line((x, y), (x, y - 30), (200, 200, 200), width=1)
        canvas.box(x, y - 30, x + 12, y - 22, (80, 200, 120))
        x, y = _place(float(state["position"]))
        canvas.disc((x, y - 7), 7, (66, 135, 245))
        return canvas.pixels


class MountainCar(_Hill):
    """Drive an engine too weak for the hill out of a valley, by swinging up on both sides.

    ## Description
    Gymnasium's MountainCar-v0 (Moore 1990) in float32, all rows at once.

    ## Action Space
    `Discrete(3)`: accelerate to the left (0), not at all (1) or to the right (2).

    ## Observation Space
    `Box(float32, (2,))`: position in [-1.2, 0.6] and velocity in [-0.07, 0.07].

    ## Rewards
    -1 for each step.

    ## Starting State
    The position uniform in [-0.6, -0.4), the velocity 0.

    ## Episode End
    Terminated at position 0.5 or beyond with at least `goal_velocity`; truncated after 200 steps (the id's time limit).

    ## Arguments
    * `goal_velocity` (0): the least velocity with which the goal counts.

    ## Version History
    * v0: as Gymnasium's v0
    """

    goal, act = 0.5, "act"

    def __init__(self, *, device: torch.device, goal_velocity: float = 0.0) -> None:
        super().__init__(device=device, goal_velocity=goal_velocity)
        self.action_space = gym.spaces.Discrete(3)

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        after, arrived = self._drive(state, (action - 1) * FORCE)
        return after, torch.full_like(after["position"], -1.0), arrived


class MountainCarContinuous(_Hill):
    """Mountain car with a force of any size, which costs.

    ## Description
    Gymnasium's MountainCarContinuous-v0 in float32, all rows at once.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the force on the car; beyond the bounds it counts as at them.

    ## Observation Space
    `Box(float32, (2,))`: position in [-1.2, 0.6] and velocity in [-0.07, 0.07].

    ## Rewards
    -0.1 times the action's square (as it was given, not as it was clipped) for each step, and 100 for the last.

    ## Starting State
    The position uniform in [-0.6, -0.4), the velocity 0.

    ## Episode End
    Terminated at position 0.45 or beyond with at least `goal_velocity`; truncated after 999 steps (the id's time
    limit).

    ## Arguments
    * `goal_velocity` (0): the least velocity with which the goal counts.

    ## Version History
    * v0: as Gymnasium's v0
    """

    goal, act = 0.45, "act_continuous"

    def __init__(self, *, device: torch.device, goal_velocity: float = 0.0) -> None:
        super().__init__(device=device, goal_velocity=goal_velocity)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        force = action[:, 0]
        after, arrived = self._drive(state, force.clamp(-1.0, 1.0) * POWER)
        return after, arrived * 100.0 - 0.1 * force.square(), arrived


def _place(position: float) -> tuple[float, float]:
    """A position's place in the picture."""
    return (position - LEFT) * 299 / (RIGHT - LEFT), 185 - 150 * (0.55 + 0.45 * math.sin(3 * position))
