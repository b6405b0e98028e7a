"""An actor-critic's estimates and gradients from compiled functions, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.optim.update import Gradient
from gymnast.agents.policy import actor_critic_kernels as kernels
from gymnast.agents.samples import Samples
from gymnast.networks.distributions.distributions import Categorical, Distribution, Gaussian
from gymnast.networks.fast.policy_backward import PlainActorCritic
from gymnast.replay.rollout import Rollout

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig

KERNELS: dict[type[Distribution], Callable[..., tuple[float, ...]]] = {
    Categorical: kernels.categorical,
    Gaussian: kernels.gaussian,
}


def estimated(rollout: Rollout, reward: Tensor, last_value: Tensor, config: ActorCriticConfig) -> tuple[Tensor, Tensor]:
    """`Samples.numbers` of a rollout's steps, [T, N, 5], and the explained variance []; one value, by GAE."""
    fields = rollout.fields
    of_steps = (reward, fields["value"], last_value, fields["final_value"])
    rewards, values, last_values, final_values = (part[..., 0].numpy() for part in of_steps)
    numbers, explained = kernels.estimate(
        rewards,
        fields["terminated"].numpy(),
        fields["ended"].numpy(),
        values,
        last_values,
        final_values,
        fields["log_prob"].numpy(),
        rollout.weight.numpy(),
        config.gamma,
        config.gae_lambda,
    )
    return torch.from_numpy(numbers), torch.tensor(explained)


class ClosedForm:
    """Writes the gradient of `ActorCritic.loss` for a minibatch, and gives what the loss gives beside it."""

    def __init__(
        self, plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: dict[str, Tensor]
    ) -> None:
        self.plain, self.distribution, self.config, self.now = plain, distribution, config, now
        self.kernel = KERNELS[type(distribution)]

    def __call__(self, batch: Samples, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        config, losses = self.config, tuple[float, ...]()
        clip, value_clip, entropy_coef = (float(self.now[name]) for name in ("clip", "value_clip", "entropy_coef"))
        log_ratio = torch.empty(len(batch.numbers))

        def slopes(output: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal losses
            if batch.mask is not None:
                output = self.distribution.masked(output, batch.mask)
            output_grad, value_grad = torch.empty_like(output), torch.empty_like(value)
            losses = self.kernel(
                output.numpy(),
                value.numpy()[:, 0],
                batch.raw.numpy(),
                batch.numbers.numpy(),
                clip if config.policy_loss == "clipped" else -1.0,
                -1.0 if config.value_clip is None else value_clip,
                config.value_coef,
                entropy_coef,
                config.normalise_advantages,
                output_grad.numpy(),
                value_grad.numpy()[:, 0],
                log_ratio.numpy(),
            )
            return output_grad, value_grad

        self.plain.learn(batch.obs, slopes)
        names = ("loss", "policy_loss", "value_loss", "entropy")
        numbers = torch.from_numpy(np.array(losses, np.float32)).unbind(0)
        return log_ratio, dict(zip(names, numbers, strict=True))


def closed_form(
    plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: dict[str, Tensor]
) -> Gradient | None:
    """A `ClosedForm` where the distribution has one and there is one value; None where autograd is to do it."""
    fits = type(distribution) in KERNELS and plain.network.value.out_features == 1
    return ClosedForm(plain, distribution, config, now) if fits else None
