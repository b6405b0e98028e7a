"""What may be set of PQN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.init import INITS


@dataclass(frozen=True)
class PQNConfig:
    """Parallelised Q-network (Gallici et al. 2024): Q(lambda) without replay and without a target network."""

    rollout_steps: int = 32
    """Steps of each environment between two times of learning."""
    epochs: int = 2
    """Times that a rollout is learned from."""
    minibatches: int = 16
    """Parts that a rollout is divided into at random in each epoch; each is one update."""
    gamma: float = 0.99
    """Discount of one step."""
    td_lambda: float = 0.65
    """Weight of longer returns in targets: 0 for one-step Q-learning, 1 for full returns."""
    learning_rate: ScheduleLike = 5e-4
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer: str = "radam"
    """Any elementwise optimizer of torch in lower case, a3c-rmsprop or nature-rmsprop (epsilon inside the root)."""
    optimizer_eps: float | None = None
    """The optimizer's epsilon; by default its own."""
    max_grad_norm: float | None = 10.0
    """Largest Euclidean norm of the gradient."""
    epsilon: ScheduleLike = "linear:1:0.05:100000"
    """Probability of a random action, the same in a whole rollout: a number or a schedule of the env step."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluations."""
    action_masks: bool = True
    """Choose among allowed actions alone, in acting and in targets, where the environment says which they are."""
    backbone: str = "auto"
    """Network below the action values: auto, mlp, nature-cnn, efficient-cnn, minatar-cnn, combined, or module:Class."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers. By default the backbone's own (MLP: 128 128)."""
    activation: str = "relu"
    """Activation of the fully connected layers of mlp and combined: relu, tanh, elu, gelu, silu."""
    layer_norm: bool = True
    """Normalise what each layer gives before its activation (Ba et al. 2016); in place of a target network."""
    init: Literal["orthogonal", "he", "xavier", "torch"] = "he"
    """Initial weights."""
    reward_scale: float = 1.0
    """Learn from rewards times this; logs and evaluations keep the true ones."""
    clip_rewards: bool = False
    """Learn from rewards clipped to [-1, 1], before they are scaled; logs and evaluations keep the true ones."""
    life_loss: bool = False
    """Learn as if a lost life were the end, where the environment tells lives; episodes go on."""
    compile: bool = False
    """Update by code that torch.compile made of it: sooner done each time, after a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record all updates of a rollout once and replay them: no time passes between kernels."""

    def __post_init__(self) -> None:
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
        for name, known in {"activation": tuple(ACTIVATIONS), "init": INITS}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        schedule(self.learning_rate, name="learning_rate")
        schedule(self.epsilon, name="epsilon", high=1.0)
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
