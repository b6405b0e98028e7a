"""Settings of A2C, PPO and A3C."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gymnast.agents.auxiliary import AuxiliaryConfig
from gymnast.agents.checks import check_choices
from gymnast.agents.encoder import EncoderConfig
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.precision import PrecisionConfig
from gymnast.agents.policy.hogwild import INITIAL
from gymnast.agents.policy.intrinsic import INTRINSIC, IntrinsicName
from gymnast.agents.policy.trust_region_config import TrustRegionConfig
from gymnast.agents.rewards.config import LearnedRewardConfig
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.penalties import Penalty
from gymnast.networks.layers.recurrent import Recurrent, check_recurrent

PolicyLoss = Literal["clipped", "plain", "natural", "trust-region"]
SHARED = tuple(INITIAL)
"""Optimizers that A3C's workers can share."""
NATURAL_REFUSES: dict[str, tuple[Any, str]] = {
    "target_kl": (None, "max_kl bounds its one step"),
    "advantage": ("gae", "its one step is at the acting policy"),
    "recurrent": ("none", "not all recurrent layers have second derivatives"),
    "auxiliary": ("none", "an auxiliary loss would move the policy"),
    "encoder_learning_rate": (None, "its steps have no learning rate"),
    "bf16": (False, "its products need float32"),
    "workers": (0, "its steps cannot be shared"),
    "compile": (False, "the host decides its steps"),
    "cuda_graphs": (False, "the host decides its steps"),
}
"""Options that natural-gradient steps cannot be combined with: their values when off, and why."""


@dataclass(frozen=True)
class ActorCriticConfig(EncoderConfig, AuxiliaryConfig, LearnedRewardConfig, PrecisionConfig, TrustRegionConfig):
    """Proximal policy optimisation (Schulman et al. 2017); A2C, A3C (Mnih et al. 2016), NPG (Kakade 2001) and TRPO
    (Schulman et al. 2015) are variations of it."""

    policy_loss: PolicyLoss = "clipped"
    """PPO's clipped surrogate, or the plain policy gradient; or one step on each whole rollout: along the natural
    gradient (NPG), or within a trust-region (TRPO), where epochs, minibatches and the optimizer are the values'."""
    rollout_steps: int = 128
    """Steps of each environment per rollout (A3C's t_max)."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Random minibatches per epoch, one update each."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation: 0 for one-step advantages, 1 for full returns."""
    advantage: Literal["gae", "vtrace"] = "gae"
    """Advantages of the acting policy (gae), or corrected to the current policy before each epoch (vtrace)."""
    normalise_advantages: bool = True
    """Normalise the advantages of each minibatch to mean 0 and variance 1."""
    clip: ScheduleLike = 0.2
    """Clip range of the probability ratio around 1: a number or a schedule over env steps."""
    value_clip: ScheduleLike | None = None
    """Clip range of values around the old values: a number or a schedule over env steps. Default: no clipping."""
    value_coef: float = 0.5
    """Weight of the value loss, half the squared error."""
    entropy_coef: ScheduleLike = 0.0
    """Weight of the entropy bonus: a number or a schedule over env steps."""
    target_kl: float | None = None
    """Stop the epochs early once the mean KL divergence from the acting policy exceeds this, in nats."""
    learning_rate: ScheduleLike = 3e-4
    """Step size: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    optimizer: str = "adam"
    """Any elementwise torch optimizer in lower case, or a3c-rmsprop or nature-rmsprop (epsilon inside the root)."""
    optimizer_eps: float | None = 1e-5
    """Epsilon of the optimizer; automatic for the optimizer's own."""
    max_grad_norm: float | None = 0.5
    """Clip the gradient to this Euclidean norm."""
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
    """Whether policy and value share all layers but the last; auto shares them for images (never in NPG and TRPO)."""
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
    sequence_length: int | None = None
    """Steps of truncated backpropagation through time with a recurrent layer. Default: the whole rollout."""
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
    normalise_rewards: bool = False
    """Divide rewards by the running deviation of discounted returns, clipped to [-10, 10]; logs keep the true ones."""
    clip_rewards: bool = False
    """Clip rewards to [-1, 1] for learning; logs and evaluations keep the true rewards."""
    life_loss: bool = False
    """Learn as if losing a life ended the episode, if the environment reports lives; episodes continue."""
    intrinsic: IntrinsicName = "none"
    """Novelty reward: rnd, the error in predicting a random network (Burda et al. 2019); counts, 1/sqrt(visits); icm,
    the error in predicting what an action changes (Pathak et al. 2017); episodic, unlike the rest of the episode (Badia
    et al. 2020)."""
    intrinsic_coef: float = 1.0
    """Weight of the novelty advantages; they have their own value head and continue across episode ends."""
    intrinsic_gamma: float = 0.99
    """Discount of the novelty reward."""
    workers: int = 0
    """Processes that act and learn concurrently on shared weights (A3C); 0 learns only in this process."""
    compile: bool = False
    """Compile the update with torch.compile: faster updates after about a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record all updates of a rollout once and replay them, which removes the gaps between kernels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        self.check_encoder()
        self.check_auxiliary()
        if self.auxiliary == "self-prediction":
            raise ValueError(
                "auxiliary self-prediction needs a replay, from which it reads several steps: use dqn or spr"
            )
        self.check_learned_reward()
        self.check_trust_region()
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
        check_activation(self.activation)
        self._check_choices()
        for name in ("learning_rate", "clip", "entropy_coef"):
            schedule(getattr(self, name), name=name)
        if self.value_clip is not None:
            schedule(self.value_clip, name="value_clip")
        regularise.check(self)
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
        self._check_together()

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "policy_loss": get_args(PolicyLoss),
            "advantage": ("gae", "vtrace"),
            "init": INITS,
            "trunk": ("auto", "shared", "separate"),
            "recurrent": ("none", *get_args(Recurrent)),
            "intrinsic": INTRINSIC,
        }
        check_choices(self, choices)

    @property
    def natural(self) -> bool:
        """Whether the policy learns by natural-gradient steps, and not by the optimizer."""
        return self.policy_loss in ("natural", "trust-region")

    def _check_natural(self) -> None:
        for name, (off, why) in NATURAL_REFUSES.items():
            if (value := getattr(self, name)) != off:
                given = name if value is True else f"{name} {value}"
                raise ValueError(f"{given} cannot be combined with policy_loss {self.policy_loss}: {why}")
        if self.trunk == "shared":
            raise ValueError(
                f"policy_loss {self.policy_loss} needs trunk separate, got shared: the optimizer of the values would "
                "move the policy"
            )

    def _check_together(self) -> None:
        check_recurrent(self)
        if self.natural:
            self._check_natural()
        if self.auxiliary != "none" and self.trunk == "separate":
            raise ValueError(f"auxiliary {self.auxiliary} needs trunk shared, got separate: it trains one backbone")
        if self.recurrent != "none":
            if self.rollout_steps % (self.sequence_length or 1):
                raise ValueError(
                    f"sequence_length must divide rollout_steps {self.rollout_steps}, got {self.sequence_length}"
                )
            for name in ("compile", "cuda_graphs"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name} needs recurrent none, got {self.recurrent}: it reads episode ends on the host"
                    )
        if self.cuda_graphs and self.target_kl is not None:
            raise ValueError("target_kl cannot be combined with cuda_graphs: a recorded update cannot stop early")
        if self.cuda_graphs and self.intrinsic != "none":
            raise ValueError(
                f"intrinsic {self.intrinsic} cannot be combined with cuda_graphs: the host cannot read values"
            )
        if self.workers:
            for name in ("compile", "cuda_graphs", "normalise_obs"):
                if getattr(self, name):
                    raise ValueError(f"{name} cannot be combined with workers, which learn separately on the CPU")
            for name in ("max_norm", "weight_decay"):
                if value := getattr(self, name):
                    raise ValueError(f"{name} {value} cannot be combined with workers: they share their weights")
            if self.optimizer not in SHARED:
                raise ValueError(
                    f"workers need an optimizer with shareable statistics ({', '.join(SHARED)}), got {self.optimizer}"
                )
        if self.policy_loss == "plain" and self.epochs > 1 and self.advantage == "gae":
            raise ValueError(f"policy_loss plain needs epochs 1 or advantage vtrace, got epochs {self.epochs}")
