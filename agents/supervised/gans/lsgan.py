"""The least-squares GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig


@dataclass(frozen=True)
class LSGANConfig(GanConfig):
    """Scores of 1 for real and 0 for generated examples, by least squares (Mao et al. 2017)."""

    losses: ClassVar[tuple[str, ...]] = ("least-squares",)


class LeastSquares(Gan):
    """Fits both networks by squared errors of the scores."""

    name, Config = "gan-lsgan", LSGANConfig
