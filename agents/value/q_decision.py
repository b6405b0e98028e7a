"""The decision of a network of action values, with its exact gradient."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gymnast.agents.base import Decision
from gymnast.agents.maths.td import allowed
from gymnast.agents.prediction import GreedyPolicy
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.ensemble import EnsembleValues, votes
from gymnast.agents.value.values import Values
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


class GreedyQ(GreedyPolicy):
    """The allowed action with the largest action value; `q` takes outputs [N, A, K] and a mask to values [N, A]."""

    def __init__(
        self,
        network: QNetwork,
        q: Callable[[Tensor, Tensor | None], Tensor],
        *,
        takes_masks: bool,
        first_action: int,
    ) -> None:
        super().__init__()
        self.network, self.q, self.takes_masks, self.first_action = network, q, takes_masks, first_action
        if isinstance(network, RecurrentQNetwork):
            self.memory_size = network.memory_size

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        mask = action_mask if self.takes_masks else None
        if isinstance(self.network, RecurrentQNetwork):
            assert memory is not None
            output, memory = self.network.step(obs, memory)
        else:
            output = self.network(obs)
        preference = self.q(output, mask)
        return allowed(preference, mask).argmax(1) + self.first_action, preference, memory


def greedy_q(network: QNetwork, values: Values | EnsembleValues, config: DQNConfig, *, first_action: int) -> GreedyQ:
    """The greedy policy of DQN: by the votes of bootstrapped heads if the agent is evaluated by them."""

    def q(output: Tensor, mask: Tensor | None) -> Tensor:
        if isinstance(values, EnsembleValues) and config.bootstrap_vote:
            return votes(values.of_heads(output), mask)
        return values.q(output)

    return GreedyQ(network, q, takes_masks=config.action_masks, first_action=first_action)
