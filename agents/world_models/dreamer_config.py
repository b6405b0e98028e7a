"""Dreamer's settings: sizes, replay, losses and periods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import ScheduleLike, schedule

SizeName = Literal["1m", "4m", "12m", "50m"]
Decoder = Literal["reconstruction", "none"]

COEFFICIENTS = ("entropy_coef", "free_nats", "dynamics_coef", "representation_coef", "replay_value_coef", "barlow_coef")


class Size(NamedTuple):
    """Widths of a model."""

    deter: int
    """Units of the recurrent state, in 8 blocks."""
    hidden: int
    """Units of the layers between the parts of the state."""
    classes: int
    """Classes of each of the 32 latents."""
    depth: int
    """Channels of the outermost convolution, divided by 2."""
    units: int
    """Units of the layers of encoder, decoder, heads, policy and value."""


SIZES: dict[str, Size] = {
    "1m": Size(512, 64, 4, 4, 64),
    "4m": Size(1024, 128, 8, 8, 128),
    "12m": Size(2048, 256, 16, 16, 256),
    "50m": Size(4096, 512, 32, 32, 512),
}


@dataclass(frozen=True)
class DreamerConfig:
    """DreamerV3 (Hafner et al. 2023): a latent world model, and an actor-critic that learns in its imagination."""

    size: SizeName = "12m"
    """Widths of all networks, by the approximate number of parameters."""
    decoder: Decoder = "reconstruction"
    """Learn latents by reconstructing observations, or without a decoder by redundancy reduction (R2-Dreamer 2026)."""
    train_ratio: int = 32
    """Replayed steps per env step; an update replays batch_size * sequence_length steps."""
    batch_size: int = 16
    """Sequences per update."""
    sequence_length: int = 64
    """Steps of a sequence."""
    sequence_period: int = 8
    """Steps between the starts of consecutive sequences; each start has a latent state in memory."""
    replay_size: int = 200_000
    """Slots of the replay; an episode takes one per action and one more."""
    replay_path: str | None = None
    """File for the replay's observations, created for the run and deleted with it; by default they stay in memory."""
    learning_starts: int = 1_000
    """Env steps before the first update."""
    horizon: int = 15
    """Imagined steps from every replayed one."""
    gamma: float = 1.0 - 1.0 / 333.0
    """Discount per step."""
    return_lambda: float = 0.95
    """Mixes imagined returns of different lengths, as GAE's lambda does."""
    entropy_coef: float = 3e-4
    """Weight of the policy's entropy."""
    free_nats: float = 1.0
    """KL divergence of a step's latents below which it has no gradient, in nats."""
    dynamics_coef: float = 1.0
    """Weight of the KL divergence that teaches the prior."""
    representation_coef: float = 0.1
    """Weight of the KL divergence that teaches the posterior."""
    replay_value_coef: float = 0.3
    """Weight of the value loss on replayed steps."""
    barlow_coef: float = 0.05
    """Weight of redundancy reduction, with decoder none."""
    tau: float = 0.02
    """Step of the slow value network towards the value network at each update."""
    optimizer: str = "laprop"
    """Any elementwise torch optimizer in lower case, or laprop (Ziyin et al. 2020)."""
    learning_rate: ScheduleLike = 4e-5
    """Step size: a number or a schedule over env steps, such as linear:1e-4:1e-5:100000."""
    warmup: int = 1_000
    """Updates over which the step size grows from 0."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    adaptive_clip: float = 0.3
    """Clip each tensor's gradient to this share of its weights' norm (Brock et al. 2021)."""
    clip_rewards: bool = False
    """Clip rewards to [-1, 1] for learning; logs and evaluations keep the true rewards."""
    action_masks: bool = True
    """Act only with allowed actions, if the environment provides action masks. Imagined steps allow all actions."""
    bf16: bool = False
    """Compute matrix products and convolutions in bfloat16: faster and less exact; weights stay float32."""
    cuda_graphs: bool = False
    """On a GPU, record an update once and replay it, which removes the gaps between kernels."""

    def __post_init__(self) -> None:
        for name, values in (("size", get_args(SizeName)), ("decoder", get_args(Decoder))):
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        for name in ("train_ratio", "batch_size", "sequence_period", "horizon", "replay_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be >= 2, got {self.sequence_length}")
        for name in ("learning_starts", "warmup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("gamma", "return_lambda", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in COEFFICIENTS:
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0.0 < self.adaptive_clip < math.inf:
            raise ValueError(f"adaptive_clip must be > 0, got {self.adaptive_clip}")
        if self.replay_path == "":
            raise ValueError("replay_path must not be empty")
        schedule(self.learning_rate, name="learning_rate")
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)

    def learns_from(self, num_envs: int) -> int:
        """Env steps before the first update: `learning_starts`, or until a batch's first sequence is complete."""
        return max(self.learning_starts, (self.sequence_length + 1) * num_envs)
