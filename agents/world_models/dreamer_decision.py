"""A Dreamer's decision, differentiable in the observation."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gymnast.agents.base import Decision
from gymnast.agents.world_models.dreamer_config import DreamerConfig
from gymnast.agents.world_models.dreamer_model import DreamerModel
from gymnast.agents.world_models.preferences import meaning, preferred
from gymnast.envs.step import Obs
from gymnast.networks.world_models.rssm import State, pack, straight_through, unpack


class _HasLatents(Protocol):
    model: DreamerModel
    config: DreamerConfig

    @property
    def state_size(self) -> int: ...
    @property
    def decision_memory(self) -> int: ...


class DecidesByLatents:
    """Gives a Dreamer the members of `DecidingAgent`.

    The decision is that of an evaluation, with the most probable latents. Their gradient is that of their
    probabilities.
    """

    discrete = "latents"

    @property
    def decision_network(self: _HasLatents) -> nn.Module:
        return self.model

    @property
    def decision_memory(self: _HasLatents) -> int:
        """The packed state and the action after it; the latents' classes are counted from 1, so that 0 is none."""
        return self.state_size + self.model.actions.size

    @property
    def preferences(self: _HasLatents) -> str:
        return meaning(self.model.distribution)

    def decide(
        self: _HasLatents, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None
    ) -> Decision:
        """Logits or means, and the value, after the remembered state and the action that followed it."""
        model, inputs = self.model, self.model.inputs(obs)
        if memory is None:
            memory = inputs[0].new_zeros(len(inputs[0]), self.decision_memory)
        sizes = [model.rssm.deter, model.rssm.stoch, model.actions.size]
        deter, classes, action = torch.split(memory, sizes, 1)
        before = unpack(torch.cat([deter, classes - 1.0], 1), deter=model.rssm.deter, classes=model.rssm.classes)
        deter, probs = model.posterior(before, action, inputs)
        state = State(deter, straight_through(probs, None))
        output = model.act(state)
        if action_mask is not None and self.config.action_masks:
            output = model.distribution.masked(output, action_mask)
        features, preference = state.features, preferred(model.distribution, output)
        with torch.no_grad():
            deter, classes = torch.split(pack(state), sizes[:2], 1)
            action = model.actions(model.distribution.to_env(model.distribution.mode(output)))
        after = torch.cat([deter, classes + 1.0, action], 1)
        return Decision(preference, model.values(features), features, after)
