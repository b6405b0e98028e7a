"""The precision in which a network's convolutions are computed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gymnast.networks.backbones.convolutional import ConvNet


@dataclass(frozen=True)
class PrecisionConfig:
    """The setting of every agent whose network may have convolutions."""

    bf16: bool = False
    """Compute convolutions in bfloat16: faster and less exact; weights and everything else stay float32."""


def in_bfloat16(base: nn.Module) -> nn.Module:
    """A backbone that computes its convolutions in bfloat16; ValueError if it has none that can."""
    if not isinstance(base, ConvNet):
        raise ValueError(f"bf16 needs a backbone nature-cnn, a3c-cnn or efficient-cnn, got {type(base).__name__}")
    base.bf16 = True
    return base
