"""The convolutional Wasserstein autoencoder of `pretrain.py`: ours, pythae's WAE-MMD, and a bare loop."""

from __future__ import annotations

from typing import Any

from pretrain_task import SIDE, Result, Setting, session, timed
from pretrain_vae import LATENT, LEARNING_RATE, layers, looped, peer_decoder, peer_trained

WEIGHT = 3e-2
"""Of the discrepancy, pythae's default."""
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of the kernels, pythae's defaults and ours."""


def ours(setting: Setting, *, bf16: bool = False) -> Result:
    """Our session."""
    from gymnast.agents.supervised.table import config_class

    task = "autoencoder-wasserstein"
    config = config_class(task)(
        network="nature-cnn",
        latent_size=LATENT,
        decoder_channels=32,
        mmd_weight=WEIGHT,
        batch_size=setting.batch,
        learning_rate=LEARNING_RATE,
        max_grad_norm=None,
        bf16=bf16,
        sample_measures=False,
    )
    return timed(session(setting, task, config, epochs=2), setting)


def bare(setting: Setting) -> Result:
    """A plain loop."""
    import torch

    def similarity(one: Any, other: Any) -> Any:
        squared = one.square().sum(1, keepdim=True) + other.square().sum(1) - 2 * one @ other.T
        return sum(2 * LATENT * scale / (2 * LATENT * scale + squared) for scale in SCALES)

    def within(latent: Any) -> Any:
        found = similarity(latent, latent)
        return (found.sum() - found.trace()) / (len(latent) * (len(latent) - 1))

    def loss(encoder: Any, latent: Any, decoder: Any, target: Any) -> Any:
        code = latent(encoder(target))
        drawn = torch.randn_like(code)
        error = (decoder(code) - target).square().flatten(1).sum(1).mean()
        return error + WEIGHT * (within(code) + within(drawn) - 2 * similarity(code, drawn).mean())

    return looped(setting, loss, halves=1)


def pythae(setting: Setting) -> Result:
    """pythae's trainer and WAE-MMD."""
    from pythae.models import WAE_MMD, WAE_MMD_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.latent, _ = layers(halves=1)

        def forward(self, images: Any) -> Any:
            return ModelOutput(embedding=self.latent(self.layers(images)))

    config = WAE_MMD_Config(input_dim=(1, SIDE, SIDE), latent_dim=LATENT, reg_weight=WEIGHT)
    return peer_trained(setting, WAE_MMD(config, encoder=Encoder(), decoder=peer_decoder()))
