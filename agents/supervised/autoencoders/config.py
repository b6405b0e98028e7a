"""Settings that all autoencoders share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gymnast.agents.supervised.config import FitConfig
from gymnast.networks.autoencoders.outputs import LOSSES


@dataclass(frozen=True)
class AutoencoderConfig(FitConfig):
    """A backbone as the encoder, and a decoder."""

    losses: ClassVar[tuple[str, ...]] = LOSSES
    betas: ClassVar[tuple[float, float] | None] = (0.9, 0.99)
    """Adam forgets its first gradients, which are far too large, sooner than by default."""

    loss: str = "auto"
    """Error of what is restored: mse (auto), or bernoulli, the cross-entropy of numbers between 0 and 1."""
    max_grad_norm: float | None = 1.0
    """Clip the gradient to this Euclidean norm."""
    latent_size: int | None = None
    """Numbers of the latent, a linear map of the network's features. Default: the features themselves."""
    decoder_sizes: tuple[int, ...] = (256,)
    """Units of the fully connected layers of a decoder of vectors."""
    decoder_channels: int = 16
    """Channels of the last hidden layer of a decoder of images; they double inwards, up to four times as many."""
    bf16: bool = False
    """Compute convolutions in bfloat16: faster and less exact; weights and everything else stay float32."""
    linear_probe: bool = True
    """Measure at the end how well linear classifiers tell classes from latents, and from those of random weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "decoder_channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if min(self.decoder_sizes, default=1) < 1:
            raise ValueError(f"decoder_sizes must be numbers >= 1, got {self.decoder_sizes}")
        if self.augment != "none":
            raise ValueError("augment has no place in an autoencoder, which restores what it is given; denoising does")


def check_numbers(config: FitConfig, *names: str, below: float = float("inf")) -> None:
    """ValueError for a number that is negative, or not below a bound."""
    for name in names:
        if not 0.0 <= getattr(config, name) < below:
            bound = "" if below == float("inf") else f" and < {below:g}"
            raise ValueError(f"{name} must be >= 0{bound}, got {getattr(config, name)}")
