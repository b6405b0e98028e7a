"""DQN's settings: the parts of Rainbow, network, optimizer, replay and periods."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from gymnast.agents.auxiliary import AuxiliaryConfig
from gymnast.agents.checks import Range, check_choices, check_ranges
from gymnast.agents.encoder import EncoderConfig
from gymnast.agents.experience.augmentation import Kind
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.precision import PrecisionConfig
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.value.actors import ActorsConfig, exploration
from gymnast.agents.value.horizon import check_horizon
from gymnast.agents.value.intrinsic import IntrinsicConfig
from gymnast.agents.value.resets import check_resets
from gymnast.agents.value.values import LOSSES, VALUES
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.heads.q import Aggregation
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.noisy import Noise
from gymnast.networks.layers.penalties import Penalty
from gymnast.networks.layers.recurrent import Recurrent, check_recurrent


@dataclass(frozen=True)
class DQNConfig(EncoderConfig, AuxiliaryConfig, IntrinsicConfig, PrecisionConfig, ActorsConfig):
    """Deep Q-network (Mnih et al. 2015); the flags add Rainbow's parts (Hessel et al. 2018)."""

    double: bool = False
    """Choose the next action by the online network and evaluate it by the target network (van Hasselt et al. 2016)."""
    munchausen: bool = False
    """Bootstrap from a soft policy, and add its log-probability of the action taken to the reward (Vieillard et al.
    2020)."""
    munchausen_alpha: float = 0.9
    """Factor of the log-probability that Munchausen targets add."""
    munchausen_temperature: float = 0.03
    """Temperature of the policy of Munchausen targets, the softmax of the action values."""
    munchausen_clip: float = -1.0
    """Smallest temperature * log-probability that Munchausen targets add."""
    dueling: bool = False
    """Split the head into two streams: state value and advantages (Wang et al. 2016)."""
    dueling_aggregation: Aggregation = "mean"
    """Baseline subtracted from the advantages: their mean over actions, or their maximum."""
    shared_bias: bool = False
    """Share the bias of the last layer between all actions, as tuned double DQN does (van Hasselt et al. 2016)."""
    prioritized: bool = False
    """Sample surprising transitions more often (Schaul et al. 2016)."""
    priority: Literal["proportional", "rank"] = "proportional"
    """Priority of a transition: its absolute error (proportional), or one over the rank of its error (rank)."""
    priority_alpha: float = 0.6
    """Exponent of the priorities; 0 samples uniformly."""
    priority_beta: ScheduleLike = "linear:0.4:1:100000"
    """Exponent of the importance weights, a number or a schedule over env steps; 1 corrects fully."""
    noisy: bool = False
    """Explore by learned noise on the head's weights (Fortunato et al. 2018)."""
    noise: Noise = "factorised"
    """Noise of noisy layers: factorised (one number per input and per output) or independent (one per weight)."""
    noisy_sigma: float = 0.5
    """Initial scale of factorised noise, multiplied by 1/sqrt(inputs)."""
    noisy_epsilon: ScheduleLike = 0.0
    """Probability of a random action with noisy layers: a number or a schedule over env steps."""
    bootstrap_heads: int = 0
    """Heads with targets of their own, one of which acts in each episode (bootstrapped DQN, Osband et al. 2016)."""
    bootstrap_probability: float = 1.0
    """Probability that a head of bootstrapped DQN learns from a transition."""
    bootstrap_vote: bool = False
    """Evaluate by the votes of the heads instead of their mean."""
    prior_scale: float = 0.0
    """Scale of the fixed random network that is added to each head (randomised priors, Osband et al. 2018)."""
    n_step: int = 1
    """Number of rewards summed in a target before it bootstraps."""
    values: Literal["scalar", "rescaled", "categorical", "quantile", "implicit"] = "scalar"
    """Predict mean returns (scalar, or R2D2's rescaled) or their distribution (C51, QR-DQN and IQN, in this order)."""
    atoms: int = 51
    """Number of atoms of the categorical distribution."""
    v_min: float = -10.0
    """Smallest return of the categorical distribution."""
    v_max: float = 10.0
    """Largest return of the categorical distribution."""
    quantiles: int = 200
    """Quantiles learned by quantile values, or drawn per update by implicit ones."""
    kappa: float = 1.0
    """Threshold at which the quantile Huber loss becomes linear; 0 for the plain quantile loss."""
    recurrent: Literal["none"] | Recurrent = "none"
    """Add a recurrent layer, or a transformer that attends to recent steps, and learn from sequences (R2D2)."""
    memory_size: int = 128
    """Units of the recurrent layer, or the width of the transformer."""
    recurrent_steps: int | None = None
    """Steps of the episode that a transformer attends to, the current one included. Default: 32."""
    recurrent_layers: int | None = None
    """Layers of a transformer. Default: 1."""
    recurrent_heads: int | None = None
    """Attention heads of a transformer. Default: 4."""
    sequence_length: int = 20
    """Steps of a sequence that the loss covers."""
    burn_in: int = 10
    """Steps before these that only warm up the recurrent state."""
    sequence_period: int = 10
    """Steps between the starts of consecutive sequences."""
    priority_eta: float = 0.9
    """Weight of the largest error in a sequence's priority; the mean error has the rest."""
    action_masks: bool = True
    """Act and bootstrap only with allowed actions, if the environment provides action masks."""
    network: BackboneName = "auto"
    """Network below the head: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers; the last one belongs to the head. Default: the backbone's (MLP: 120 84)."""
    activation: str = "relu"
    """Activation of the fully connected layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid, softplus,
    crelu, prelu or maxout:K, the largest of K linear pieces."""
    init: Init = "torch"
    """Initial weights."""
    loss: Literal["huber", "mse"] = "huber"
    """Loss of the TD error, for scalar values."""
    optimizer: str = "adam"
    """Any elementwise torch optimizer in lower case, or nature-rmsprop (centred, epsilon inside the root)."""
    learning_rate: ScheduleLike = 1e-4
    """Step size: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    max_grad_norm: float | None = 10.0
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
    gamma: float = 0.99
    """Discount per step."""
    anneal_steps: int = 0
    """Env steps in which targets move from n_step and gamma to final_n_step and final_gamma, from the beginning and
    again from each reset (BBF, Schwarzer et al. 2023); 0 for none."""
    final_n_step: int | None = None
    """Rewards summed in a target after anneal_steps. Default: 3, or n_step if that is less."""
    final_gamma: float = 0.997
    """Discount per step after anneal_steps."""
    epsilon: ScheduleLike = "linear:1:0.05:10000"
    """Probability of a random action without noisy layers: a number or a schedule over env steps."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluations."""
    batch_size: int = 32
    """Transitions per update; sequences per update with a recurrent layer."""
    replay_size: int = 100_000
    """Slots of the replay; an episode takes one per action plus frame_stack."""
    replay_path: str | None = None
    """File for the replay's frames, created for the run and deleted with it; by default they stay in memory."""
    frame_stack: int = field(default=0, metadata={"flag": False})
    """Frames stacked in an observation, each stored once. In a run 0 takes the environment's number; elsewhere it is 4
    for uint8 [4, H, W] and 1 otherwise."""
    learning_starts: int = 1_000
    """Env steps before the first update."""
    train_period: int = 4
    """Env steps between learning phases."""
    updates_per_train: int = 1
    """Updates per learning phase."""
    target_period: int = 1_000
    """Env steps between updates of the target network; 0 for one after every update of the online network."""
    reset_period: int = 0
    """Env steps between resets of the head's weights and, in part, of the backbone's (Nikishin et al. 2022); 0 for
    none."""
    reset_keep: float = 0.8
    """Share of the backbone's weights that a reset keeps; the rest is drawn anew (SR-SPR 0.8, BBF 0.5)."""
    tau: float = 1.0
    """Step of the target network towards the online one at each of its updates; 1 copies it."""
    act_by_target: bool = False
    """Act with the target network, also in evaluations (SR-SPR, D'Oro et al. 2023)."""
    augment: Kind = "none"
    """Learn from images that are shifted at random (DrQ), with shift-intensity also brighter or darker ones (SPR)."""
    prediction_steps: int = 5
    """Steps that self-prediction looks ahead."""
    prediction_momentum: float = 0.99
    """Share of the encoder of self-prediction's targets that each update keeps; 0 takes the online network's."""
    clip_rewards: bool = False
    """Clip rewards to [-1, 1] for learning; logs and evaluations keep the true rewards."""
    life_loss: bool = False
    """Learn as if losing a life ended the episode, if the environment reports lives; episodes continue."""
    compile: bool = False
    """Compile the update with torch.compile: faster updates after about a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record an update once and replay it, which removes the gaps between kernels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        self.check_encoder()
        self.check_auxiliary()
        self.check_intrinsic()
        self.check_actors()
        if self.actors and self.intrinsic != "none":
            raise ValueError(f"intrinsic {self.intrinsic} cannot be combined with actors, which act in other processes")
        check_ranges(self, RANGES)
        check_activation(self.activation)
        check_choices(self, CHOICES)
        if self.hidden_sizes is not None and (not self.hidden_sizes or min(self.hidden_sizes) < 1):
            raise ValueError(f"hidden_sizes must be at least one number >= 1, got {self.hidden_sizes}")
        if self.sequence_period > self.sequence_length:
            raise ValueError(
                f"sequence_period must be <= sequence_length {self.sequence_length}, got {self.sequence_period}"
            )
        if not (math.isfinite(self.v_min) and math.isfinite(self.v_max) and self.v_min < self.v_max):
            raise ValueError(f"v_min must be finite and below v_max, got {self.v_min} and {self.v_max}")
        schedule(self.learning_rate, name="learning_rate")
        for name in ("epsilon", "noisy_epsilon", "priority_beta"):
            schedule(getattr(self, name), name=name, high=1.0)
        if self.munchausen and self.double:
            raise ValueError("double cannot be combined with munchausen, whose targets choose no next action")
        self._check_ensemble()
        for part in ("dueling", "noisy"):
            if self.shared_bias and getattr(self, part):
                raise ValueError(f"shared_bias cannot be combined with {part}, whose last layers have their own biases")
        check_resets(self)
        check_horizon(self)
        regularise.check(self)
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
        check_recurrent(self)
        if self.augment != "none" and self.recurrent != "none":
            raise ValueError(f"augment needs recurrent none, got {self.recurrent}")
        if self.compile and self.recurrent != "none":
            raise ValueError(
                f"compile needs recurrent none, got {self.recurrent}: every step would be compiled separately"
            )

    def _check_ensemble(self) -> None:
        if self.prior_scale and not self.bootstrap_heads:
            raise ValueError("prior_scale needs bootstrap_heads, to which the random networks are added")
        if self.prior_scale and self.values == "categorical":
            raise ValueError("prior_scale cannot be combined with values categorical, whose outputs are not values")
        if self.bootstrap_heads and self.recurrent != "none":
            raise ValueError(f"bootstrap_heads needs recurrent none, got {self.recurrent}")

    def exploration(self, num_envs: int) -> ScheduleLike:
        """The probability of a random action: with actors the mean of their rows, which `num_envs` counts."""
        if self.noisy:
            return self.noisy_epsilon
        return float(exploration(self, num_envs).mean()) if self.actors else self.epsilon

    def learns_from(self, num_envs: int) -> int:
        """Env steps before the first update: at least one stream then has n steps, or a sequence."""
        window = self.n_step
        if self.recurrent != "none":
            window += self.burn_in + self.sequence_length - 1
        return max(self.learning_starts, (window - 1) * num_envs + 1)


def check_device(config: DQNConfig, device: torch.device) -> None:
    """Raise ValueError if the config cannot be used on a device."""
    if config.recurrent != "none" and device.type != "cpu":
        raise ValueError(f"recurrent {config.recurrent} needs device cpu, where sequences are stored, got {device}")
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")


COUNTS = ("batch_size", "replay_size", "train_period", "updates_per_train", "n_step", "quantiles")
SEQUENCES = ("memory_size", "sequence_length", "sequence_period", "prediction_steps")
SHARES = (
    "gamma",
    "eval_epsilon",
    "priority_alpha",
    "priority_eta",
    "munchausen_alpha",
    "reset_keep",
    "prediction_momentum",
)
OPTIONAL = ("max_grad_norm", "max_grad_value", "optimizer_eps")
RANGES: tuple[Range, ...] = (
    (">= 1", lambda value: value >= 1, COUNTS + SEQUENCES),
    (">= 1", lambda value: value is None or value >= 1, ("final_n_step",)),
    (">= 2", lambda value: value >= 2, ("atoms",)),
    (">= 0", lambda value: value >= 0, ("learning_starts", "frame_stack", "burn_in")),
    (">= 0", lambda value: value >= 0, ("bootstrap_heads", "reset_period", "target_period", "anneal_steps")),
    (">= 0", lambda value: 0.0 <= value < math.inf, ("kappa", "noisy_sigma", "prior_scale")),
    ("> 0", lambda value: 0.0 < value < math.inf, ("munchausen_temperature",)),
    ("<= 0", lambda value: -math.inf < value <= 0.0, ("munchausen_clip",)),
    ("> 0", lambda value: value is None or 0.0 < value < math.inf, OPTIONAL),
    ("> 0 and <= 1", lambda value: 0.0 < value <= 1.0, ("tau", "bootstrap_probability")),
    ("between 0 and 1", lambda value: 0.0 <= value <= 1.0, (*SHARES, "reset_keep", "prediction_momentum")),
)
CHOICES: dict[str, Collection[str]] = {
    "loss": LOSSES,
    "augment": get_args(Kind),
    "init": INITS,
    "values": VALUES,
    "priority": ("proportional", "rank"),
    "noise": get_args(Noise),
    "dueling_aggregation": get_args(Aggregation),
    "recurrent": ("none", *get_args(Recurrent)),
}
