"""The convolutional variational autoencoder of `pretrain.py`: ours, pythae's, and a bare loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from pretrain_task import SIDE, VALIDATION, Clock, Result, Setting, session, timed

LATENT, LEARNING_RATE = 32, 1e-3


def our_session(setting: Setting, *, epochs: int, bf16: bool = False) -> Any:
    """Our session, over the layers of all contenders and without clipped gradients."""
    from gymnast.agents.supervised.table import config_class

    task = "autoencoder-variational"
    config = config_class(task)(
        network="nature-cnn",
        latent_size=LATENT,
        decoder_channels=32,
        output_std=1.0,
        batch_size=setting.batch,
        learning_rate=LEARNING_RATE,
        max_grad_norm=None,
        bf16=bf16,
        sample_measures=False,
    )
    return session(setting, task, config, epochs=epochs)


def ours(setting: Setting, *, bf16: bool = False) -> Result:
    """Our session."""
    return timed(our_session(setting, epochs=2, bf16=bf16), setting)


def layers(latent: int = LATENT, *, halves: int = 2) -> tuple[Any, Any, Any]:
    """The layers of all contenders: encoder, the latent or both halves of its distribution, and decoder."""
    from torch import nn

    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
    )

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(latent, 128 * 6 * 6)
            widths = (128, 128, 64, 32, 1)
            self.layers = nn.ModuleList(nn.ConvTranspose2d(one, other, 4, 2, 1) for one, other in pairwise(widths))

        def forward(self, given: Any) -> Any:
            images = self.first(given).view(-1, 128, 6, 6)
            for layer, side in zip(self.layers, (11, 21, 42, 84), strict=True):
                images = layer(images.relu())[..., :side, :side]
            return images

    return encoder, nn.Linear(512, halves * latent), Decoder()


def bare(setting: Setting) -> Result:
    """A plain loop."""
    import torch

    def loss(encoder: Any, latent: Any, decoder: Any, target: Any) -> Any:
        mean, log_variance = latent(encoder(target)).chunk(2, 1)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        error = 0.5 * (decoder(drawn) - target).square().flatten(1).sum(1)
        rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error + rate).mean()

    return looped(setting, loss)


def looped(setting: Setting, loss: Callable[..., Any], *, halves: int = 2) -> Result:
    """A plain loop with a loss of the three parts of the layers and a batch."""
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    images = torch.from_numpy(setting.images()[:-VALIDATION])
    parts = layers(halves=halves)
    optimizer = torch.optim.Adam(torch.nn.ModuleList(parts).parameters(), lr=LEARNING_RATE)
    clock = Clock()
    for _ in range(2):
        clock.start()
        for index in torch.randperm(len(images)).split(setting.batch):
            found = loss(*parts, images[index].float() / 255)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
    return clock.stop(setting.steps)


def pythae(setting: Setting) -> Result:
    """pythae's trainer and VAE."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.latent, _ = layers()

        def forward(self, images: Any) -> Any:
            mean, log_variance = self.latent(self.layers(images)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    model = VAE(VAEConfig(input_dim=(1, SIDE, SIDE), latent_dim=LATENT), encoder=Encoder(), decoder=peer_decoder())
    return peer_trained(setting, model)


def peer_decoder() -> Any:
    """The decoder, as pythae takes it."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()[2]

        def forward(self, latent: Any) -> Any:
            return ModelOutput(reconstruction=self.layers(latent))

    return Decoder()


def peer_trained(setting: Setting, model: Any) -> Result:
    """The second epoch of pythae's trainer."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    torch.set_num_threads(setting.threads)
    clock, results = Clock(), list[Result]()

    class Epochs(TrainingCallback):  # type: ignore[misc]
        def on_epoch_begin(self, training_config: Any, **_: Any) -> None:
            clock.start()

        def on_epoch_end(self, training_config: Any, **_: Any) -> None:
            results.append(clock.stop(setting.steps))

    images = torch.from_numpy(setting.images()[:-VALIDATION]) / 255
    config = BaseTrainerConfig(
        output_dir=str(setting.folder / "pythae"),
        num_epochs=2,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=setting.batch,
        optimizer_cls="Adam",
        no_cuda=True,
    )
    data = BaseDataset(images, torch.zeros(len(images)))
    BaseTrainer(model=model, train_dataset=data, training_config=config, callbacks=[Epochs()]).train()
    return results[-1]
