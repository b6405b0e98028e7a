"""PQN's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gymnast.agents.encoder import EncoderConfig
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.precision import PrecisionConfig
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.value.intrinsic import IntrinsicConfig
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.penalties import Penalty


@dataclass(frozen=True)
class PQNConfig(EncoderConfig, IntrinsicConfig, PrecisionConfig):
    """Parallelised Q-network (Gallici et al. 2024): Q(lambda) without replay and without a target network."""

    rollout_steps: int = 32
    """Steps of each environment per rollout."""
    epochs: int = 2
    """Passes over each rollout."""
    minibatches: int = 16
    """Random minibatches per epoch, one update each."""
    gamma: float = 0.99
    """Discount per step."""
    td_lambda: float = 0.65
    """Weight of longer returns in targets: 0 for one-step Q-learning, 1 for full returns."""
    learning_rate: ScheduleLike = 5e-4
    """Step size: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    optimizer: str = "radam"
    """Any elementwise torch optimizer in lower case, or a3c-rmsprop or nature-rmsprop (epsilon inside the root)."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    max_grad_norm: float | None = 10.0
    """Clip the gradient to this Euclidean norm."""
    weight_penalty: Penalty = "none"
    """Add the weights' absolute values (l1), their squares (l2) or both (elastic) to the loss; biases do not count."""
    penalty_weight: float = 1e-4
    """Factor of the weight penalty."""
    max_norm: float | None = None
    """Bound the Euclidean norm of each unit's incoming weights after every update (Srivastava et al. 2014)."""
    weight_decay: float = 0.0
    """Shrink the weights by this share of the learning rate before every update; biases stay (AdamW's decay, for any
    optimizer)."""
    epsilon: ScheduleLike = "linear:1:0.05:100000"
    """Probability of a random action, constant within a rollout: a number or a schedule over env steps."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluations."""
    action_masks: bool = True
    """Act and bootstrap only with allowed actions, if the environment provides action masks."""
    network: BackboneName = "auto"
    """Network below the head: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers. Default: the backbone's (MLP: 128 128)."""
    activation: str = "relu"
    """Activation of the fully connected layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid, softplus,
    crelu, prelu or maxout:K, the largest of K linear pieces."""
    layer_norm: bool = True
    """Apply layer normalisation before each activation (Ba et al. 2016); it replaces the target network."""
    init: Init = "he"
    """Initial weights."""
    reward_scale: float = 1.0
    """Multiply rewards by this for learning; logs and evaluations keep the true rewards."""
    clip_rewards: bool = False
    """Clip rewards to [-1, 1] for learning, before scaling; logs and evaluations keep the true rewards."""
    life_loss: bool = False
    """Learn as if losing a life ended the episode, if the environment reports lives; episodes continue."""
    compile: bool = False
    """Compile the update with torch.compile: faster updates after about a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record all updates of a rollout once and replay them, which removes the gaps between kernels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        self.check_encoder()
        self.check_intrinsic()
        for name in ("rollout_steps", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("gamma", "td_lambda", "eval_epsilon"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in ("max_grad_norm", "optimizer_eps", "reward_scale"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        if self.hidden_sizes is not None and min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must be numbers >= 1, got {self.hidden_sizes}")
        check_activation(self.activation)
        if self.init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, got {self.init!r}")
        schedule(self.learning_rate, name="learning_rate")
        schedule(self.epsilon, name="epsilon", high=1.0)
        regularise.check(self)
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
