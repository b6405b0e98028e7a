"""The decision of a policy's network, differentiable in the observation."""

from __future__ import annotations

from torch import Tensor

from gymnast.agents.base import Decision
from gymnast.envs.step import Obs
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork


def policy_decision(
    network: ActorCriticNetwork,
    distribution: Distribution,
    obs: Obs,
    memory: Tensor | None,
    mask: Tensor | None,
    *,
    has_value: bool,
) -> Decision:
    """Logits, or the means of a Gaussian, as preferences; the features are the actor's."""
    features, output, value, memory = network.decided(obs, memory)
    if mask is not None:
        output = distribution.masked(output, mask)
    return Decision(output[:, : distribution.outputs], value[:, 0] if has_value else None, features, memory)


def preferences(distribution: Distribution) -> str:
    """What the preferences are, in words."""
    return "mean of the action" if distribution.dtype.is_floating_point else "logit"
