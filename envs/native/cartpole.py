"""CartPole-v1 on the device."""

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

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
ANGLE_LIMIT, POSITION_LIMIT = 12 * 2 * math.pi / 360, 2.4
NAMES = ("x", "x_dot", "theta", "theta_dot")


class CartPole(Game):
    """Balance a pole on a cart that is pushed left or right.

    ## Description
    Gymnasium's CartPole-v1 (Barto, Sutton & Anderson 1983) in float32, all rows at once.

    ## Action Space
    `Discrete(2)`: push the cart to the left (0) or to the right (1).

    ## Observation Space
    `Box(float32, (4,))`: the cart's position (m) and velocity, the pole's angle (rad) and angular velocity.

    ## Rewards
    1 for each step, the last one included; with `sutton_barto_reward` 0, and -1 for the step that terminates.

    ## Starting State
    Each of the four numbers uniform in [-0.05, 0.05).

    ## Episode End
    Terminated when the pole leans by more than 12 degrees or the cart is more than 2.4 m from the centre; truncated
    after 500 steps (the id's time limit).

    ## Arguments
    * `sutton_barto_reward` (False): the rewards of Sutton & Barto's book.

    ## Version History
    * v1: as Gymnasium's v1
    """

    render_fps = 50

    def __init__(self, *, device: torch.device, sutton_barto_reward: bool = False) -> None:
        super().__init__(device=device)
        high = np.array([2 * POSITION_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.sutton_barto_reward = bool(sutton_barto_reward)

    def initial(self, draws: Draws) -> State:
        return {name: draws.uniform(index) * 0.1 - 0.05 for index, name in enumerate(NAMES)}

    def step(self, state: State, action: Tensor, draws: Draws) -> tuple[State, Tensor, Tensor]:
        x, x_dot, theta, theta_dot = (state[name] for name in NAMES)
        force = action * (2 * FORCE) - FORCE
        cos, sin = theta.cos(), theta.sin()
        total_mass, pole_moment = CART + POLE, POLE * HALF_LENGTH
        temp = (force + pole_moment * theta_dot.square() * sin) / total_mass
        theta_acc = (GRAVITY * sin - cos * temp) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cos.square() / total_mass))
        x_acc = temp - pole_moment * theta_acc * cos / total_mass
        x, x_dot = x + TAU * x_dot, x_dot + TAU * x_acc
        theta, theta_dot = theta + TAU * theta_dot, theta_dot + TAU * theta_acc
        terminated = (x.abs() > POSITION_LIMIT) | (theta.abs() > ANGLE_LIMIT)
        reward = -terminated.to(torch.float32) if self.sutton_barto_reward else torch.ones_like(x)
        return dict(zip(NAMES, (x, x_dot, theta, theta_dot), strict=True)), reward, terminated

    def observe(self, state: State) -> Tensor:
        return torch.stack([state[name] for name in NAMES], 1)

    def row_rules(self) -> RowRules:
        return RowRules.of("gymnast.envs.kernels.cartpole", sutton_barto_reward=self.sutton_barto_reward)

    def render(self, state: State) -> np.ndarray:
        """Track, cart and pole, uint8 [200, 300, 3]."""
        canvas = Canvas(200, 300)
        x = 150 + float(state["x"]) * 150 / (2 * POSITION_LIMIT)
        angle = float(state["theta"])
        canvas.line((0, 150), (299, 150), (90, 90, 90), width=1)
        canvas.box(x - 20, 138, x + 20, 162, (66, 135, 245))
        canvas.line((x, 140), (x + 62 * math.sin(angle), 140 - 62 * math.cos(angle)), (245, 161, 66), width=5)
        return canvas.pixels
