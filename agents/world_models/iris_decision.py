"""The decision of an IRIS agent, differentiable in the observation."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gymnast.agents.base import Decision
from gymnast.agents.world_models.iris_config import IrisConfig
from gymnast.agents.world_models.iris_model import IrisModel
from gymnast.agents.world_models.preferences import meaning, preferred
from gymnast.envs.step import Obs


class _HasCodes(Protocol):
    model: IrisModel
    config: IrisConfig


class DecidesByCodes:
    """Gives an IRIS agent the members of `DecidingAgent`.

    The policy sees what the decoder makes of the nearest codes. Their gradient passes to the encoder's vectors
    unchanged.
    """

    discrete = "codes"

    @property
    def decision_network(self: _HasCodes) -> nn.Module:
        """The way from the observation to the action; the transformer only imagines."""
        tokenizer, policy = self.model.tokenizer, self.model.policy
        parts = {"encoder": tokenizer.backbone, "codes": tokenizer.latent, "decoder": tokenizer.decoder}
        return nn.ModuleDict({**parts, "trunk": policy.layers, "policy": policy.policy, "value": policy.value})

    @property
    def decision_memory(self: _HasCodes) -> int:
        return self.model.policy.memory_size

    @property
    def preferences(self: _HasCodes) -> str:
        return meaning(self.model.distribution)

    def decide(self: _HasCodes, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """Logits or means, and the value; the features are the LSTM's output."""
        model, policy = self.model, self.model.policy
        embedded, _ = model.tokenizer.quantised(model.tokenizer.latents(obs))
        seen = model.shown(embedded)
        before = seen.new_zeros(len(seen), policy.memory_size) if memory is None else memory
        hidden, after = policy.core.step(policy.features(seen), before)
        output = model.distribution.masked(policy.policy(hidden), action_mask if self.config.action_masks else None)
        preference = preferred(model.distribution, output)
        return Decision(preference, policy.value(hidden).squeeze(1), hidden, after)
