"""The controller: a linear map from latent and memory to actions, for many parameter vectors at once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from gymnast.networks.distributions.deterministic import chooser


class Controller:
    """Linear policies, each a vector [P] of weights [F, O] and biases [O] (Ha & Schmidhuber 2018, section 2.3).

    Raises:
        ValueError: for an action space that a policy does not support.
    """

    def __init__(self, features: int, action_space: gym.Space[Any], *, device: torch.device) -> None:
        self.features = features
        self.outputs, self.choose = chooser(action_space, device=device)
        self.size = (features + 1) * self.outputs
        """P."""

    def act(self, parameters: Tensor, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """The actions [N, ...] of one policy [P] for features [N, F]; `mask` as for `chooser`."""
        weight, bias = self.split(parameters)
        return self.choose(torch.addmm(bias, features, weight), mask)

    def act_each(self, parameters: Tensor, features: Tensor) -> Tensor:
        """The action [...] of each of N policies [N, P] for its own features: [N, F] to [N, ...]."""
        weight, bias = self.split(parameters)
        return self.choose(torch.baddbmm(bias.unsqueeze(1), features.unsqueeze(1), weight).squeeze(1), None)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [..., F, O] and biases [..., O]."""
        weight, bias = parameters.tensor_split([self.features * self.outputs], -1)
        return weight.reshape(*parameters.shape[:-1], self.features, self.outputs), bias
