"""The settings of a population: unsupported options, settings that may vary between members, and current values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.networks.distributions.choices import Categorical
from gymnast.networks.distributions.distributions import Distribution
from gymnast.networks.distributions.gaussians import Gaussian

WEIGHTS = {"weight_penalty": "none", "max_norm": None, "weight_decay": 0.0}
ENCODER = {"encoder": "", "freeze_encoder": False, "encoder_learning_rate": None}
"""Settings of an encoder, when off."""
REFUSED: dict[type[Any], dict[str, Any]] = {
    ActorCriticConfig: {
        "recurrent": "none",
        "intrinsic": "none",
        "advantage": "gae",
        "target_kl": None,
        "life_loss": False,
        "workers": 0,
        "auxiliary": "none",
        "bf16": False,
        "gail": "",
        "reward_model": "",
        **ENCODER,
        **WEIGHTS,
    },
    PQNConfig: {"life_loss": False, "bf16": False, "intrinsic": "none", **ENCODER, **WEIGHTS},
    DQNConfig: {
        "recurrent": "none",
        "shared_bias": False,
        "bootstrap_heads": 0,
        "reset_period": 0,
        "anneal_steps": 0,
        "augment": "none",
        "act_by_target": False,
        "actors": 0,
        "intrinsic": "none",
        "life_loss": False,
        "bf16": False,
        "auxiliary": "none",
        **ENCODER,
        **WEIGHTS,
    },
    OffPolicyActorCriticConfig: {
        "recurrent": "none",
        "target_network": True,
        "target_subset": None,
        "dropout": 0.0,
        "augment": "none",
        "hindsight": "none",
        "optimizer_beta1": None,
        "compile": False,
        "cuda_graphs": False,
        "bf16": False,
        **ENCODER,
    },
}
"""Settings that a population does not support, by the class of its config, and their values when off."""
WHOLE = ("target_period",)
"""Settings that may vary and are whole numbers."""
LOGGED = ("epsilon", "learning_rate", "clip", "entropy_coef")
"""Settings that are logged if they are the same for all members."""


def check_config(config: Any) -> None:
    """Raise ValueError for options that no population supports."""
    for name, off in REFUSED[type(config)].items():
        if getattr(config, name) != off:
            supported = "" if off == "" else f", which supports only {name} {off}"
            raise ValueError(f"{name} {getattr(config, name)} cannot be used in a population{supported}")
    if isinstance(config, ActorCriticConfig) and config.natural:
        raise ValueError(
            f"policy_loss {config.policy_loss} cannot be used in a population, which supports only clipped and plain"
        )
    if isinstance(config, OffPolicyActorCriticConfig) and "batch-renorm" in (config.critic_norm, config.policy_norm):
        raise ValueError("batch-renorm cannot be used in a population, whose networks have no running statistics")
    if isinstance(config, DQNConfig) and config.target_period == 0:
        raise ValueError("target_period 0 cannot be used in a population, which needs a number of env steps")


def check(
    config: Any,
    vary: Mapping[str, Sequence[float]],
    varied: Sequence[str],
    *,
    members: int,
    device: torch.device,
) -> None:
    """Raise ValueError for settings that populations do not support; those of `varied` may differ between members."""
    if members < 1:
        raise ValueError("a population needs at least one seed")
    check_config(config)
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")
    for name, values in vary.items():
        if name not in varied:
            raise ValueError(f"{name} cannot vary between members; {', '.join(varied)} can")
        if len(values) != members:
            raise ValueError(f"{name} needs {members} numbers, one per member, got {len(values)}")


def check_distribution(distribution: Distribution) -> None:
    """Raise ValueError for actions whose distribution no population supports."""
    if not isinstance(distribution, Categorical | Gaussian):
        raise ValueError("a population needs Discrete or Box actions")


class MemberSettings:
    """The schedules of settings that all members share, and the numbers of each member, which its loss reads.

    `now` holds every setting by its name, each [M] in the same memory, the learning rate [M, 1].
    """

    def __init__(
        self,
        values: Mapping[str, ScheduleLike],
        vary: Mapping[str, Sequence[float]],
        *,
        members: int,
        device: torch.device,
    ) -> None:
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
        return {name: self.schedules[name](step) for name in LOGGED if name in self.schedules}
