"""An actor-critic of fully connected layers with both passes compiled, for a batch and for acting.

The gradients are autograd's: on the CPU small networks spend their time on bookkeeping. Every other network uses
autograd.

Gain over the same passes as calls of torch around the compiled loss, CPU time of a whole update on one thread: PPO 1.9
to 2.3 times, A2C 1.7 to 2.0. `python benchmarks/fast.py` compares with autograd; acting in eight rows is 3.2 to 3.4
times as fast as torch's forward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.networks.fast.batch_net import FORWARD, LEARNING, BatchNet, learns_here, mlp_layers
from gymnast.networks.fast.columns import gather
from gymnast.networks.fast.compiled_mlp import LINEAR, Layer, forward_both, layers_of, offset_of, widest
from gymnast.networks.fast.compiling import kernel
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.policy_passes import PolicyNet, policy_backward, policy_forward, slopes_of
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.layers.inputs import Obs

Array = NDArray[Any]
FEW = 500_000
"""Rows times parameters up to which acting row by row is faster than torch's."""


class PlainActorCritic:
    """Computes `network(obs)`; a backward pass writes into the flat gradient.

    Unlike autograd it overwrites gradients instead of adding to them: one forward and one backward pass per update.
    """

    def __init__(
        self, network: ActorCriticNetwork, actor: list[Layer], critic: list[Layer] | None, flat: FlatParameters
    ) -> None:
        self.network, self.flat = network, flat
        heads = [Layer(head, LINEAR) for head in (network.policy, network.value)]
        layers = [*actor, *heads] if critic is None else [*actor, heads[0], *critic, heads[1]]
        scales = 0 if network.log_std is None else network.log_std.numel()
        outputs, values = network.policy.out_features, network.value.out_features
        self._batch = batch = BatchNet(layers, flat, outputs=2 * (outputs + scales) + values)
        self._net = PolicyNet(
            batch.address,
            trunk=len(actor) if critic is None else 0,
            policy=len(actor) + 1,
            layers=len(layers),
            outputs=outputs,
            values=values,
            scales=scales,
            log_std=0 if network.log_std is None else offset_of(flat.data.numpy(), network.log_std),
            inputs=batch.inputs,
            spare=batch.spare,
            other=batch.other,
        )
        chains = [*actor, heads[0]], [*(actor if critic is None else critic), heads[1]]
        weights = flat.data.numpy()
        self.compiled = layers_of(weights, chains[0]), layers_of(weights, chains[1])
        """The layers of outputs and of values, for compiled code; without log standard deviations."""
        self._width = widest(*self.compiled)
        flat.added = flat.grad[:0]

    def reserve(self, samples: int, *, products: int = FORWARD) -> PolicyNet:
        """The network for compiled code, with memory for a batch."""
        self._batch.reserve(samples, products)
        return self._net

    def __call__(self, obs: Obs) -> tuple[Tensor, Tensor]:
        seen = self.network.seen(obs)
        if torch.is_grad_enabled() and self.flat.parameter.requires_grad:
            output, value = _Apply.apply(self.flat.parameter, seen, self)  # type: ignore[no-untyped-call]
            return output, value
        return self._few(seen) if len(seen) * self.flat.data.numel() < FEW else self.forward(seen)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, P + scales] and values [B, V], for the backward pass of the same batch."""
        output, value = _forward(self.reserve(len(seen)), seen.contiguous().numpy())
        return torch.from_numpy(output), torch.from_numpy(value)

    def write_gradients(self, by_output: Tensor, by_value: Tensor) -> None:
        """Backpropagate the gradients of outputs [B, P + scales] and values [B, V]."""
        self._batch.reserve(len(by_output), LEARNING - FORWARD)
        _backward(self._net, by_output.contiguous().numpy(), by_value.contiguous().numpy())

    def _few(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` for acting, row by row."""
        network = self.network
        output, value = (seen.new_empty(len(seen), head.out_features) for head in (network.policy, network.value))
        both = seen.numpy(), output.numpy(), value.numpy()
        forward_both(*self.compiled, *both, np.empty((2, self._width), np.float32))
        return network.with_scales(output), value


class _Apply(torch.autograd.Function):
    """Puts a `PlainActorCritic` into autograd's graph, so that any loss may follow it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, seen: Tensor, plain: PlainActorCritic) -> tuple[Tensor, Tensor]:
        ctx.plain = plain
        return plain.forward(seen)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None]:
        ctx.plain.write_gradients(*grads)
        return None, None, None


@kernel
def _forward(policy: PolicyNet, seen: Array) -> tuple[Array, Array]:
    samples = len(seen)
    gather(policy.net, policy.inputs, seen, np.arange(samples))
    output, value = policy_forward(policy, samples)
    return output.copy(), value.copy()


@kernel
def _backward(policy: PolicyNet, by_output: Array, by_value: Array) -> None:
    samples = len(by_output)
    slopes = slopes_of(policy, samples)
    for row in range(samples):
        for column in range(by_output.shape[1]):
            slopes[0][row, column] = by_output[row, column]
        for column in range(by_value.shape[1]):
            slopes[1][row, column] = by_value[row, column]
    policy_backward(policy, samples)


def plain_policy(network: ActorCriticNetwork, flat: FlatParameters) -> PlainActorCritic | None:
    """The faster form, if the network is one of tanh or ReLU layers over a flat Box of floats on the CPU."""
    trunks = [network.actor] if network.critic is None else [network.actor, network.critic]
    if not learns_here(network) or any(trunk.core is not None for trunk in trunks):
        return None
    actor, critic = mlp_layers(network.actor.backbone), None
    if network.critic is not None and (critic := mlp_layers(network.critic.backbone)) is None:
        return None
    return None if actor is None else PlainActorCritic(network, actor, critic, flat)
