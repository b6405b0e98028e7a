"""Settings of IRIS: codes, transformer, policy, and when each of the three learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from gymnast.agents.schedules import ScheduleLike, schedule

PredictedReward = Literal["sign", "two-hot"]


@dataclass(frozen=True)
class IrisConfig:
    """IRIS (Micheli et al. 2023): a transformer over codes of frames, and an actor-critic that learns in its dreams."""

    code_grid: int = 4
    """Rows and columns of codes of an image."""
    vector_codes: int = 4
    """Codes of an observation that is no image with bounds."""
    codes: int = 512
    """Codes to choose from."""
    code_size: int = 512
    """Numbers of a code."""
    tokenizer_channels: int = 64
    """Channels of the convolutions that encode images, and of the last one but one that decodes them."""
    tokenizer_blocks: int = 2
    """Residual blocks of the encoder at each size of an image."""
    tokenizer_units: int = 512
    """Units of the two layers that encode, and that decode, an observation that is no image."""
    commitment: float = 0.25
    """Factor of the squared distance between an encoder's numbers and their codes."""
    model_width: int = 256
    """Numbers of each token in the transformer, a multiple of model_heads."""
    model_layers: int = 10
    """Layers of the transformer."""
    model_heads: int = 4
    """Attention heads of the transformer."""
    model_dropout: float = 0.1
    """Share that the transformer drops in learning."""
    weight_decay: float = 0.01
    """AdamW's weight decay of the transformer's linear layers."""
    predicted_reward: PredictedReward = "sign"
    """Predict rewards as their sign, a choice of -1, 0 and 1, or as numbers of any size by two-hot bins."""
    policy_channels: int = 32
    """Channels of the policy's first two convolutions; the others have twice as many."""
    memory_size: int = 512
    """Units of the policy's LSTM, and of its layers before it without images."""
    batch_size: int = 64
    """Sequences of a round of updates."""
    tokenizer_batch: int = 256
    """Observations of these sequences that the tokenizer learns from."""
    sequence_length: int = 20
    """Time steps that the transformer sees, each of which is an observation's codes and the action before it."""
    replay_size: int = 100_000
    """Slots of the replay; an episode takes one per action and one more."""
    replay_path: str | None = None
    """File for the replay's observations, created for the run and deleted with it; by default they stay in memory."""
    learning_starts: int = 1_000
    """Env steps before the tokenizer learns."""
    model_starts: int = 5_000
    """Env steps before the transformer learns too."""
    policy_starts: int = 10_000
    """Env steps before the policy learns too."""
    train_period: int = 1
    """Env steps per round of updates, one of each part that learns already."""
    horizon: int = 20
    """Time steps of an imagined episode, the replayed one that it begins with included."""
    context: int = 1
    """Replayed time steps that the transformer sees at the beginning of an imagined episode."""
    burn_in: int = 20
    """Replayed time steps for the policy's memory before an imagined episode."""
    gamma: float = 0.995
    """Discount per step."""
    return_lambda: float = 0.95
    """Mixes imagined returns of different lengths, as GAE's lambda does."""
    entropy_coef: float = 1e-3
    """Weight of the policy's entropy."""
    epsilon: ScheduleLike = 0.01
    """Probability of a random action in training."""
    learning_rate: ScheduleLike = 1e-4
    """Step size of all parts: a number or a schedule over env steps, such as linear:1e-4:1e-5:100000."""
    max_grad_norm: float = 10.0
    """Clip the gradient of each part to this norm."""
    action_masks: bool = True
    """Act only with allowed actions, if the environment provides action masks. Imagined steps allow all actions."""

    def __post_init__(self) -> None:
        if self.predicted_reward not in get_args(PredictedReward):
            raise ValueError(
                f"predicted_reward must be one of {', '.join(get_args(PredictedReward))}, got {self.predicted_reward!r}"
            )
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        for name in ("commitment", "weight_decay", "entropy_coef"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("gamma", "return_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0.0 <= self.model_dropout < 1.0:
            raise ValueError(f"model_dropout must be >= 0 and < 1, got {self.model_dropout}")
        if not 0.0 < self.max_grad_norm < math.inf:
            raise ValueError(f"max_grad_norm must be > 0, got {self.max_grad_norm}")
        if self.replay_path == "":
            raise ValueError("replay_path must not be empty")
        schedule(self.learning_rate, name="learning_rate")
        schedule(self.epsilon, name="epsilon", low=0.0, high=1.0)
        self._check_together()

    def _check_together(self) -> None:
        """ValueError for settings that do not fit each other."""
        if self.model_width % self.model_heads:
            raise ValueError(
                f"model_width must be a multiple of model_heads {self.model_heads}, got {self.model_width}"
            )
        if self.context + self.horizon - 1 > self.sequence_length:
            raise ValueError(
                f"horizon must be <= {self.sequence_length - self.context + 1} with context {self.context} and "
                f"sequence_length {self.sequence_length}, got {self.horizon}"
            )
        if self.tokenizer_batch > self.batch_size * self.replayed:
            raise ValueError(
                f"tokenizer_batch must be <= {self.batch_size * self.replayed}, the observations of batch_size "
                f"sequences, got {self.tokenizer_batch}"
            )
        for name, before in (("model_starts", "learning_starts"), ("policy_starts", "model_starts")):
            if getattr(self, name) < getattr(self, before):
                raise ValueError(f"{name} must be >= {before} {getattr(self, before)}, got {getattr(self, name)}")

    @property
    def replayed(self) -> int:
        """Time steps of a replayed sequence: enough for the transformer and for the policy."""
        return max(self.sequence_length, self.burn_in + 1, self.context)

    def learns_from(self, num_envs: int) -> int:
        """Env steps before the first round: `learning_starts`, or until a batch's first sequence is complete."""
        return max(self.learning_starts, (self.replayed + 1) * num_envs)


LEAST = {
    "code_grid": 1,
    "vector_codes": 1,
    "codes": 2,
    "code_size": 1,
    "tokenizer_channels": 1,
    "tokenizer_blocks": 0,
    "tokenizer_units": 1,
    "model_width": 1,
    "model_layers": 1,
    "model_heads": 1,
    "policy_channels": 1,
    "memory_size": 1,
    "batch_size": 1,
    "tokenizer_batch": 1,
    "sequence_length": 2,
    "replay_size": 1,
    "learning_starts": 0,
    "model_starts": 0,
    "policy_starts": 0,
    "train_period": 1,
    "horizon": 2,
    "context": 1,
    "burn_in": 0,
}
"""The least value of each whole number."""
