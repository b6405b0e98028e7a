"""The linear autoencoder, which finds the subspace of the principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.networks.autoencoders.decoders import VectorDecoder


@dataclass(frozen=True)
class LinearConfig(AutoencoderConfig):
    """One linear layer as the encoder, and one as the decoder (Baldi & Hornik 1989)."""

    losses: ClassVar[tuple[str, ...]] = ("mse",)

    network: str = "linear"
    """Network: linear."""
    activation: str = "identity"
    """Activation: identity."""
    loss: Literal["auto", "mse"] = "auto"
    """Squared error."""
    learning_rate: float = 3e-3
    """Step size at first, or the largest one of one-cycle."""
    latent_size: int = 16
    """Numbers of the latent, which are the features of the encoder."""

    def __post_init__(self) -> None:
        if self.hidden_sizes not in (None, (self.latent_size,)):
            raise ValueError(f"hidden_sizes of a linear autoencoder are its latent_size, got {self.hidden_sizes}")
        object.__setattr__(self, "hidden_sizes", (self.latent_size,))
        super().__post_init__()
        for name, value in (("network", "linear"), ("activation", "identity"), ("layer_norm", False)):
            if getattr(self, name) != value:
                raise ValueError(f"{name} of a linear autoencoder must be {value}, got {getattr(self, name)}")
        for name in ("decoder_sizes", "decoder_channels", "bf16"):
            if getattr(self, name) != getattr(AutoencoderConfig, name):
                raise ValueError(f"{name} has no effect on a linear autoencoder, got {getattr(self, name)}")


class LinearAutoencoder(Autoencoder):
    """Of all linear maps to so many numbers and back, those with the least squared error; images are vectors."""

    name, Config = "autoencoder-linear", LinearConfig
    flat = True
    config: LinearConfig

    def latents(self, features: int) -> dict[str, nn.Module]:
        self.latent_size = features
        return {"latent": nn.Identity()}

    def decoder(self, backbone: nn.Module) -> VectorDecoder:
        init, generator = self.config.init, self.generator
        return VectorDecoder(self.latent_size, self.shape[0], (), activation="identity", init=init, generator=generator)
