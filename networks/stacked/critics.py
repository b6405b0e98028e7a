"""Critics and policies of many agents at once: each agent has its own row of parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.heads.members import Members
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.stacked.layers import Parts, StackedParameters, check_plain


class StackedCritics(StackedParameters):
    """Computes a `CriticNetwork`, of C critics on the observation itself, with M rows of parameters.

    `of` gives it rows; what it gives then takes what a `CriticNetwork` takes, with the rows of all agents in turn.

    Raises:
        ValueError: for an encoder with layers of its own, or critics with batch normalisation or dropout.
    """

    def __init__(self, network: CriticNetwork) -> None:
        if type(network.encoder) is not MLP or any(True for _ in network.encoder.parameters()):
            raise ValueError("a population needs a fully connected network: use network mlp")
        check_plain(network.encoder)
        super().__init__(network)
        self.vector: nn.Module = network.encoder.vector
        self.critics, self.choices, self.outputs = network.critics, network.choices, network.outputs

    def of(self, parameters: Tensor) -> CriticsOf:
        """The critics with parameters [M, P]."""
        return CriticsOf(self, parameters)


class CriticsOf:
    """Critics of M agents with their parameters, for B rows of each in turn."""

    def __init__(self, form: StackedCritics, parameters: Tensor) -> None:
        self.form, self.parts, self.agents = form, form.split(parameters), len(parameters)

    def features(self, obs: Obs) -> Tensor:
        """Observations [M * B, ...] to [M * B, F]."""
        features: Tensor = self.form.vector(obs)
        return features

    def __call__(self, features: Tensor, action: Tensor | None, *, frozen: bool = False, first: bool = False) -> Tensor:
        """Features [M * B, F], and actions [M * B, D] or None, to [C, M * B, A, K].

        With `frozen` no gradient reaches the parameters; `first` asks the first critic only.
        """
        seen = features if action is None else torch.cat([features, action], 1)
        parts = {name: part.detach() for name, part in self.parts.items()} if frozen else self.parts
        output = members(parts, "critics", self.form.critics, seen.view(self.agents, -1, seen.shape[1]), first=first)
        rows = output.transpose(0, 1).flatten(1, 2)  # [C, M * B, A * K]
        return rows.unflatten(2, (self.form.choices, self.form.outputs))  # type: ignore[no-any-return, no-untyped-call]


class StackedPolicies(StackedParameters):
    """Computes a `PolicyNetwork` with M rows of parameters."""

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__(network)
        self.layers = network.layers

    def of(self, parameters: Tensor) -> PoliciesOf:
        """The policies with parameters [M, P]."""
        return PoliciesOf(self, parameters)


class PoliciesOf:
    """Policies of M agents with their parameters, for B rows of each in turn."""

    def __init__(self, form: StackedPolicies, parameters: Tensor) -> None:
        self.form, self.parts, self.agents = form, form.split(parameters), len(parameters)

    def __call__(self, features: Tensor) -> Tensor:
        """Features [M * B, F] to a policy's outputs [M * B, P]."""
        own = features.view(self.agents, -1, features.shape[1])
        return members(self.parts, "layers", self.form.layers, own).squeeze(1).flatten(0, 1)


def members(parts: Parts, name: str, layers: Members, features: Tensor, *, first: bool = False) -> Tensor:
    """The `Members` of a name, C networks of each of M agents: features [M, B, F] to [M, C, B, outputs].

    `first` computes the first of the C networks only.
    """
    agents, count, last = len(features), 1 if first else layers.members, len(layers.weights) - 1

    def part(kind: str, number: int, more: str = "") -> Tensor:
        """[M * C, ...]"""
        return parts[f"{name}.{kind}.{number}{more}"][:, :count].flatten(0, 1)

    output = features.unsqueeze(1).expand(-1, count, -1, -1).flatten(0, 1)  # [M * C, B, F]
    for number in range(last + 1):
        weight, bias = part("weights", number), part("biases", number)
        output = torch.baddbmm(bias.unsqueeze(1), output, weight.transpose(1, 2))
        if number == last:
            break
        if layers.norm == "layer":
            scale, shift = (part("norms", number, more).unsqueeze(1) for more in (".weight", ".bias"))
            output = torch.addcmul(shift, functional.layer_norm(output, output.shape[2:]), scale)
        output = FUNCTIONS[layers.activation](output)
    return output.unflatten(0, (agents, count))  # type: ignore[no-any-return, no-untyped-call]
