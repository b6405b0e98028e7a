"""What a DQN is made of: the parts of Rainbow, network, optimizer, replay and periods."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gymnast.agents.optim import optimizers
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.agents.value.values import LOSSES, VALUES
from gymnast.networks.heads.q import Aggregation
from gymnast.networks.layers.activations import ACTIVATIONS
from gymnast.networks.layers.init import INITS
from gymnast.networks.layers.noisy import Noise
from gymnast.networks.layers.recurrent import Cell


@dataclass(frozen=True)
class DQNConfig:
    """Deep Q-network (Mnih et al. 2015); the flags add Rainbow's parts (Hessel et al. 2018)."""

    double: bool = False
    """The online network chooses the next action, the target network values it (van Hasselt et al. 2016)."""
    dueling: bool = False
    """Two streams, the state's value and the actions' advantages (Wang et al. 2016)."""
    dueling_aggregation: Aggregation = "mean"
    """What the advantages are counted from: their mean over actions, or their max."""
    prioritized: bool = False
    """Replay the more often what was the more surprising (Schaul et al. 2016)."""
    priority: Literal["proportional", "rank"] = "proportional"
    """What the probability of a transition is proportional to: its error, or one over its error's rank."""
    priority_alpha: float = 0.6
    """Exponent of the priorities; 0 is uniform."""
    priority_beta: ScheduleLike = "linear:0.4:1:100000"
    """Exponent of the importance weights, a schedule of the env step; 1 corrects wholly."""
    noisy: bool = False
    """Noise of a learned size on the head's weights explores (Fortunato et al. 2018)."""
    noise: Noise = "factorised"
    """Kind of that noise: factorised (one number an input and an output), or independent (one a weight)."""
    noisy_sigma: float = 0.5
    """Initial size of factorised noise, times 1/sqrt(inputs)."""
    noisy_epsilon: ScheduleLike = 0.0
    """Probability of a random action beside noisy layers: a number or a schedule of the env step."""
    n_step: int = 1
    """Rewards that a target sums before it bootstraps."""
    values: Literal["scalar", "rescaled", "categorical", "quantile", "implicit"] = "scalar"
    """What is learned of returns: their mean (scalar; rescaled, R2D2's), or their distribution (C51, QR-DQN, IQN)."""
    atoms: int = 51
    """Atoms of the categorical distribution."""
    v_min: float = -10.0
    """Least return of the categorical distribution."""
    v_max: float = 10.0
    """Largest return of the categorical distribution."""
    quantiles: int = 200
    """Quantiles of the quantile distribution, or drawn for an implicit one."""
    kappa: float = 1.0
    """Where the quantile Huber loss turns from a square into a line; 0 for the plain quantile loss."""
    recurrent: Literal["none"] | Cell = "none"
    """A recurrent layer that remembers what was seen, learned from sequences (R2D2, Kapturowski et al. 2019)."""
    memory_size: int = 128
    """Units of the recurrent layer."""
    sequence_length: int = 20
    """Steps of a sequence that are learned from."""
    burn_in: int = 10
    """Steps before those, which only bring the memory up to date."""
    sequence_period: int = 10
    """Steps from the beginning of a sequence to that of the next one."""
    priority_eta: float = 0.9
    """Share of the largest error in the priority of a sequence; the rest is the mean's."""
    action_masks: bool = True
    """Choose among allowed actions alone, in acting and in targets, where the environment says which they are."""
    backbone: str = "auto"
    """Network below the head: auto, mlp, nature-cnn, efficient-cnn, minatar-cnn, combined, or module:Class."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers; the last is the head's. By default the backbone's own (MLP: 120 84)."""
    activation: str = "relu"
    """Activation of the fully connected layers: relu, tanh, elu, gelu, silu."""
    init: Literal["orthogonal", "he", "xavier", "torch"] = "torch"
    """Initial weights."""
    loss: Literal["huber", "mse"] = "huber"
    """Loss of the TD error, for scalar values."""
    optimizer: str = "adam"
    """Any elementwise optimizer of torch in lower case, or nature-rmsprop (epsilon inside the root, centred)."""
    learning_rate: ScheduleLike = 1e-4
    """Step size: a number or a schedule of the env step, name:number:number…"""
    optimizer_eps: float | None = None
    """The optimizer's epsilon; by default its own."""
    max_grad_norm: float | None = 10.0
    """Largest Euclidean norm of the gradient."""
    max_grad_value: float | None = None
    """Largest absolute value of each of the gradient's entries."""
    gamma: float = 0.99
    """Discount of one step."""
    epsilon: ScheduleLike = "linear:1:0.05:10000"
    """Probability of a random action without noisy layers: a number or a schedule of the env step."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluations."""
    batch_size: int = 32
    """Transitions of an update, or sequences of one where it is recurrent."""
    replay_size: int = 100_000
    """Slots of the replay; an episode takes one for each action and frame_stack more."""
    replay_path: str | None = None
    """File that maps the replay's frames to disk, new and gone with the run; by default they lie in memory."""
    frame_stack: int = 0
    """Frames stacked in an observation, which the replay keeps once each; 0 is 4 for uint8 [4, H, W], else 1."""
    learning_starts: int = 1_000
    """Env steps before the first update."""
    train_period: int = 4
    """Env steps between two times of learning."""
    updates_per_train: int = 1
    """Updates each time."""
    target_period: int = 1_000
    """Env steps between two updates of the target network."""
    tau: float = 1.0
    """How far the target network goes towards the online one each time; 1 copies it."""
    clip_rewards: bool = False
    """Learn from rewards clipped to [-1, 1]; logs and evaluations keep the true ones."""
    life_loss: bool = False
    """Learn as if a lost life were the end, where the environment tells lives; episodes go on."""
    bf16: bool = False
    """Compute convolutions in bfloat16, sooner done and less exact; weights and all else stay float32."""
    compile: bool = False
    """Update by code that torch.compile made of it: sooner done each time, after a minute of compiling at the start."""
    cuda_graphs: bool = False
    """On a GPU, record an update once and replay it: no time passes between its kernels."""

    def __post_init__(self) -> None:
        for words, fits, names in RANGES:
            for name in names:
                if not fits(getattr(self, name)):
                    raise ValueError(f"{name} must be {words}, got {getattr(self, name)}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
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
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
        if self.compile and self.recurrent != "none":
            raise ValueError(
                f"compile needs recurrent none, got {self.recurrent}: every step would be compiled by itself"
            )


COUNTS = ("batch_size", "replay_size", "train_period", "updates_per_train", "target_period", "n_step", "quantiles")
SEQUENCES = ("memory_size", "sequence_length", "sequence_period")
SHARES = ("gamma", "eval_epsilon", "priority_alpha", "priority_eta")
OPTIONAL = ("max_grad_norm", "max_grad_value", "optimizer_eps")
RANGES: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    (">= 1", lambda value: value >= 1, COUNTS + SEQUENCES),
    (">= 2", lambda value: value >= 2, ("atoms",)),
    (">= 0", lambda value: value >= 0, ("learning_starts", "frame_stack", "burn_in")),
    (">= 0", lambda value: 0.0 <= value < math.inf, ("kappa", "noisy_sigma")),
    ("> 0", lambda value: value is None or 0.0 < value < math.inf, OPTIONAL),
    ("> 0 and <= 1", lambda value: 0.0 < value <= 1.0, ("tau",)),
    ("between 0 and 1", lambda value: 0.0 <= value <= 1.0, SHARES),
)
"""The allowed values of options that are numbers: in words, as a test, and the options they hold for."""
CHOICES: dict[str, Collection[str]] = {
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "init": INITS,
    "values": VALUES,
    "priority": ("proportional", "rank"),
    "noise": get_args(Noise),
    "dueling_aggregation": get_args(Aggregation),
    "recurrent": ("none", *get_args(Cell)),
}
