"""The Wasserstein GAN with clipped weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.agents.supervised.task import Player
from gymnast.networks.gans.penalties import clip_


@dataclass(frozen=True)
class WGANConfig(GanConfig):
    """A critic with small weights, whose scores differ by about the Wasserstein distance (Arjovsky et al. 2017)."""

    losses: ClassVar[tuple[str, ...]] = ("wasserstein",)

    learning_rate: float = 5e-5
    """Step size at first, or the largest one of one-cycle."""
    optimizer: str = "rmsprop"
    """Any elementwise torch optimizer in lower case."""
    critic_steps: int = 5
    """Updates of the discriminator for each of the generator."""
    clip: float = 0.01
    """Bound of the absolute value of the discriminator's weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.clip < float("inf"):
            raise ValueError(f"clip must be > 0, got {self.clip}")
        if self.spectral_norm:
            raise ValueError("spectral_norm leaves no effect to clip; wgan-gp and hinge take it")


class Wasserstein(Gan):
    """Fits a critic whose weights are clipped after each update."""

    name, Config = "gan-wgan", WGANConfig
    config: WGANConfig

    def players(self) -> tuple[Player, ...]:
        critic, generator = super().players()
        weights = list(self.discriminator.parameters())
        return replace(critic, constrain=lambda: clip_(weights, self.config.clip)), generator
