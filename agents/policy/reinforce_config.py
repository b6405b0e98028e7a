"""REINFORCE's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gymnast.agents.checks import check_choices
from gymnast.agents.encoder import EncoderConfig
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.precision import PrecisionConfig
from gymnast.agents.policy.intrinsic import INTRINSIC, IntrinsicName
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.penalties import Penalty
from gymnast.networks.layers.recurrent import Recurrent, check_recurrent


@dataclass(frozen=True)
class ReinforceConfig(EncoderConfig, PrecisionConfig):
    """REINFORCE (Williams 1992): the policy gradient of whole episodes."""

    episodes: int = 8
    """Finished episodes per update; each update is one optimizer step on all of their steps."""
    baseline: Literal["value", "mean", "none"] = "value"
    """Baseline subtracted from returns: a learned value of the observation, the running mean return, or none."""
    baseline_rate: float = 0.1
    """Smallest weight of an update's returns in the running mean; the first updates are averaged equally."""
    returns: Literal["to-go", "total"] = "to-go"
    """Return that weights an action: the discounted rewards after it (to-go) or of its whole episode (total)."""
    gamma: float = 0.99
    """Discount per step."""
    normalise_advantages: bool = False
    """Normalise the action weights of each update to mean 0 and variance 1."""
    value_coef: float = 0.5
    """Weight of the value loss, half the squared error, with baseline value."""
    entropy_coef: ScheduleLike = 0.0
    """Weight of the entropy bonus: a number or a schedule over env steps."""
    learning_rate: ScheduleLike = 1e-3
    """Step size: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    optimizer: str = "adam"
    """Any elementwise torch optimizer in lower case, or a3c-rmsprop or nature-rmsprop (epsilon inside the root)."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    max_grad_norm: float | None = None
    """Clip the gradient, a sum over each episode's steps, to this Euclidean norm."""
    max_grad_value: float | None = None
    """Clip each entry of the gradient to this absolute value."""
    weight_penalty: Penalty = "none"
    """Add the weights' absolute values (l1), their squares (l2) or both (elastic) to the loss; biases do not count."""
    penalty_weight: float = 1e-4
    """Factor of the weight penalty."""
    max_norm: float | None = None
    """Bound the Euclidean norm of each unit's incoming weights after every update (Srivastava et al. 2014)."""
    weight_decay: float = 0.0
    """Shrink the weights by this share of the learning rate before every update; biases stay (AdamW's decay, for any
    optimizer)."""
    network: BackboneName = "auto"
    """Network below the head: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers. Default: the backbone's (MLP: 64 64)."""
    activation: str = "tanh"
    """Activation of the fully connected layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid, softplus,
    crelu, prelu or maxout:K, the largest of K linear pieces."""
    init: Init = "orthogonal"
    """Initial weights; the policy's last layer is scaled by 0.01."""
    trunk: Literal["auto", "shared", "separate"] = "auto"
    """Whether policy and value share all layers but the last; auto shares them for image observations."""
    recurrent: Literal["none"] | Recurrent = "none"
    """Memory of the episode after the backbone: a recurrent layer, or a transformer that attends to recent steps."""
    memory_size: int = 128
    """Units of the recurrent layer, or the width of the transformer."""
    recurrent_steps: int | None = None
    """Steps of the episode that a transformer attends to, the current one included. Default: 32."""
    recurrent_layers: int | None = None
    """Layers of a transformer. Default: 1."""
    recurrent_heads: int | None = None
    """Attention heads of a transformer. Default: 4."""
    squash: bool = False
    """Squash the actions of a bounded Box by tanh, with exact log-probabilities; without it they are clipped."""
    log_std_init: float = 0.0
    """Initial log standard deviation of Box actions."""
    action_masks: bool = True
    """Act and learn only with allowed actions, if the environment provides action masks."""
    eval_sample: bool = False
    """Sample actions in evaluations, as in training, instead of taking the most probable ones."""
    normalise_obs: bool = False
    """Normalise float observations by their running mean and standard deviation, clipped to [-10, 10]."""
    clip_rewards: bool = False
    """Clip rewards to [-1, 1] for learning; logs and evaluations keep the true rewards."""
    intrinsic: IntrinsicName = "none"
    """Novelty reward: rnd, the error in predicting a random network (Burda et al. 2019); counts, 1/sqrt(visits); icm,
    the error in predicting what an action changes (Pathak et al. 2017); episodic, unlike the rest of the episode (Badia
    et al. 2020)."""
    intrinsic_coef: float = 1.0
    """Weight of the novelty returns; they have their own baseline."""
    intrinsic_gamma: float = 0.99
    """Discount of the novelty reward."""
    compile: bool = False
    """Compile the update with torch.compile, once for each power of two of steps per update."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        self.check_encoder()
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
        check_activation(self.activation)
        self._check_choices()
        for name in ("learning_rate", "entropy_coef"):
            schedule(getattr(self, name), name=name)
        regularise.check(self)
        optimizers.check(self.optimizer, self.optimizer_eps)
        if self.trunk == "separate" and self.baseline != "value":
            raise ValueError(
                f"trunk separate needs baseline value, got {self.baseline}: without a value there is only one head"
            )
        check_recurrent(self)
        if self.recurrent != "none" and self.compile:
            raise ValueError(
                f"compile needs recurrent none, got {self.recurrent}: every episode length would be compiled separately"
            )

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "baseline": ("value", "mean", "none"),
            "returns": ("to-go", "total"),
            "init": INITS,
            "trunk": ("auto", "shared", "separate"),
            "recurrent": ("none", *get_args(Recurrent)),
            "intrinsic": INTRINSIC,
        }
        check_choices(self, choices)
