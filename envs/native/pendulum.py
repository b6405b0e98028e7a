"""Pendulum-v1 on the device."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.kernels.rules import RowRules
from gymnast.envs.native.canvas import Canvas
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.game import Game, State

MAX_SPEED, MAX_TORQUE, DT = 8.0, 2.0, 0.05


class Pendulum(Game):
    """Swing a pendulum up and hold it there, by a torque at its fixed end.

    ## Description
    Gymnasium's Pendulum-v1 in float32, all rows at once: length 1 m, mass 1 kg. The angle is kept in [-pi, pi], where
    float32 is precise; Gymnasium lets it grow.

    ## Action Space
    `Box(-2, 2, (1,), float32)`: the torque in N m; beyond the bounds it counts as at them.

    ## Observation Space
    `Box(float32, (3,))`: cosine and sine of the angle (0 is upright) and the angular velocity, at most 8.

    ## Rewards
    Minus the sum of the angle's square, 0.1 times the velocity's and 0.001 times the torque's, before the step.

    ## Starting State
    The angle uniform in [-pi, pi), the velocity in [-1, 1).

    ## Episode End
    Never terminated; truncated after 200 steps (the id's time limit).

    ## Arguments
    * `g` (10.0): the acceleration of gravity.

    ## Version History
    * v1: as Gymnasium's v1
    """

    def __init__(self, *, device: torch.device, g: float = 10.0) -> None:
        super().__init__(device=device)
        high = np.array([1.0, 1.0, MAX_SPEED], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)
        self.g = float(g)

    def initial(self, draws: Draws) -> State:
        return {
            "theta": draws.uniform(0) * (2 * math.pi) - math.pi,
            "velocity": draws.uniform(1) * 2.0 - 1.0,
        }

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        theta, velocity = state["theta"], state["velocity"]
        torque = action[:, 0].clamp(-MAX_TORQUE, MAX_TORQUE)
        cost = theta.square() + 0.1 * velocity.square() + 0.001 * torque.square()
        acceleration = 1.5 * self.g * theta.sin() + 3.0 * torque
        velocity = (velocity + acceleration * DT).clamp(-MAX_SPEED, MAX_SPEED)
        theta = theta + velocity * DT
        theta = theta - 2 * math.pi * (theta / (2 * math.pi)).round()
        return {"theta": theta, "velocity": velocity}, -cost, torch.zeros_like(theta, dtype=torch.bool)

    def observe(self, state: State) -> Tensor:
        theta = state["theta"]
        return torch.stack([theta.cos(), theta.sin(), state["velocity"]], 1)

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.pendulum", pull=np.float32(1.5 * self.g))

    def render(self, state: State) -> np.ndarray:
        """The pendulum on its axle, uint8 [200, 200, 3]."""
        canvas = Canvas(200, 200)
        theta = float(state["theta"])
        canvas.line((100, 100), (100 - 75 * math.sin(theta), 100 - 75 * math.cos(theta)), (245, 161, 66), width=14)
        canvas.disc((100, 100), 4, (90, 90, 90))
        return canvas.pixels
