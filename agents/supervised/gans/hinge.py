"""The GAN with spectral normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig


@dataclass(frozen=True)
class HingeConfig(GanConfig):
    """The hinge loss, and weights of spectral norm 1 (Miyato et al. 2018)."""

    losses: ClassVar[tuple[str, ...]] = ("hinge",)
    betas: ClassVar[tuple[float, float] | None] = (0.0, 0.9)

    spectral_norm: bool = True
    """Divide the discriminator's weights by their largest singular value (Miyato et al. 2018)."""


class Hinge(Gan):
    """Fits both networks by the hinge loss."""

    name, Config = "gan-hinge", HingeConfig
