"""Episodes in the dream: many policies at once, each in the same dreams."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.world_models.controller import Controller
from gymnast.agents.world_models.world_models_model import Model
from gymnast.envs.step import Obs, children, tensor_dtype
from gymnast.networks.layers.restored import within

CHECKED = 8
"""Steps between two looks at which dreams have ended: a device is not asked more often."""


@torch.no_grad()
def returns(
    model: Model,
    controller: Controller,
    policies: Tensor,
    first: Tensor,
    generator: torch.Generator,
    *,
    steps: int,
    temperature: float,
) -> Tensor:
    """Undiscounted returns [C, R] of C policies [C, P] in R dreams from states [R, M], at most `steps` long.

    All policies have the same first states and the same noise, so that their returns differ by their actions only, and
    are those of each policy by itself.
    """
    count, dreams = len(policies), len(first)
    row = torch.arange(count * dreams, device=first.device)  # of `total`, for each dream that goes on
    policy, state = policies.repeat_interleave(dreams, 0), first.repeat(count, 1)
    total = first.new_zeros(count * dreams)
    going = torch.ones_like(row, dtype=torch.bool)
    for step in range(steps):
        if step % CHECKED == 0:
            left = going.nonzero().flatten()
            if not len(left):
                break
            row, policy, state, going = row[left], policy[left], state[left], going[left]
        noise = model.dynamics.noise(dreams, generator).rows(row % dreams)
        action = controller.act_each(policy, model.features(state))
        state, reward, end = model.imagine(state, action, noise, temperature=temperature)
        total[row] += torch.where(going, reward, 0.0)
        going &= ~end
    return total.view(count, dreams)


def as_given(space: gym.Space[Any], obs: Obs, device: torch.device) -> Obs:
    """Observations of a space from decoded ones [N, ...]: its dtype, rounded and within its bounds."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        assert isinstance(obs, dict)
        return {name: as_given(part, obs[name], device) for name, _, part in children(space)}
    assert isinstance(obs, Tensor)
    return torch.from_numpy(within(space, obs).numpy().astype(tensor_dtype(space))).to(device)
