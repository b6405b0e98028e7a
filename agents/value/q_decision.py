"""The decision of a network of action values, with its exact gradient."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gymnast.agents.base import Decision
from gymnast.envs.step import Obs
from gymnast.networks.distributions.choices import BLOCKED
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.heads.recurrent_q import RecurrentQNetwork


def q_decision(
    network: QNetwork, q: Callable[[Tensor], Tensor], obs: Obs, memory: Tensor | None, mask: Tensor | None
) -> Decision:
    """Action values as preferences; `q` takes outputs [N, A, K] to values [N, A]. The state's value is the largest one.

    Some heads scale the gradient that enters the features; here that is undone.
    """
    features: Tensor = network.backbone(obs)
    if isinstance(network, RecurrentQNetwork):
        before = features.new_zeros(len(features), network.memory_size) if memory is None else memory
        features, memory = network.core.step(features, before)
    factor = 1.0 / network.head.gradient_scale - 1.0  # type: ignore[operator]
    exact = features + factor * (features - features.detach()) if factor else features
    values = q(network.outputs(obs, exact))  # [N, A]
    preference = values if mask is None else values.masked_fill(~mask, BLOCKED)
    return Decision(preference, preference.amax(1), features, memory)
