"""The original generative adversarial network."""

from __future__ import annotations

from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig


class Vanilla(Gan):
    """Fits the discriminator as a classifier, and the generator by the non-saturating loss (Goodfellow et al. 2014)."""

    name, Config = "gan-vanilla", GanConfig
