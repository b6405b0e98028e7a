"""Acrobot-v1 on the device."""

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

GRAVITY, DT = 9.8, 0.2
MAX_VELOCITY = (4 * math.pi, 9 * math.pi)
NAMES = ("theta1", "theta2", "velocity1", "velocity2")


class Acrobot(Game):
    """Swing the free end of a two-link pendulum above a line, by a torque on the joint between the links.

    ## Description
    Gymnasium's Acrobot-v1 (Sutton 1996) in float32, all rows at once: the dynamics of Sutton & Barto's book, integrated
    by one fourth-order Runge-Kutta step of 0.2 s, without noise on the torque. Links have length 1 m, mass 1 kg, their
    centre of mass in the middle and moment of inertia 1 kg m².

    ## Action Space
    `Discrete(3)`: a torque of -1 (0), 0 (1) or 1 N m (2).

    ## Observation Space
    `Box(float32, (6,))`: cosine and sine of the first link's angle (0 hangs down), cosine and sine of the second's
    relative to the first, and the two angular velocities, at most 4 pi and 9 pi.

    ## Rewards
    -1 for each step, 0 for the one that reaches the line.

    ## Starting State
    Each of the four numbers uniform in [-0.1, 0.1).

    ## Episode End
    Terminated when the free end is more than 1 m above the fixed one; truncated after 500 steps (the id's time limit).

    ## Arguments
    None of its own.

    ## Version History
    * v1: as Gymnasium's v1
    """

    render_fps = 15

    def __init__(self, *, device: torch.device) -> None:
        super().__init__(device=device)
        high = np.array([1.0, 1.0, 1.0, 1.0, *MAX_VELOCITY], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(3)

    def initial(self, draws: Draws) -> State:
        return {name: draws.uniform(index) * 0.2 - 0.1 for index, name in enumerate(NAMES)}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        start = torch.stack([state[name] for name in NAMES])  # [4, N]
        torque = (action - 1).to(torch.float32)
        first = _slope(start, torque)
        second = _slope(start + DT / 2 * first, torque)
        third = _slope(start + DT / 2 * second, torque)
        fourth = _slope(start + DT * third, torque)
        end = start + DT / 6 * (first + 2 * (second + third) + fourth)
        theta1, theta2 = _wrapped(end[0]), _wrapped(end[1])
        velocity1, velocity2 = (end[2 + joint].clamp(-most, most) for joint, most in enumerate(MAX_VELOCITY))
        terminated = -theta1.cos() - (theta1 + theta2).cos() > 1.0
        after = dict(zip(NAMES, (theta1, theta2, velocity1, velocity2), strict=True))
        return after, terminated.to(torch.float32) - 1.0, terminated

    def observe(self, state: State) -> Tensor:
        theta1, theta2, velocity1, velocity2 = (state[name] for name in NAMES)
        return torch.stack([theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), velocity1, velocity2], 1)

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.acrobot")

    def render(self, state: State) -> np.ndarray:
        """The line to reach and the two links, uint8 [220, 220, 3]."""
        canvas = Canvas(220, 220)
        scale, middle = 50, 110
        angle, bend = float(state["theta1"]), float(state["theta2"])
        joint = middle + scale * math.sin(angle), middle + scale * math.cos(angle)
        tip = joint[0] + scale * math.sin(angle + bend), joint[1] + scale * math.cos(angle + bend)
        canvas.line((0, middle - scale), (219, middle - scale), (90, 90, 90), width=1)
        canvas.line((middle, middle), joint, (66, 135, 245), width=8)
        canvas.line(joint, tip, (66, 135, 245), width=8)
        canvas.disc((middle, middle), 5, (245, 161, 66))
        canvas.disc(joint, 5, (245, 161, 66))
        return canvas.pixels


def _slope(state: Tensor, torque: Tensor) -> Tensor:
    """The time derivative of angles and angular velocities, all [4, N] (Sutton & Barto 1998, section 11.3)."""
    theta1, theta2, velocity1, velocity2 = state
    cos2, sin2 = theta2.cos(), theta2.sin()
    inertia1, inertia2 = 3.5 + cos2, 1.25 + 0.5 * cos2  # d1 and d2
    pull2 = 0.5 * GRAVITY * (theta1 + theta2).sin()  # phi2; the cosine of an angle less pi / 2 is its sine
    pull1 = pull2 + 1.5 * GRAVITY * theta1.sin() - sin2 * velocity2 * (0.5 * velocity2 + velocity1)  # phi1
    ratio = inertia2 / inertia1
    force2 = torque + ratio * pull1 - 0.5 * velocity1.square() * sin2 - pull2
    acceleration2 = force2 / (1.25 - inertia2 * ratio)
    acceleration1 = -ratio * acceleration2 - pull1 / inertia1
    return torch.stack([velocity1, velocity2, acceleration1, acceleration2])


def _wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi]."""
    return angle - 2 * math.pi * (angle / (2 * math.pi)).round()
