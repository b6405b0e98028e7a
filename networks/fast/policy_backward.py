"""An actor-critic of fully connected layers with its backward pass written out, and its acting compiled.

The gradients are autograd's: on the CPU small networks spend their time on bookkeeping, and torch's tanh takes seven
times as long as NumPy's. Every other network uses autograd.

Gain over autograd and torch's forward pass, `python benchmarks/fast.py`: PPO's gradient, with the loss in closed form,
2.5 to 3.4 times, by machine; acting in eight rows 3.2 to 3.4 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.fast.compiled_mlp import LINEAR, RELU, TANH, Layers, forward_both, layers_of, widest
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.q_backward import PlainLinear, relu_backward
from gymnast.networks.heads.actor_critic import ActorCriticNetwork, Trunk
from gymnast.networks.layers.inputs import Obs

Array = NDArray[Any]
Slopes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps outputs [B, P + scales] and values [B, V] to the loss's gradients by them."""
FEW = 500_000
"""Rows times parameters up to which compiled acting is faster than torch's."""
tanh_backward = torch.ops.aten.tanh_backward.default


class PlainTrunk:
    """Fully connected layers, each with its activation: float32 [B, D] to [B, H]."""

    def __init__(self, layers: nn.ModuleList, activation: str, flat: FlatParameters) -> None:
        self.modules: list[nn.Linear] = list(layers)  # type: ignore[arg-type]
        self.layers = [PlainLinear(layer, flat) for layer in self.modules]
        self.tanh = activation == "tanh"

    def __call__(self, obs: Tensor) -> list[Tensor]:
        """The observations and the output of each layer."""
        kept = [obs]
        for layer in self.layers:
            features = layer(kept[-1])
            if self.tanh:
                array = features.numpy()
                np.tanh(array, out=array)
            else:
                features.relu_()
            kept.append(features)
        return kept

    def backward(self, kept: list[Tensor], grad: Tensor) -> None:
        """Write the gradients of all layers, given that of the last one's output."""
        for number in reversed(range(len(self.layers))):
            grad = tanh_backward(grad, kept[number + 1]) if self.tanh else relu_backward(grad, kept[number + 1], 0)
            further = self.layers[number].backward(kept[number], grad, further=number > 0)
            if further is not None:
                grad = further

    def compiled(self, head: nn.Linear, weights: Array) -> Layers:
        """These layers and a head after them for compiled code."""
        activation = TANH if self.tanh else RELU
        return layers_of(weights, [*((layer, activation) for layer in self.modules), (head, LINEAR)])


class PlainActorCritic:
    """Computes `network(obs)`; a backward pass writes into the flat gradient.

    Unlike autograd it overwrites gradients instead of adding to them (except for the log standard deviations): one
    forward and one backward pass per update.
    """

    def __init__(self, network: ActorCriticNetwork, flat: FlatParameters) -> None:
        self.network, self.flat = network, flat
        self.actor, self.critic = _trunk(network.actor, flat), None
        if network.critic is not None:
            self.critic = _trunk(network.critic, flat)
        self.policy, self.value = PlainLinear(network.policy, flat), PlainLinear(network.value, flat)
        weights = flat.data.numpy()
        of_critic = self.actor if self.critic is None else self.critic
        self.compiled = self.actor.compiled(network.policy, weights), of_critic.compiled(network.value, weights)
        """The layers of outputs and of values, for compiled code; without log standard deviations."""
        self._heads = network.policy, network.value
        self._width = widest(*self.compiled)
        flat.added = flat.grad[: 0 if network.log_std is None else network.log_std.numel()]  # the first parameter

    def __call__(self, obs: Obs) -> tuple[Tensor, Tensor]:
        seen = self.network.seen(obs)
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output, value = _Apply.apply(self.flat.parameter, seen, self)  # type: ignore[no-untyped-call]
        else:
            _, _, output, value = self.forward(seen)
        return self.network.with_scales(output), value

    def forward(self, seen: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """The saved tensors of both trunks, outputs and values."""
        of_actor = self.actor(seen)
        of_critic = of_actor if self.critic is None else self.critic(seen)
        return of_actor, of_critic, self.policy(of_actor[-1]), self.value(of_critic[-1])

    def write_gradients(
        self, of_actor: list[Tensor], of_critic: list[Tensor], policy_grad: Tensor, value_grad: Tensor
    ) -> None:
        """Backpropagate the gradients of outputs [B, P] and values [B, V]."""
        grad = self.policy.backward(of_actor[-1], policy_grad, further=True)
        other = self.value.backward(of_critic[-1], value_grad, further=True)
        assert grad is not None
        assert other is not None
        if self.critic is None:
            grad = grad + other
        else:
            self.critic.backward(of_critic, other)
        self.actor.backward(of_actor, grad)

    @torch.no_grad()
    def learn(self, obs: Obs, slopes: Slopes) -> None:
        """One forward and one backward pass; `slopes` returns the loss's gradients by outputs and values."""
        of_actor, of_critic, output, value = self.forward(self.network.seen(obs))
        policy_grad, value_grad = slopes(self.network.with_scales(output), value)
        log_std = self.network.log_std
        if log_std is not None:
            torch.sum(policy_grad[:, output.shape[1] :], 0, out=self.flat.gradient(log_std))
            policy_grad = policy_grad[:, : output.shape[1]]
        self.write_gradients(of_actor, of_critic, policy_grad, value_grad)

    def act(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """The result of a call without gradients, faster for few rows."""
        seen = self.network.seen(obs)
        if len(seen) * self.flat.data.numel() > FEW:
            _, _, output, value = self.forward(seen)
        else:
            output, value = (seen.new_empty(len(seen), layer.out_features) for layer in self._heads)
            both = seen.numpy(), output.numpy(), value.numpy()
            forward_both(*self.compiled, *both, np.empty((2, self._width), np.float32))
        return self.network.with_scales(output), value


class _Apply(torch.autograd.Function):
    """Puts a `PlainActorCritic` into autograd's graph, so that any loss may follow it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, seen: Tensor, plain: PlainActorCritic) -> tuple[Tensor, Tensor]:
        ctx.of_actor, ctx.of_critic, output, value = plain.forward(seen)
        ctx.plain = plain
        return output, value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.plain.write_gradients(ctx.of_actor, ctx.of_critic, *grads)
        return None, None, None


def _trunk(trunk: Trunk, flat: FlatParameters) -> PlainTrunk:
    assert isinstance(trunk.backbone, MLP)
    return PlainTrunk(trunk.backbone.layers, trunk.backbone.activation, flat)


def plain_policy(network: ActorCriticNetwork, flat: FlatParameters) -> PlainActorCritic | None:
    """The faster form, if the network is one of tanh or ReLU layers over a flat Box of floats on the CPU."""
    trunks = [network.actor] if network.critic is None else [network.actor, network.critic]
    fits = all(
        trunk.core is None
        and type(trunk.backbone) is MLP
        and trunk.backbone.vector.is_identity
        and trunk.backbone.is_plain
        and trunk.backbone.norm == "none"
        and trunk.backbone.activation in ("tanh", "relu")
        for trunk in trunks
    )
    parameters = list(network.parameters())
    learns = all(parameter.dtype == torch.float32 and parameter.grad is not None for parameter in parameters)
    return PlainActorCritic(network, flat) if fits and learns and flat.data.device.type == "cpu" else None
