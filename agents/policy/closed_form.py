"""The compiled loss of an actor-critic between the two passes of its network, if both have the faster form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.optim.update import Gradient
from gymnast.agents.policy.loss import Coefficients, Slopes, categorical, gaussian
from gymnast.agents.samples import Behaviour, Samples
from gymnast.networks.distributions.distributions import Categorical, Distribution, Gaussian
from gymnast.networks.fast.policy_backward import PlainActorCritic

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig

KERNELS: dict[type[Distribution], Callable[..., tuple[float, ...]]] = {
    Categorical: categorical,
    Gaussian: gaussian,
}


class ClosedForm:
    """Writes the gradient of `ActorCritic.loss` for a minibatch, and returns its other results."""

    def __init__(
        self, plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: Mapping[str, Tensor]
    ) -> None:
        self.plain, self.distribution, self.config, self.now = plain, distribution, config, now
        self.kernel = KERNELS[type(distribution)]

    def __call__(self, batch: Samples, noise: Tensor | None) -> tuple[Tensor, Metrics]:
        losses, by, log_ratio = tuple[float, ...](), self._coefficients(), torch.empty(len(batch.weight))
        old = Behaviour(*(field.numpy() for field in batch.old))  # type: ignore[arg-type]

        def slopes(output: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal losses
            if batch.mask is not None:
                output = self.distribution.masked(output, batch.mask)
            grads = torch.empty_like(output), torch.empty_like(value)
            written = Slopes(*(part.numpy() for part in (*grads, log_ratio)))
            losses = self.kernel(
                output.numpy(), value.numpy(), batch.raw.numpy(), old, batch.weight.numpy(), by, written
            )
            return grads

        self.plain.learn(batch.obs, slopes)
        names = ("loss", "policy_loss", "value_loss", "entropy")
        numbers = torch.from_numpy(np.array(losses, np.float32)).unbind(0)
        return log_ratio, dict(zip(names, numbers, strict=True))

    def _coefficients(self) -> Coefficients:
        """The current coefficients of the loss."""
        config, now = self.config, self.now
        return Coefficients(
            clip=float(now["clip"]) if config.policy_loss == "clipped" else -1.0,
            value_clip=-1.0 if config.value_clip is None else float(now["value_clip"]),
            value_coef=config.value_coef,
            entropy_coef=float(now["entropy_coef"]),
            normalise=config.normalise_advantages,
        )


def closed_form(
    plain: PlainActorCritic, distribution: Distribution, config: ActorCriticConfig, now: Mapping[str, Tensor]
) -> Gradient | None:
    """A `ClosedForm` if the distribution has one and there is one value; None if autograd is needed."""
    fits = type(distribution) in KERNELS and plain.network.value.out_features == 1
    return ClosedForm(plain, distribution, config, now) if fits else None
