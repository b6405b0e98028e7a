"""Settings of a fitted network: its layers and its optimisation, the same for every task."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from gymnast.agents.optim import optimizers
from gymnast.agents.supervised import schedules
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import BackboneName, named
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.layers.penalties import Penalty, check_penalty

WITH_BETAS = ("adam", "adamw", "nadam", "radam", "adamax")
"""Optimizers with the decays of Adam."""
PENALTY_WEIGHT = 1e-4
"""Factor of a weight penalty by default."""


@dataclass(frozen=True)
class FitConfig:
    """The network and its optimisation."""

    losses: ClassVar[tuple[str, ...]] = ()
    """Losses of the task, its default first."""
    betas: ClassVar[tuple[float, float] | None] = None
    """Decays of Adam and its relatives, unless `optimizer_options` name others; None for torch's."""

    network: BackboneName = "auto"
    """Network below the heads: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = None
    """Units of the fully connected layers. Default: the network's."""
    activation: str = "relu"
    """Activation of the fully connected layers; see the guide to networks for the names."""
    layer_norm: bool = False
    """Normalise the output of each fully connected layer before its activation (Ba et al. 2016)."""
    init: Init = "he"
    """Initial weights; lsuv scales them by training examples."""
    loss: str = "auto"
    """Loss of the task."""
    batch_size: int = 64
    """Examples of an update."""
    learning_rate: float = 1e-3
    """Step size at first, or the largest one of one-cycle."""
    optimizer: str = "adam"
    """Any elementwise torch optimizer in lower case."""
    optimizer_options: str = field(default="", metadata={"metavar": "JSON"})
    """Further arguments of the optimizer, as a JSON object such as '{"momentum": 0.9}'."""
    weight_decay: float = 0.0
    """Weight decay of the optimizer."""
    schedule: str = "constant"
    """Learning rate over the updates: constant, or a torch schedule such as cosine-annealing, one-cycle or plateau."""
    schedule_options: str = field(default="", metadata={"metavar": "JSON"})
    """Further arguments of the schedule, as a JSON object."""
    max_grad_norm: float | None = None
    """Clip the gradient to this Euclidean norm."""
    weight_penalty: Penalty = "none"
    """Add the weights' absolute values (l1), their squares (l2) or both (elastic) to the loss; biases do not count."""
    penalty_weight: float = PENALTY_WEIGHT
    """Factor of the weight penalty."""
    max_norm: float | None = None
    """Bound the Euclidean norm of each unit's incoming weights after every update (Srivastava et al. 2014)."""
    average: float = 0.0
    """Decay of an average of the weights (Polyak & Juditsky 1992), which is evaluated and kept; 0 for none."""
    augment: Literal["none", "shift"] = "none"
    """Shift training images at random: pad their edges and crop (Kostrikov et al. 2021)."""
    augment_pad: int | None = None
    """Pixels by which an image is shifted at most. Default: 4 of 80 or more, 1 of small images."""
    mc_samples: int = 0
    """Passes with dropout whose mean is the prediction in evaluations (Gal & Ghahramani 2016); 0 for one without."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        check_activation(self.activation)
        check_penalty(self.weight_penalty)
        if self.init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, got {self.init!r}")
        if self.loss != "auto" and self.loss not in self.losses:
            raise ValueError(f"loss must be auto or one of {', '.join(self.losses)}, got {self.loss!r}")
        if self.hidden_sizes is not None and min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must be numbers >= 1, got {self.hidden_sizes}")
        for name in ("batch_size", "augment_pad"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("weight_decay", "mc_samples", "penalty_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm", "max_norm"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        if self.augment_pad is not None and self.augment == "none":
            raise ValueError(f"augment_pad {self.augment_pad} has no effect without augment shift")
        if self.penalty_weight != PENALTY_WEIGHT and self.weight_penalty == "none":
            raise ValueError(f"penalty_weight {self.penalty_weight} has no effect without weight_penalty")
        if not 0.0 <= self.average < 1.0:
            raise ValueError(f"average must be >= 0 and < 1, got {self.average}")
        optimizers.check(self.optimizer, None)
        optimizers.check_options(self.optimizer, as_object("optimizer_options", self.optimizer_options))
        schedules.check(self.schedule, as_object("schedule_options", self.schedule_options))

    @property
    def optimizer_arguments(self) -> dict[str, Any]:
        """Further arguments of the optimizer."""
        own = {"betas": self.betas} if self.betas is not None and self.optimizer in WITH_BETAS else {}
        return own | as_object("optimizer_options", self.optimizer_options)

    @property
    def chosen_loss(self) -> str:
        """The loss that `auto` means, or the named one."""
        return self.losses[0] if self.loss == "auto" else self.loss


def as_object(name: str, text: str) -> dict[str, Any]:
    """A JSON object given as an option; ValueError for anything else."""
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object such as '{{\"momentum\": 0.9}}', got {text}")
    return value
