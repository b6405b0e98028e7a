"""The stacked autoencoder, whose layers may learn one by one first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig, check_numbers
from gymnast.agents.supervised.autoencoders.plain import Autoencoder
from gymnast.agents.supervised.observations import Observations
from gymnast.agents.supervised.source import Source
from gymnast.networks.autoencoders.stacked import Mirror, Seen
from gymnast.networks.backbones.mlp import MLP
from gymnast.networks.build import BackboneName


@dataclass(frozen=True)
class StackedConfig(AutoencoderConfig):
    """Fully connected layers, each an autoencoder of the one below (Bengio et al. 2007)."""

    network: BackboneName = "mlp"
    """Network: mlp."""
    hidden_sizes: tuple[int, ...] = (256, 64)
    """Units of each layer, the lowest first; the last ones are the latent."""
    layer_epochs: int = 0
    """Epochs in which each layer learns to restore its own input, the lowest first, before all learn as a whole."""
    dropped: float = 0.0
    """Share of a layer's inputs that are set to 0 in the epochs of layers (Vincent et al. 2010)."""
    tied: bool = False
    """Decode by the transposed weights of the encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network != "mlp":
            raise ValueError(f"network of a stack must be mlp, got {self.network}")
        if not self.hidden_sizes:
            raise ValueError("hidden_sizes must be one number or more, got none")
        for name in ("latent_size", "decoder_sizes", "decoder_channels"):
            if getattr(self, name) != getattr(AutoencoderConfig, name):
                raise ValueError(f"{name} has no effect on a stack, whose decoder mirrors hidden_sizes")
        check_numbers(self, "layer_epochs")
        check_numbers(self, "dropped", below=1.0)
        if self.dropped and not self.layer_epochs:
            raise ValueError(f"dropped {self.dropped} has no effect without layer_epochs")


class Stacked(Autoencoder):
    """Restores observations through fully connected layers and their mirror; images are vectors."""

    name, Config = "autoencoder-stacked", StackedConfig
    flat = True
    config: StackedConfig

    def __init__(self, source: Source, config: StackedConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        first = config.layer_epochs * len(config.hidden_sizes)
        if first and first >= source.epochs:
            raise ValueError(
                f"layer_epochs {config.layer_epochs} of {len(config.hidden_sizes)} layers need more than {first} "
                f"epochs, got {source.epochs}"
            )

    def latents(self, features: int) -> dict[str, nn.Module]:
        self.latent_size = features
        return {"latent": nn.Identity(), "seen": Seen()}

    def decoder(self, backbone: nn.Module) -> Mirror:
        assert isinstance(backbone, MLP)
        if not backbone.is_plain:
            raise ValueError(f"{backbone.beyond[0]} has no place in a stack, whose layers are undone one by one")
        return Mirror(
            [cast(nn.Linear, layer) for layer in backbone.layers],
            backbone.activations,
            activation=self.config.activation,
            tied=self.config.tied,
            init=self.config.init,
            generator=self.generator,
        )

    @property
    def learning(self) -> int:
        """Layers that learn by themselves now, from the lowest; 0 if all learn as a whole."""
        epochs, layers = self.config.layer_epochs, len(self.config.hidden_sizes)
        if not epochs:
            return 0
        done = int(self.network.heads["seen"].examples) // (epochs * len(self.train))
        return done + 1 if done < layers else 0

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        learning = self.learning
        self.network.heads["seen"].examples += len(batch.rows)
        if not learning:
            return super().loss(batch, generator)
        heads, backbone = self.network.heads, self.network.backbone
        hidden = backbone.read(batch.obs)
        errors = []
        for level in range(learning):
            above = self.up(self.incomplete(hidden, generator), level)
            below = heads["decoder"].down(above, level)
            if level:
                errors.append((below - hidden).square().mean())
            else:
                errors.append(heads["output"].error(below, self.target(batch.obs)).mean())
            with torch.no_grad():
                hidden = self.up(hidden, level)
        return torch.stack(errors).sum(), {"error": errors[0]}

    def up(self, hidden: Tensor, level: int) -> Tensor:
        """Outputs of the layer below a level [B, U], or vectors, as its own outputs."""
        backbone: Any = self.network.backbone
        found: Tensor = backbone.activations[level](backbone.norms[level](backbone.layers[level](hidden)))
        return found

    def incomplete(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers with a share of them set to 0, if the config asks for it."""
        dropped = self.config.dropped
        if not dropped:
            return hidden
        return hidden * (torch.rand(hidden.shape, generator=generator, device=hidden.device) >= dropped)
