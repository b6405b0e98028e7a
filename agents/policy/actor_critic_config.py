"""What may be set of A2C, PPO and A3C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gymnast.agents.optim import optimizers
from gymnast.agents.policy.hogwild import INITIAL
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.init import INITS
from gymnast.networks.layers.recurrent import Cell

SHARED = tuple(INITIAL)
"""Optimizers that `workers` may have."""


@dataclass(frozen=True)
class ActorCriticConfig:
    """Proximal policy optimisation (Schulman et al. 2017); A2C and A3C (Mnih et al. 2016) are changes to it."""

    policy_loss: Literal["clipped", "plain"] = "clipped"
    """PPO's clipped ratio of probabilities, or the plain policy gradient."""
    rollout_steps: int = 128
    """Steps of each environment between two times of learning (A3C's t_max)."""
    epochs: int = 4
    """Times that a rollout is learned from."""
    minibatches: int = 4
    """Parts that a rollout is divided into at random in each epoch; each is one update."""
    gamma: float = 0.99
    """Discount of one step."""
    gae_lambda: float = 0.95
    """Weight of longer returns in advantages (generalised advantage estimation); 1 for full returns."""
    advantage: Literal["gae", "vtrace"] = "gae"
    """Advantages of the policy that acted, or (V-trace) corrected to today's policy before each epoch."""
    normalise_advantages: bool = True
    """Shift and scale the advantages of each minibatch to mean 0 and variance 1."""
    clip: ScheduleLike = 0.2
    """How far the clipped ratio may go from 1: a number or a schedule of the env step."""
    value_clip: ScheduleLike | None = None
    """How far values may go from the old ones before their loss stops; not at all clipped by default."""
    value_coef: float = 0.5
    """Weight of the value loss, half the squared error."""
    entropy_coef: ScheduleLike = 0.0
    """Weight of the entropy bonus: a number or a schedule of the env step."""
    target_kl: float | None = None
    """End the epochs once the policy has gone further than this from the one that acted (mean KL, nats)."""
    learning_rate: ScheduleLike = 3e-4
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer: str = "adam"
    """Any elementwise optimizer of torch in lower case, a3c-rmsprop (epsilon inside the root) or nature-rmsprop."""
    optimizer_eps: float | None = 1e-5
    """The optimizer's epsilon; none for its own."""
    max_grad_norm: float | None = 0.5
    """Largest Euclidean norm of the gradient."""
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
    """A recurrent layer after the backbone that remembers what was seen since the episode began."""
    memory_size: int = 128
    """Units of the recurrent layer."""
    sequence_length: int | None = None
    """Steps that gradients flow back through time where it is recurrent; by default the whole rollout."""
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
    normalise_rewards: bool = False
    """Divide rewards by the deviation of their discounted sums so far, clipped to 10; logs keep the true ones."""
    clip_rewards: bool = False
    """Learn from rewards clipped to [-1, 1]; logs and evaluations keep the true ones."""
    life_loss: bool = False
    """Learn as if a lost life were the end, where the environment tells lives; episodes go on."""
    intrinsic: Literal["none", "rnd", "counts"] = "none"
    """A reward for what is new: distance of a network from a random one (Burda et al. 2019), or 1/sqrt(visits)."""
    intrinsic_coef: float = 1.0
    """Weight of its advantages, which have a value of their own and do not end with episodes."""
    intrinsic_gamma: float = 0.99
    """Its discount."""
    workers: int = 0
    """Processes that act and learn at once on weights that they share (A3C); 0 learns in this process alone."""
    compile: bool = False
    """Update by code that torch.compile made of it: sooner done each time, after a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record all updates of a rollout once and replay them: no time passes between kernels."""

    def __post_init__(self) -> None:
        for name in ("rollout_steps", "epochs", "minibatches", "memory_size", "sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        for name in ("gamma", "gae_lambda", "intrinsic_gamma"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in ("value_coef", "intrinsic_coef", "workers"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("max_grad_norm", "max_grad_value", "optimizer_eps", "target_kl"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        if self.hidden_sizes is not None and min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must be numbers >= 1, got {self.hidden_sizes}")
        self._check_choices()
        for name in ("learning_rate", "clip", "entropy_coef"):
            schedule(getattr(self, name), name=name)
        if self.value_clip is not None:
            schedule(self.value_clip, name="value_clip")
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
        self._check_together()

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "policy_loss": ("clipped", "plain"),
            "advantage": ("gae", "vtrace"),
            "activation": tuple(ACTIVATIONS),
            "init": INITS,
            "trunk": ("auto", "shared", "separate"),
            "recurrent": ("none", *get_args(Cell)),
            "intrinsic": ("none", "rnd", "counts"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def _check_together(self) -> None:
        if self.recurrent != "none":
            if self.rollout_steps % (self.sequence_length or 1):
                raise ValueError(
                    f"sequence_length must divide rollout_steps {self.rollout_steps}, got {self.sequence_length}"
                )
            for name in ("compile", "cuda_graphs"):
                if getattr(self, name):
                    raise ValueError(f"{name} needs recurrent none, got {self.recurrent}: where episodes end, it reads")
        if self.cuda_graphs and self.target_kl is not None:
            raise ValueError("target_kl does not fit cuda_graphs: a recorded update cannot end early")
        if self.cuda_graphs and self.intrinsic != "none":
            raise ValueError(f"intrinsic {self.intrinsic} does not fit cuda_graphs, which nothing may be read in")
        if self.workers:
            for name in ("compile", "cuda_graphs", "normalise_obs"):
                if getattr(self, name):
                    raise ValueError(f"{name} does not fit workers, which learn by themselves on the CPU")
            if self.optimizer not in SHARED:
                raise ValueError(
                    f"workers need an optimizer whose statistics can be shared: {', '.join(SHARED)}; "
                    f"got {self.optimizer}"
                )
        if self.policy_loss == "plain" and self.epochs > 1 and self.advantage == "gae":
            raise ValueError(f"policy_loss plain needs epochs 1 or advantage vtrace, got epochs {self.epochs}")
