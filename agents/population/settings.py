"""The settings of a population: unsupported options, settings that may vary between members, and current values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.schedules import schedule
from gymnast.networks.distributions.choices import Categorical
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.distributions.gaussians import Gaussian

VARIED = ("learning_rate", "gamma", "gae_lambda", "entropy_coef", "clip")
"""Settings that may differ between the members of a population."""
REFUSED = {
    "recurrent": "none",
    "intrinsic": "none",
    "advantage": "gae",
    "target_kl": None,
    "life_loss": False,
    "workers": 0,
}
"""Settings that a population does not support, and their values when off."""


def check(
    config: ActorCriticConfig,
    distribution: Distribution,
    vary: Mapping[str, Sequence[float]],
    *,
    members: int,
    samples: int,
    device: torch.device,
) -> None:
    """Raise ValueError for settings that populations do not support; `samples` is the number of a member's rollout."""
    if members < 1:
        raise ValueError("a population needs at least one seed")
    for name, off in REFUSED.items():
        if getattr(config, name) != off:
            raise ValueError(
                f"{name} {getattr(config, name)} cannot be used in a population, which supports only {name} {off}"
            )
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")
    if not isinstance(distribution, Categorical | Gaussian):
        raise ValueError("a population needs Discrete or Box actions")
    if config.minibatches > samples:
        raise ValueError(f"minibatches must be <= {samples}, the samples of a rollout, got {config.minibatches}")
    for name, values in vary.items():
        if name not in VARIED:
            raise ValueError(f"{name} cannot vary between members; {', '.join(VARIED)} can")
        if len(values) != members:
            raise ValueError(f"{name} needs {members} numbers, one per member, got {len(values)}")


class MemberSettings:
    """The schedules of settings that all members share, and the numbers of each member, which its loss reads.

    `now` holds every setting of `VARIED` and value_clip, each [M] in the same memory, the learning rate [M, 1].
    """

    def __init__(
        self, config: ActorCriticConfig, vary: Mapping[str, Sequence[float]], *, members: int, device: torch.device
    ) -> None:
        values = {name: getattr(config, name) for name in VARIED} | {"value_clip": config.value_clip or 0.0}
        self.schedules = {name: schedule(value, name=name) for name, value in values.items() if name not in vary}
        self.now: dict[str, Tensor] = {}
        for name in values:
            numbers = vary[name] if name in vary else [self.schedules[name](0)] * members
            self.now[name] = torch.tensor(numbers, dtype=torch.float32, device=device)
        self.now["learning_rate"] = self.now["learning_rate"].unsqueeze(1)

    def rate(self, step: int) -> float | Tensor:
        """The learning rate of all members at an env step, or one for each if they differ."""
        name = "learning_rate"
        return self.schedules[name](step) if name in self.schedules else self.now[name]

    def update(self, step: int) -> None:
        """Set the scheduled settings to their values at an env step of each member."""
        for name, value in self.schedules.items():
            self.now[name].fill_(value(step))

    def scheduled(self, step: int) -> dict[str, float]:
        """The settings to log: those that are the same for all members."""
        names = ("learning_rate", "clip", "entropy_coef")
        return {name: self.schedules[name](step) for name in names if name in self.schedules}
