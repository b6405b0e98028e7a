"""Settings of off-policy actor-critics: policy, critics, targets, replay and periods."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from gymnast.agents.checks import Range, check_choices, check_ranges
from gymnast.agents.encoder import EncoderConfig
from gymnast.agents.experience.augmentation import Kind
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.precision import PrecisionConfig
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.heads.members import MemberNorm
from gymnast.networks.layers.activations import FUNCTIONS
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.recurrent import Cell
from gymnast.replay.hindsight import Strategy


@dataclass(frozen=True)
class OffPolicyActorCriticConfig(EncoderConfig, PrecisionConfig):
    """Soft actor-critic (Haarnoja et al. 2018); the flags make DDPG, TD3, TQC, CrossQ, REDQ and DroQ of it."""

    policy: Literal["stochastic", "deterministic"] = "stochastic"
    """Learn a distribution of actions with an entropy bonus (SAC), or one action per observation (DDPG, TD3)."""
    temperature: ScheduleLike = "auto"
    """Weight of the entropy: auto learns it, else a number or a schedule over env steps; for stochastic policies."""
    initial_temperature: float = 1.0
    """Value that a learned temperature starts from."""
    target_entropy: float | None = None
    """Entropy in nats that a learned temperature keeps. Default: -1 per number of a Box, whose actions are scaled to
    [-1, 1], or 0.98 of the largest one for Discrete actions."""
    temperature_learning_rate: ScheduleLike | None = None
    """Step size of the temperature: a number or a schedule over env steps. Default: learning_rate."""
    exploration_noise: ScheduleLike = 0.1
    """Deviation of the noise on a deterministic policy's actions, which lie in [-1, 1]: a number or a schedule."""
    exploration: Literal["normal", "ornstein-uhlenbeck"] = "normal"
    """Noise of a deterministic policy: independent at each step, or correlated over an episode (DDPG's paper)."""
    target_noise: float = 0.0
    """Deviation of the noise on a deterministic policy's next actions, which smooths targets (TD3)."""
    target_noise_clip: float = 0.5
    """Largest absolute value of that noise."""
    policy_period: int = 1
    """Updates of the critics per update of the policy and the temperature."""
    critics: int = 2
    """Number of critics, M."""
    target_subset: int | None = None
    """Critics drawn at random for each target (REDQ, Chen et al. 2021). Default: all."""
    policy_value: Literal["min", "mean", "first"] = "min"
    """Action value that the policy ascends: the smallest of the critics', their mean, or the first one's."""
    values: Literal["scalar", "quantile"] = "scalar"
    """Let critics learn mean returns, or quantiles of them (TQC, Kuznetsov et al. 2020)."""
    quantiles: int = 25
    """Quantiles of each critic."""
    drop_quantiles: int = 2
    """Largest quantiles per critic that targets leave out."""
    target_network: bool = True
    """Compute targets with slowly following critics; without them critics see both ends of a transition in one batch
    (CrossQ, Bhatt et al. 2024)."""
    tau: float = 0.005
    """Step of the target networks towards the online ones at each of their updates."""
    target_period: int = 1
    """Updates of the critics between updates of the target networks."""
    critic_norm: MemberNorm = "none"
    """Normalisation in the critics: none, layer, or batch-renorm."""
    policy_norm: MemberNorm = "none"
    """Normalisation in the policy: none, layer, or batch-renorm."""
    norm_warm_up: int = 100_000
    """Batches in which batch-renorm is plain batch normalisation."""
    dropout: float = 0.0
    """Share of the critics' hidden outputs that is dropped in updates (DroQ, Hiraoka et al. 2022)."""
    recurrent: Literal["none"] | Cell = "none"
    """Let policy and critics remember the episode, each with a recurrent layer above the encoder that also sees the
    action before, and learn from sequences."""
    memory_size: int = 128
    """Units of each recurrent layer."""
    sequence_length: int = 20
    """Steps of a sequence that the losses cover."""
    burn_in: int = 10
    """Steps before these that only warm up the recurrent state."""
    sequence_period: int = 10
    """Steps between the starts of consecutive sequences."""
    priority_eta: float = 0.9
    """Weight of the largest error in a sequence's priority; the mean error has the rest."""
    action_masks: bool = True
    """Act and bootstrap only with allowed actions, if the environment provides action masks."""
    network: BackboneName = "auto"
    """Encoder below policy and critics, trained by the critics: auto, a name from gymnast list networks, or
    module:Class. The observation itself unless it has images. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Units of the hidden layers of each critic, and of the policy."""
    policy_hidden_sizes: tuple[int, ...] | None = None
    """Units of the policy's hidden layers. Default: hidden_sizes."""
    activation: str = "relu"
    """Activation of these layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid or softplus."""
    init: Init = "torch"
    """Initial weights."""
    optimizer: str = "adam"
    """Any elementwise torch optimizer in lower case, or nature-rmsprop (centred, epsilon inside the root)."""
    optimizer_beta1: float | None = None
    """Momentum of Adam and its relatives. Default: the optimizer's own, 0.9."""
    learning_rate: ScheduleLike = 3e-4
    """Step size of the critics: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    policy_learning_rate: ScheduleLike | None = None
    """Step size of the policy: a number or a schedule over env steps. Default: learning_rate."""
    optimizer_eps: float | None = None
    """Epsilon of the optimizer. Default: the optimizer's own."""
    max_grad_norm: float | None = None
    """Clip the gradients of critics and policy to this Euclidean norm each."""
    gamma: float = 0.99
    """Discount per step."""
    n_step: int = 1
    """Number of rewards summed in a target before it bootstraps; entropies in between do not count."""
    prioritized: bool = False
    """Sample surprising transitions more often (Schaul et al. 2016)."""
    priority: Literal["proportional", "rank"] = "proportional"
    """Priority of a transition: its absolute error (proportional), or one over the rank of its error (rank)."""
    priority_alpha: float = 0.6
    """Exponent of the priorities; 0 samples uniformly."""
    priority_beta: ScheduleLike = "linear:0.4:1:100000"
    """Exponent of the importance weights, a number or a schedule over env steps; 1 corrects fully."""
    augment: Kind = "none"
    """Learn from images that are shifted at random (DrQ), with shift-intensity also brighter or darker ones."""
    hindsight: Literal["none", "final", "future", "episode"] = "none"
    """Goals that sampled transitions get in hindsight, in environments with goals (HER, Andrychowicz et al. 2017):
    none, or what their episode reached last (final), later (future), or at any time (episode)."""
    hindsight_ratio: float = 0.8
    """Share of sampled transitions with such a goal."""
    batch_size: int = 256
    """Transitions per update; sequences per update with a recurrent layer."""
    replay_size: int = 1_000_000
    """Slots of the replay; an episode takes one per action plus frame_stack."""
    replay_path: str | None = None
    """File for the replay's frames, created for the run and deleted with it; by default they stay in memory."""
    frame_stack: int = field(default=0, metadata={"flag": False})
    """Frames stacked in an observation, each stored once. In a run 0 takes the environment's number; elsewhere it is 4
    for uint8 [4, H, W] and 1 otherwise."""
    learning_starts: int = 1_000
    """Env steps before the first update; until then actions are uniform random ones."""
    train_period: int = 1
    """Env steps between learning phases."""
    updates_per_train: int = 1
    """Updates per learning phase."""
    compile: bool = False
    """Compile the update with torch.compile, after about a minute at the start. On the CPU the plain update of SAC is
    faster: its layers have a form of their own."""
    cuda_graphs: bool = False
    """On a GPU, record an update once and replay it, which removes the gaps between kernels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        self.check_encoder()
        check_ranges(self, RANGES)
        check_choices(self, CHOICES)
        for name in ("hidden_sizes", "policy_hidden_sizes"):
            sizes = getattr(self, name)
            if sizes is not None and (not sizes or min(sizes) < 1):
                raise ValueError(f"{name} must be at least one number >= 1, got {sizes}")
        self._check_schedules()
        self._check_parts()
        optimizers.check(self.optimizer, self.optimizer_eps, captured=self.cuda_graphs)
        if self.optimizer_beta1 is not None:
            optimizers.check_options(self.optimizer, self.optimizer_more)

    def _check_schedules(self) -> None:
        for name in ("learning_rate", "policy_learning_rate", "temperature_learning_rate", "exploration_noise"):
            if getattr(self, name) is not None:
                schedule(getattr(self, name), name=name)
        schedule(self.priority_beta, name="priority_beta", high=1.0)
        if self.temperature != "auto":
            schedule(self.temperature, name="temperature")

    def _check_parts(self) -> None:
        if self.target_subset is not None and self.target_subset > self.critics:
            raise ValueError(f"target_subset must be <= critics {self.critics}, got {self.target_subset}")
        if self.values == "quantile" and self.drop_quantiles >= self.quantiles:
            raise ValueError(f"drop_quantiles must be < quantiles {self.quantiles}, got {self.drop_quantiles}")
        if self.values == "quantile" and self.target_subset is not None:
            raise ValueError("target_subset needs values scalar: targets of quantiles pool all critics")
        if self.values == "quantile" and self.policy_value == "min":
            raise ValueError("policy_value min needs values scalar; use mean, over all quantiles, as TQC does")
        if self.policy == "deterministic" and not self.target_network:
            raise ValueError("target_network cannot be switched off with policy deterministic")
        if self.cuda_graphs and self.hindsight != "none":
            raise ValueError("cuda_graphs cannot be combined with hindsight, whose rewards the environment computes")
        if self.recurrent != "none":
            self._check_memory()
        if self.compile and self.dropout:
            raise ValueError("compile cannot be combined with dropout, which draws from torch's own generator")

    def _check_memory(self) -> None:
        """Raise ValueError for what cannot be combined with a recurrent layer."""
        if self.sequence_period > self.sequence_length:
            raise ValueError(
                f"sequence_period must be <= sequence_length {self.sequence_length}, got {self.sequence_period}"
            )
        for name in ("augment", "hindsight"):
            if getattr(self, name) != "none":
                raise ValueError(f"{name} needs recurrent none, got {self.recurrent}")
        if self.compile:
            raise ValueError(
                f"compile needs recurrent none, got {self.recurrent}: every step would be compiled separately"
            )
        if "batch-renorm" in (self.critic_norm, self.policy_norm) or not self.target_network:
            raise ValueError(
                f"recurrent {self.recurrent} needs target_network and no batch-renorm: the steps of a sequence are no "
                "independent batch, and some hold no transition"
            )

    @property
    def optimizer_more(self) -> dict[str, Any]:
        """Further arguments of the optimizer."""
        return {} if self.optimizer_beta1 is None else {"betas": (self.optimizer_beta1, 0.999)}

    def learns_from(self, num_envs: int) -> int:
        """Env steps before the first update: at least one stream then has n steps, or a sequence."""
        window = self.n_step
        if self.recurrent != "none":
            window += self.burn_in + self.sequence_length - 1
        return max(self.learning_starts, (window - 1) * num_envs + 1)


def check_device(config: OffPolicyActorCriticConfig, device: torch.device) -> None:
    """Raise ValueError if the config cannot be used on a device."""
    if config.recurrent != "none" and device.type != "cpu":
        raise ValueError(f"recurrent {config.recurrent} needs device cpu, where sequences are stored, got {device}")
    if config.cuda_graphs and device.type != "cuda":
        raise ValueError(f"cuda_graphs needs device cuda, got {device}")
    if config.cuda_graphs and config.dropout:
        raise ValueError("cuda_graphs cannot be combined with dropout, which draws from torch's own generator")


COUNTS = ("batch_size", "replay_size", "train_period", "updates_per_train", "n_step", "critics", "quantiles")
PERIODS = ("policy_period", "target_period", "sequence_period")
SEQUENCES = ("sequence_length", "memory_size")
OPTIONAL = ("max_grad_norm", "optimizer_eps")
RANGES: tuple[Range, ...] = (
    (">= 1", lambda value: value >= 1, COUNTS + PERIODS + SEQUENCES),
    (">= 1", lambda value: value is None or value >= 1, ("target_subset",)),
    (">= 0", lambda value: value >= 0, ("learning_starts", "frame_stack", "drop_quantiles", "norm_warm_up", "burn_in")),
    (">= 0", lambda value: 0.0 <= value < math.inf, ("target_noise", "target_noise_clip")),
    ("> 0", lambda value: 0.0 < value < math.inf, ("initial_temperature",)),
    ("> 0", lambda value: value is None or 0.0 < value < math.inf, OPTIONAL),
    ("> 0 and <= 1", lambda value: 0.0 < value <= 1.0, ("tau",)),
    (
        "between 0 and 1",
        lambda value: 0.0 <= value <= 1.0,
        ("gamma", "priority_alpha", "priority_eta", "hindsight_ratio"),
    ),
    (">= 0 and < 1", lambda value: value is None or 0.0 <= value < 1.0, ("dropout", "optimizer_beta1")),
    ("finite", lambda value: value is None or math.isfinite(value), ("target_entropy",)),
)
CHOICES: dict[str, Collection[str]] = {
    "policy": ("stochastic", "deterministic"),
    "exploration": ("normal", "ornstein-uhlenbeck"),
    "policy_value": ("min", "mean", "first"),
    "values": ("scalar", "quantile"),
    "recurrent": ("none", *get_args(Cell)),
    "critic_norm": get_args(MemberNorm),
    "policy_norm": get_args(MemberNorm),
    "activation": tuple(name for name in FUNCTIONS if name != "identity"),
    "init": tuple(name for name in INITS if name != "lsuv"),
    "priority": ("proportional", "rank"),
    "augment": get_args(Kind),
    "hindsight": ("none", *get_args(Strategy)),
}
