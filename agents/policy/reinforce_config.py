"""What may be set of REINFORCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.init import INITS
from gymnast.networks.layers.recurrent import Cell


@dataclass(frozen=True)
class ReinforceConfig:
    """REINFORCE (Williams 1992): the policy gradient of whole episodes."""

    episodes: int = 8
    """Finished episodes of each update, which is one step of the optimizer on all of their steps."""
    baseline: Literal["value", "mean", "none"] = "value"
    """What is taken from returns: a learned value of the observation, the mean of returns so far, or nothing."""
    baseline_rate: float = 0.1
    """Weight of an update's returns in the mean, once it is less than that of one among all updates so far."""
    returns: Literal["to-go", "total"] = "to-go"
    """What weighs an action: the discounted rewards that follow it, or those of its whole episode."""
    gamma: float = 0.99
    """Discount of one step."""
    normalise_advantages: bool = False
    """Shift and scale the weights of an update's actions to mean 0 and variance 1."""
    value_coef: float = 0.5
    """Weight of the value loss, half the squared error, where the baseline is a value."""
    entropy_coef: ScheduleLike = 0.0
    """Weight of the entropy bonus: a number or a schedule of the env step."""
    learning_rate: ScheduleLike = 1e-3
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer: str = "adam"
    """Any elementwise optimizer of torch in lower case, a3c-rmsprop (epsilon inside the root) or nature-rmsprop."""
    optimizer_eps: float | None = None
    """The optimizer's epsilon; by default its own."""
    max_grad_norm: float | None = None
    """Largest Euclidean norm of the gradient, which is a sum over the steps of an episode."""
    max_grad_value: float | None = None
    """Largest absolute value of each of the gradient's entries."""
    backbone: str = "auto"
    """Network below the heads: auto, mlp, nature-cnn, efficient-cnn, minatar-cnn, combined, or module:Class."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers. By default the backbone's own (MLP: 64 64)."""
    activation: str = "tanh"
    """Activation of the fully connected layers of mlp and combined: relu, tanh, elu, gelu, silu."""
    init: Literal["orthogonal", "he", "xavier", "torch"] = "orthogonal"
    """Initial weights; those of the policy's last layer are a hundredth of it."""
    trunk: Literal["auto", "shared", "separate"] = "auto"
    """Whether policy and value share all but their last layers; auto does where there are images."""
    recurrent: Literal["none"] | Cell = "none"
    """A recurrent layer after the backbone; gradients flow back through all of an episode."""
    memory_size: int = 128
    """Units of the recurrent layer."""
    squash: bool = False
    """Actions of a bounded Box through tanh, whose density is exact; otherwise they are clipped into the bounds."""
    log_std_init: float = 0.0
    """Initial logarithm of the standard deviation of actions of a Box."""
    action_masks: bool = True
    """Choose among allowed actions alone, in acting and learning, where the environment says which they are."""
    eval_sample: bool = False
    """Evaluate by drawing actions as in training, not by the most probable ones."""
    normalise_obs: bool = False
    """Shift and scale float observations by the mean and deviation of those seen so far, clipped to 10."""
    clip_rewards: bool = False
    """Learn from rewards clipped to [-1, 1]; logs and evaluations keep the true ones."""
    intrinsic: Literal["none", "rnd", "counts"] = "none"
    """A reward for what is new: distance of a network from a random one (Burda et al. 2019), or 1/sqrt(visits)."""
    intrinsic_coef: float = 1.0
    """Weight of its returns, which have a baseline of their own."""
    intrinsic_gamma: float = 0.99
    """Its discount."""
    compile: bool = False
    """Update by code that torch.compile made of it, once for each power of two that the steps of an update reach."""

    def __post_init__(self) -> None:
        for name in ("episodes", "memory_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("gamma", "intrinsic_gamma"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0.0 < self.baseline_rate <= 1.0:
            raise ValueError(f"baseline_rate must be > 0 and <= 1, got {self.baseline_rate}")
        for name in ("value_coef", "intrinsic_coef"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("max_grad_norm", "max_grad_value", "optimizer_eps"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        if self.hidden_sizes is not None and min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must be numbers >= 1, got {self.hidden_sizes}")
        self._check_choices()
        for name in ("learning_rate", "entropy_coef"):
            schedule(getattr(self, name), name=name)
        optimizers.check(self.optimizer, self.optimizer_eps)
        if self.trunk == "separate" and self.baseline != "value":
            raise ValueError(f"trunk separate needs baseline value, got {self.baseline}: there is one head to learn")
        if self.recurrent != "none" and self.compile:
            raise ValueError(f"compile needs recurrent none, got {self.recurrent}: each length would be compiled anew")

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "baseline": ("value", "mean", "none"),
            "returns": ("to-go", "total"),
            "activation": tuple(ACTIVATIONS),
            "init": INITS,
            "trunk": ("auto", "shared", "separate"),
            "recurrent": ("none", *get_args(Cell)),
            "intrinsic": ("none", "rnd", "counts"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
