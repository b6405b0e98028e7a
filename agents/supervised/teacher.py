"""An agent as a teacher: its actions, or its whole distribution over them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gymnast.agents.base import Agent, ConfiguredAgent
from gymnast.agents.prediction import predict
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.layers.inputs import Obs


@runtime_checkable
class _Policy(Protocol):
    network: nn.Module
    distribution: Distribution


@runtime_checkable
class _ActionValues(Protocol):
    def q_values(self, obs: Obs) -> Tensor: ...


class Teacher:
    """A trained agent without memory over the same observations and actions as the data.

    Raises:
        ValueError: other spaces, or a recurrent agent, whose actions depend on earlier observations.
    """

    def __init__(self, agent: Agent, observation_space: Any, action_space: Any) -> None:
        for kind, theirs, ours in (
            ("observations", agent.observation_space, observation_space),
            ("actions", agent.action_space, action_space),
        ):
            if theirs != ours:
                raise ValueError(f"the teacher has {kind} {_line(theirs)}, and the data {_line(ours)}")
        config = agent.config if isinstance(agent, ConfiguredAgent) else None
        if getattr(config, "recurrent", "none") != "none":
            raise ValueError("a recurrent teacher cannot label single observations")
        self.agent = agent

    def actions(self, obs: Obs) -> Tensor:
        """The agent's greedy actions [B, ...] in its action space."""
        return torch.as_tensor(predict(self.agent, _arrays(obs)))

    @torch.no_grad()
    def outputs(self, obs: Obs, temperature: float) -> Tensor:
        """Its distribution as the inputs [B, P] of one: logits over the temperature, of action values if it has those.

        Raises:
            ValueError: an agent without either.
        """
        if isinstance(self.agent, _ActionValues):
            return self.agent.q_values(obs) / temperature
        if isinstance(self.agent, _Policy):
            output: Tensor = self.agent.network(obs)[0]
            return output if self.agent.distribution.scales else output / temperature
        raise ValueError(f"distillation needs a policy or action values, which {type(self.agent).__name__} lacks")

    @property
    def parameters(self) -> int:
        """Parameters of the network that acts."""
        network = getattr(self.agent, "online", getattr(self.agent, "network", None))
        return acting_parameters(network) if isinstance(network, nn.Module) else 0


def acting_parameters(network: nn.Module) -> int:
    """Parameters that an action depends on: of a policy with a value all but those of the value."""
    left_out = ("critic.", "value.") if isinstance(network, ActorCriticNetwork) else ()
    return sum(value.numel() for name, value in network.named_parameters() if not name.startswith(left_out))


def _arrays(obs: Obs) -> Any:
    if isinstance(obs, dict):
        return {key: _arrays(part) for key, part in obs.items()}
    return obs.cpu().numpy()


def _line(space: object) -> str:
    return " ".join(str(space).split())
