"""The deterministic autoencoder, and what all kinds share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig
from gymnast.agents.supervised.autoencoders.tiles import tiles
from gymnast.agents.supervised.observations import Observations, OfObservations
from gymnast.agents.supervised.shown import Bars, Grid, Scatter, Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, linear_head, ready
from gymnast.networks.autoencoders.decoders import ImageDecoder, VectorDecoder, decoder
from gymnast.networks.autoencoders.grid import GridDecoder
from gymnast.networks.autoencoders.outputs import Output
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.backbones.convolutional import ConvNet
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.episodes import EpisodeData

STARTED = 1_000
"""Training observations from whose mean a decoder starts, and whose deviation is the unit of its errors."""
SHOWN = 12
"""Examples beside each other in a picture."""
SAMPLED = 4
"""Rows of samples."""
WALKED = 8
"""Numbers of the latent along which a picture walks, those of the largest variance."""
ACTIVE = 0.01
"""Share of the largest variance from which a number of the latent counts as used."""


class Autoencoder(OfObservations):
    """Fits an encoder, the backbone and perhaps a linear map, and a decoder that restores what is encoded."""

    name, metric, largest = "autoencoder-convolutional", "loss", False
    Config: ClassVar[type[AutoencoderConfig]] = AutoencoderConfig
    flat = False
    """Whether images are restored as vectors."""
    config: AutoencoderConfig
    network: FitNetwork
    latent_size: int

    def __init__(self, source: Source, config: AutoencoderConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.source = source
        self.prepare()
        backbone = self.backbone_of(self.generator)
        target = Target(self.observation_space, self.sample, flat=self.flat)
        if config.chosen_loss == "bernoulli" and not target.unit:
            raise ValueError(f"loss bernoulli needs numbers between 0 and 1, got {self.observation_space}")
        self.shape = target.shape
        self.check_target(target)
        mean, spread = self.moments(target)
        output, between = self.output(spread), self.latents(int(backbone.out_features))  # type: ignore[arg-type]
        made = self.decoder(backbone)
        made.start_at(output.raw(mean))
        if config.bf16:
            self.halve(backbone, made)
        heads = {"target": target, "output": output, **between, "decoder": made}
        self.network = ready(FitNetwork(backbone, heads), device)

    def halve(self, *modules: nn.Module) -> None:
        """Compute the convolutions of an encoder and a decoder in bfloat16; ValueError if they have none."""
        for module in modules:
            if not isinstance(module, ConvNet | ImageDecoder | GridDecoder):
                raise ValueError(
                    f"bf16 needs images and network nature-cnn, a3c-cnn or efficient-cnn, got {self.config.network}"
                )
            module.bf16 = True

    def prepare(self) -> None:
        """Choose the examples of this kind among the observations.

        Of stacked frames those of the first steps are left out: their blank frames differ from all others so much that
        a few of them would outweigh everything else.
        """
        if isinstance(self.data, EpisodeData) and self.data.frame_stack > 1:
            whole = time_of(self.data) >= self.data.frame_stack - 1
            self.keep(whole, f"no episode has {self.data.frame_stack} frames")

    def keep(self, chosen: Tensor, otherwise: str) -> None:
        """Keep the examples of a mask [S]; ValueError in the given words if none is left of a split."""
        for name in ("train", "validation"):
            index = getattr(self, name)
            index = index[chosen[index]]
            if not len(index):
                raise ValueError(f"{self.data.name}: {otherwise} for {name}")
            setattr(self, name, index)
        self.test = self.validation

    def check_target(self, target: Target) -> None:
        """ValueError for observations that this kind cannot take."""

    def moments(self, target: Target) -> tuple[Tensor, float]:
        """Means [*shape] of what is restored, and the deviation of its numbers from them, over training examples."""
        return target.moments(self.sample(STARTED))

    def output(self, spread: float) -> Output:
        """The meaning of the decoder's output, for data of a deviation."""
        return Output(self.config.chosen_loss, spread=spread)

    def latents(self, features: int) -> dict[str, nn.Module]:
        """Modules between features and latents by name, `latent` among them; sets `latent_size`."""
        size = self.config.latent_size
        self.latent_size = size or features
        return {"latent": linear_head(features, size, self.config, self.generator) if size else nn.Identity()}

    def decoder(self, backbone: nn.Module) -> Any:
        """The decoder of latents [B, latent_size] to [B, *shape], with a `start_at`."""
        return self.decoder_of(self.latent_size)

    def decoder_of(self, size: int) -> VectorDecoder | ImageDecoder:
        """A decoder of vectors [B, size] to [B, *shape]."""
        config = self.config
        return decoder(
            size,
            self.shape,
            hidden_sizes=config.decoder_sizes,
            channels=config.decoder_channels,
            activation=config.activation,
            init=config.init,
            generator=self.generator,
        )

    def random(self, seed: np.random.SeedSequence) -> Autoencoder:
        """The same with other initial weights, to compare with."""
        return type(self)(replace(self.source, seed=seed), self.config, device=self.device)

    def target(self, obs: Obs) -> Tensor:
        """What is restored of observations, [B, *shape]."""
        found: Tensor = self.network.heads["target"](obs)
        return found

    def encode(self, obs: Obs) -> Tensor:
        """Latents [B, latent_size]; of a distribution its mean."""
        latent: Tensor = self.network.heads["latent"](self.network.backbone(obs))
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """What latents [B, latent_size] are restored to, [B, *shape]."""
        restored: Tensor = self.network.heads["output"].mean(self.network.heads["decoder"](latent))
        return restored

    def given(self, batch: Observations, target: Tensor, generator: torch.Generator) -> Obs:
        """The observations that are encoded."""
        return batch.obs

    def penalty(self, latent: Tensor, obs: Obs, generator: torch.Generator) -> tuple[Tensor | None, Metrics]:
        """What is added to the error, and further numbers to log."""
        return None, {}

    def loss(self, batch: Observations, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        heads = self.network.heads
        target = self.target(batch.obs)
        given = self.given(batch, target, generator)
        latent = self.encode(given)
        error = heads["output"].error(heads["decoder"](latent), target).mean()
        penalty, metrics = self.penalty(latent, given, generator)
        return error if penalty is None else error + penalty, {"error": error, **metrics}

    def same(self, batch: Observations) -> torch.Generator:
        """A generator of an evaluation, the same for the same examples."""
        return torch.Generator(self.device).manual_seed(int(batch.rows[0]))

    def outputs(self, batch: Observations) -> Outputs:
        heads = self.network.heads
        target = self.target(batch.obs)
        latent = self.encode(self.given(batch, target, self.same(batch)))
        raw = heads["decoder"](latent)
        error = heads["output"].error(raw, target)
        return {"latent": latent, "error": error, **self.compared(target, heads["output"].mean(raw))}

    def compared(self, target: Tensor, restored: Tensor) -> Outputs:
        """What the measures of a reconstruction are computed from."""
        return {
            "mse": (restored - target).square().flatten(1).mean(1),
            "sum": target.flatten(1).sum(0, keepdim=True),
            "square": target.square().flatten(1).sum(1),
        }

    def measures(self, outputs: Outputs) -> dict[str, float]:
        error = outputs["error"].double().mean().item()
        found = {"loss": error, **self.reconstruction(outputs), **used(outputs["latent"])}
        return found if self.config.chosen_loss == "mse" else {**found, "nll": error}

    def reconstruction(self, outputs: Outputs) -> dict[str, float]:
        """The mean squared error of one number, and the share of the variance that is restored."""
        mse = outputs["mse"].double().mean()
        mean = outputs["sum"].double().sum(0) / len(outputs["square"])
        variance = outputs["square"].double().mean() - mean.square().sum()
        size = outputs["sum"].shape[1]
        return {"mse": mse.item(), "r2": 1.0 - (mse * size / variance.clamp(min=1e-12)).item()}

    @torch.no_grad()
    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        batch = self.batch(self.test[:: max(len(self.test) // SHOWN, 1)][:SHOWN])
        rows = self.compared_rows(batch)
        found: dict[str, Shown] = {"reconstructions": self.grid(rows)}
        if self.network.heads["target"].images is None:
            found["restored"] = Scatter(rows["restored"].cpu(), rows["input"].cpu())
        samples = self.drawn(SAMPLED * SHOWN, torch.Generator(self.device).manual_seed(0))
        if samples is not None:
            found["samples"] = self.grid({str(row + 1): part for row, part in enumerate(torch.split(samples, SHOWN))})
        return found | self.latent_shown(outputs, batch)

    def latent_shown(self, outputs: Outputs, batch: Observations) -> dict[str, Shown]:
        """A walk through the latent space from the first example, and the use of its numbers."""
        latent = outputs["latent"]
        variance = latent.var(0, correction=0)
        quantiles = latent.quantile(torch.linspace(0.01, 0.99, SHOWN), dim=0).to(self.device)
        rows = {}
        for index in variance.argsort(descending=True, stable=True)[:WALKED].tolist():
            walked = self.encode(batch.obs)[:1].repeat(SHOWN, 1)
            walked[:, index] = quantiles[:, index]
            rows[f"latent {index}"] = self.decode(walked)
        spread = variance.sort(descending=True).values.sqrt()
        return {"walk": self.grid(rows), "latent_use": Bars(spread, "numbers of the latent, sorted", "deviation")}

    def compared_rows(self, batch: Observations) -> dict[str, Tensor]:
        """Rows of the picture of reconstructions, [N, *shape] each, by label; `input` and `restored` among them."""
        target = self.target(batch.obs)
        given = self.given(batch, target, self.same(batch))
        return {"input": target, "restored": self.decode(self.encode(given))}

    def grid(self, rows: dict[str, Tensor]) -> Grid:
        """Rows of values [N, *shape] by label as pictures."""
        target: Any = self.network.heads["target"]
        return Grid(torch.stack([tiles(target, values) for values in rows.values()]), tuple(rows))


def time_of(data: EpisodeData) -> Tensor:
    """The step of each transition in its episode, int64 [S]."""
    return torch.arange(len(data)) - data.starts[data.episode]


def used(latent: Tensor) -> dict[str, float]:
    """Use of the numbers of latents [N, L]: the share with some variance, and the effective number of dimensions.

    The latter is the participation ratio of the covariance's eigenvalues: their sum squared over the sum of squares.
    """
    centred = latent.double() - latent.double().mean(0)
    variance = centred.square().mean(0)
    active = variance > ACTIVE * variance.max()
    covariance = centred.T @ centred / len(latent)
    ratio = variance.sum().square() / covariance.square().sum().clamp(min=1e-30)
    return {"active": active.double().mean().item(), "effective_dimensions": ratio.item()}
