"""Settings of learned rewards."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from gymnast.agents.maths.adversarial import RewardForm
from gymnast.networks.build import NETWORKS

Regulariser = Literal["auto", "none", "gradient", "r1", "spectral"]
PENALTIES = ("gradient", "r1")
"""Regularisers that penalise gradients."""


@dataclass(frozen=True)
class LearnedRewardConfig:
    """The settings of every agent that can learn from learned rewards."""

    gail: str = field(default="", metadata={"metavar": "DATASET"})
    """Data set of expert episodes to imitate: a discriminator's reward replaces the environment's (Ho & Ermon 2016)."""
    gail_episodes: int | None = None
    """Episodes of the data set to imitate, the first ones. Default: all."""
    gail_reward: RewardForm = "positive"
    """Reward from the discriminator: positive, -log(1 - D); negative, log D; or airl, their sum (Fu et al. 2018)."""
    gail_absorbing: bool = True
    """Learn the reward of having ended too (Kostrikov et al. 2019); without it, positive rewards favour long episodes
    and negative ones short episodes."""
    gail_updates: int = 4
    """Updates of the discriminator per rollout, before its rewards are computed."""
    gail_batch_size: int = 256
    """Transitions of the expert, and as many of the policy, in an update of the discriminator."""
    gail_learning_rate: float = 3e-4
    """Step size of the discriminator, whose optimizer is Adam."""
    gail_regulariser: Regulariser = "auto"
    """Regulariser of the discriminator: gradient (penalty, Gulrajani et al. 2017), r1 (Mescheder et al. 2018),
    spectral (normalisation, Miyato et al. 2018) or none; auto is gradient for Box observations, else spectral."""
    gail_penalty: float = 10.0
    """Weight of the gradient penalty, or of r1."""
    gail_network: str = "auto"
    """Network of the discriminator below its head: auto, or a name from gymnast list networks."""
    gail_hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers of the discriminator's network. Default: the network's."""
    gail_digest: int | None = field(default=None, metadata={"flag": False})
    """Digest of the data set, which its run writes here: with another data set it is not resumed."""
    reward_model: str = field(default="", metadata={"metavar": "RUN"})
    """Run of gymnast fit reward whose predictions replace the environment's rewards."""
    reward_network: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """The network of the reward model, which its run writes here: with it the model's run is not needed."""

    def check_learned_reward(self) -> None:
        """Raise ValueError for settings that are not allowed or contradict each other."""
        object.__setattr__(self, "gail", str(self.gail))  # a Path, from Python
        object.__setattr__(self, "reward_model", str(self.reward_model))
        for name in ("gail_episodes", "gail_updates", "gail_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        for name in ("gail_learning_rate", "gail_penalty"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        for name, kind in (("gail_reward", RewardForm), ("gail_regulariser", Regulariser)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        for each in fields(LearnedRewardConfig):
            if each.name.startswith("gail_") and not self.gail and getattr(self, each.name) != each.default:
                raise ValueError(f"{each.name} needs gail DATASET, the episodes to imitate")
        self._check_gail_network()
        self._check_one_reward()

    def _check_gail_network(self) -> None:
        known = [name for name in NETWORKS if ":" not in name]
        if self.gail_network not in known:
            raise ValueError(f"gail_network must be one of {', '.join(known)}, got {self.gail_network!r}")
        if self.gail_hidden_sizes is not None and min(self.gail_hidden_sizes, default=1) < 1:
            raise ValueError(f"gail_hidden_sizes must be numbers >= 1, got {self.gail_hidden_sizes}")

    def _check_one_reward(self) -> None:
        if self.gail and self.reward_model:
            raise ValueError(f"gail {self.gail} cannot be combined with reward_model: each replaces the rewards")
        if self.gail_regulariser in ("none", "spectral") and self.gail_penalty != LearnedRewardConfig.gail_penalty:
            raise ValueError(
                f"gail_penalty {self.gail_penalty} has no effect: gail_regulariser is {self.gail_regulariser}"
            )
        name = "gail" if self.gail else "reward_model"
        source = getattr(self, name)
        if not source:
            return
        reasons = {
            "workers": "they share only the agent's own weights",
            "cuda_graphs": "it is not part of a recorded update",
        }
        for other, reason in reasons.items():
            if getattr(self, other, False):
                raise ValueError(f"{name} {source} cannot be combined with {other}: {reason}")
        if self.gail and self.gail_absorbing and getattr(self, "life_loss", False):
            raise ValueError("gail_absorbing cannot be combined with life_loss: data sets know no lives; turn one off")
        if self.gail and self.gail_absorbing and getattr(self, "gamma", 0.0) >= 1.0:
            raise ValueError(
                "gail_absorbing needs gamma below 1, because the reward of having ended comes forever; turn it off"
            )
