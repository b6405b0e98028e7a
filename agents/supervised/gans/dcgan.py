"""The deep convolutional GAN."""

from __future__ import annotations

from dataclasses import dataclass

from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.networks.build import BackboneName
from gymnast.networks.gans.generator import GeneratorNorm


@dataclass(frozen=True)
class DCGANConfig(GanConfig):
    """Convolutions with batch normalisation on both sides (Radford et al. 2016)."""

    network: BackboneName = "dcgan"
    """Network of the discriminator below its head. With --help: its options."""
    generator_norm: GeneratorNorm = "batch"
    """Normalisation of the generator's layers: none or batch."""


class DeepConvolutional(Gan):
    """Fits a generator of images by the loss of the vanilla GAN."""

    name, Config = "gan-dcgan", DCGANConfig
