"""The settings of world models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gymnast.agents.checks import check_choices, check_ranges
from gymnast.agents.schedules import ScheduleLike, schedule
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init

Latent = Literal["auto", "vae", "none"]


@dataclass(frozen=True)
class WorldModelsConfig:
    """World models (Ha & Schmidhuber 2018): a controller evolved in the dream of a learned model."""

    latent: Latent = "auto"
    """What the model predicts: latents of a variational autoencoder (vae), or the observation's own numbers (none).
    auto: vae for images, none for everything else."""
    latent_size: int = 32
    """Numbers of the autoencoder's latent."""
    network: BackboneName = "auto"
    """The autoencoder's encoder: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the encoder's fully connected layers. Default: the network's own."""
    activation: str = "relu"
    """Activation of fully connected layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid, softplus, crelu,
    prelu or maxout:K, the largest of K linear pieces."""
    init: Init = "he"
    """Initial weights of the autoencoder."""
    decoder_sizes: tuple[int, ...] = (256,)
    """Units of the fully connected layers of a decoder of vectors."""
    decoder_channels: int = 16
    """Channels of the last hidden layer of a decoder of images; they double inwards, up to four times as many."""
    beta: float = 1.0
    """Factor of the rate in the autoencoder's loss."""
    free_bits: float = 0.1
    """Nats of each latent number that cost nothing."""
    units: int = 64
    """Units of the LSTM; the controller sees its output."""
    mixtures: int = 5
    """Normal distributions in the mixture of each predicted number."""
    learning_starts: int = 3_000
    """Env steps before the first update; until the first generation all actions are random."""
    train_period: int = 1
    """Env steps between learning phases."""
    updates_per_train: int = 1
    """Updates per learning phase; a generation of the controller counts as one."""
    vae_updates: int = 1_000
    """Updates of the autoencoder in each round; none if there is no autoencoder."""
    model_updates: int = 1_500
    """Updates of the LSTM in each round, after those of the autoencoder."""
    generations: int = 20
    """Generations of the controller in each round, after the updates of the LSTM; then the next round begins."""
    vae_batch_size: int = 128
    """Observations per update of the autoencoder."""
    batch_size: int = 16
    """Sequences per update of the LSTM."""
    sequence_length: int = 32
    """Steps of a sequence; it may run over the end of an episode, where the LSTM's memory is cleared."""
    learning_rate: ScheduleLike = 2e-3
    """Step size of Adam for the LSTM: a number or a schedule over env steps, such as linear:1e-3:1e-4:100000."""
    vae_learning_rate: ScheduleLike = 1e-3
    """The same for the autoencoder."""
    max_grad_norm: float | None = 100.0
    """Clip each gradient to this Euclidean norm."""
    replay_size: int = 100_000
    """Slots of the replay; an episode takes one per action and one more."""
    temperature: float = 1.0
    """Temperature of the dream in which the controller learns: above 1 the model is less sure of what it predicts, at 0
    it is deterministic."""
    population_size: int = 16
    """Controllers per generation."""
    rollouts: int = 16
    """Dreams of each controller in a generation, the same for all of them; its fitness is their mean return."""
    dream_steps: int = 500
    """Longest dream, in steps."""
    sigma: float = 0.1
    """Standard deviation of the first controllers of a round around the last one."""
    epsilon: ScheduleLike = 0.0
    """Probability of a random action in training once a controller acts: a number or a schedule over env steps."""
    action_masks: bool = True
    """Act outside the dream only with allowed Discrete actions, if the environment provides action masks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        check_ranges(self, RANGES)
        check_choices(self, {"latent": get_args(Latent), "init": INITS})
        for name in ("hidden_sizes", "decoder_sizes"):
            if min(getattr(self, name) or (), default=1) < 1:
                raise ValueError(f"{name} must be numbers >= 1, got {getattr(self, name)}")
        check_activation(self.activation)
        for name in ("learning_rate", "vae_learning_rate"):
            schedule(getattr(self, name), name=name)
        schedule(self.epsilon, name="epsilon", high=1.0)

    def learns_from(self, num_envs: int) -> int:
        """Env steps before the first update: at least one stream then has a sequence."""
        return max(self.learning_starts, (self.sequence_length - 1) * num_envs + 1)


COUNTS = (
    *("latent_size", "decoder_channels", "units", "mixtures", "train_period", "updates_per_train"),
    *("vae_updates", "model_updates", "generations", "vae_batch_size", "batch_size", "sequence_length"),
    *("replay_size", "rollouts", "dream_steps"),
)
RANGES: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    (">= 1", lambda value: value >= 1, COUNTS),
    (">= 4", lambda value: value >= 4, ("population_size",)),
    (">= 0", lambda value: value >= 0, ("learning_starts",)),
    (">= 0", lambda value: 0.0 <= value < math.inf, ("beta", "free_bits", "temperature")),
    ("> 0", lambda value: 0.0 < value < math.inf, ("sigma",)),
    ("> 0", lambda value: value is None or 0.0 < value < math.inf, ("max_grad_norm",)),
)
"""The allowed values of options that are numbers: in words, as a test, and the options that they apply to."""
