"""Policies of off-policy actor-critics: what the outputs of their networks mean."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.maths.actor_critic import squashed_log_prob
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.networks.distributions.bounds import Bounds
from gymnast.networks.distributions.choices import BLOCKED

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""Bounds of the logarithm of the standard deviation before squashing (Haarnoja et al. 2018, published code)."""


class Choice(NamedTuple):
    """The actions of B observations that a policy takes, or might take."""

    action: Tensor | None
    """float32 [B, D], in [-1, 1]; None if critics value every choice at once."""
    probability: Tensor
    """[B, A]; A = 1 and probability 1 for an action."""
    log_prob: Tensor
    """[B, A], log-probability of each choice, or log-density of the action in [-1, 1]^D."""

    @property
    def entropy(self) -> Tensor:
        """Entropy [B] over the choices, or its estimate -log_prob."""
        return -(self.probability * self.log_prob).sum(1)


class Policy(Protocol):
    """The meaning of a policy network's outputs."""

    outputs: int
    """P, outputs of the network's last layer."""
    noise_size: int
    """D, standard normal numbers that an action takes; 0 for none."""

    def choose(self, output: Tensor, noise: Tensor | None, mask: Tensor | None = None) -> Choice:
        """The action of outputs [B, P], differentiable; `noise` [B, D] is standard normal, None for the mode."""
        ...

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        """The action [B, D] that `choose` gives, or int64 [B], the most probable choice."""
        ...


class SquashedNormal:
    """tanh of normal numbers, whose means and log standard deviations are the outputs (SAC, Haarnoja et al. 2018)."""

    def __init__(self, numbers: int) -> None:
        self.outputs, self.noise_size = 2 * numbers, numbers

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_std = output.chunk(2, 1)
        if noise is None:
            return mean.tanh()
        return torch.addcmul(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp(), noise).tanh()

    def choose(self, output: Tensor, noise: Tensor | None, mask: Tensor | None = None) -> Choice:
        mean, log_std = output.chunk(2, 1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        noise = torch.zeros_like(mean) if noise is None else noise
        raw = torch.addcmul(mean, log_std.exp(), noise)
        log_prob = squashed_log_prob(noise, log_std, raw).unsqueeze(1)
        return Choice(raw.tanh(), torch.ones_like(log_prob), log_prob)


class Deterministic:
    """tanh of the outputs; noise of a given deviation may be added, and is clipped (DDPG; TD3, Fujimoto et al. 2018).

    It has no density: the log-probability is 0.
    """

    def __init__(self, numbers: int, *, noise: float = 0.0, noise_clip: float = 0.0) -> None:
        self.outputs = self.noise_size = numbers
        self.noise, self.noise_clip = noise, noise_clip

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        action = output.tanh()
        if noise is None or not self.noise:
            return action
        return (action + (self.noise * noise).clamp(-self.noise_clip, self.noise_clip)).clamp(-1.0, 1.0)

    def choose(self, output: Tensor, noise: Tensor | None, mask: Tensor | None = None) -> Choice:
        action = self.act(output, noise)
        nothing = output.new_zeros(len(output), 1)
        return Choice(action, nothing + 1.0, nothing)


class Softmax:
    """Probabilities of the actions of a Discrete space, whose logits are the outputs (Christodoulou 2019)."""

    noise_size = 0

    def __init__(self, actions: int) -> None:
        self.outputs = actions

    def act(self, output: Tensor, noise: Tensor | None) -> Tensor:
        return output.argmax(1)

    def choose(self, output: Tensor, noise: Tensor | None, mask: Tensor | None = None) -> Choice:
        logits = output if mask is None else output.masked_fill(~mask, BLOCKED)
        log_prob = logits.log_softmax(1)
        return Choice(None, log_prob.exp(), log_prob)


def policy_of(
    space: gym.Space[Any], config: OffPolicyActorCriticConfig, *, device: torch.device
) -> tuple[Policy, Bounds | None]:
    """The policy of an action space, and the bounds of a Box.

    Raises:
        ValueError: a space that the config's policy or critics do not support.
    """
    if isinstance(space, spaces.Box):
        bounds = Bounds(space, device=device)
        if config.policy == "stochastic":
            return SquashedNormal(bounds.numbers), bounds
        smooth = {"noise": config.target_noise, "noise_clip": config.target_noise_clip}
        return Deterministic(bounds.numbers, **smooth), bounds
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"this agent needs Box or Discrete actions, got {space}; use ppo, or a wrapper")
    if config.policy == "deterministic":
        raise ValueError(f"policy deterministic needs Box actions, got {space}; use sac or dqn")
    if config.values == "quantile":
        raise ValueError(f"values quantile needs Box actions here, got {space}; use sac, qr-dqn or iqn")
    return Softmax(int(space.n)), None


def entropy_of(space: gym.Space[Any]) -> float:
    """Default of `target_entropy` in nats: Haarnoja et al. 2018b, appendix D; Christodoulou 2019, appendix B."""
    if isinstance(space, spaces.Discrete):
        return 0.98 * math.log(int(space.n))
    return -float(math.prod(space.shape or ()))
