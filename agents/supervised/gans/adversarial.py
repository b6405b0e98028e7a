"""What all generative adversarial networks share: their parts, the two losses, samples and measures."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised import quality
from gymnast.agents.supervised.gans import pictures
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.agents.supervised.manifolds import NEIGHBOURS
from gymnast.agents.supervised.observations import OfObservations
from gymnast.agents.supervised.shown import Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, Player, ready
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.gans.generator import Generator
from gymnast.networks.gans.heads import Score
from gymnast.networks.gans.history import History
from gymnast.networks.gans.losses import LOSSES
from gymnast.networks.gans.penalties import normalise_spectra, r1
from gymnast.networks.modes import has_batch_norm, opposing, resting
from gymnast.replay.datasets.labelled import Labelled
from gymnast.replay.datasets.points import Mixture

LATENT = 64
"""Numbers of a latent by default, at most."""
FOLLOWED = 12
"""Latents whose images are followed over the course of training."""
FOLLOWED_POINTS = 400
"""The same of vectors."""
CHUNK = 256
"""Samples that are generated at once."""
SAMPLED = 4
"""Rows of samples in a picture."""
WALKED = 6
"""Pairs of latents between which a picture walks."""


class Judged(NamedTuple):
    """What a discriminator says of B examples."""

    score: Tensor
    """[B]; high ones mean real."""
    features: Tensor
    """Of its backbone, [B, F]."""


class Gan(OfObservations):
    """Fits a generator and a discriminator, the backbone and a head, by their opposite losses.

    A latent is what the generator reads: numbers from the prior, and perhaps a condition or codes.
    """

    samples = False
    least = NEIGHBOURS + 1
    Config: ClassVar[type[GanConfig]] = GanConfig
    config: GanConfig
    network: FitNetwork

    def __init__(self, source: Source, config: GanConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        target = Target(self.observation_space, self.sample)
        target.check_back()
        self.shape = target.shape
        self.is_vector = target.images is None
        self.latent_size = config.latent_size or (min(target.size, LATENT) if self.is_vector else LATENT)
        self.metric, self.largest = ("f1", True) if self.is_vector else ("frechet", False)
        backbone = self.backbone_of(self.generator)
        judges = self.judges(int(backbone.out_features))  # type: ignore[arg-type]
        self.discriminator = nn.ModuleList([backbone, *judges.values()])
        if config.spectral_norm:
            normalise_spectra(self.discriminator)
        self.check_discriminator()
        made = self.made(target)
        prior = self.latents(FOLLOWED_POINTS if self.is_vector else FOLLOWED, self.generator)
        history = History(prior, target.shape, unit=target.unit)
        heads = {"target": target, **judges, **self.others(), "generator": made, "history": history}
        self.network = ready(FitNetwork(backbone, heads), device)
        self.mixes = bool(config.minibatch_kernels) or has_batch_norm(self.discriminator)
        self.measured_in = quality.Features(target, source.encoder, device=device)

    def judges(self, features: int) -> dict[str, nn.Module]:
        """Heads of the discriminator by name, `score` among them."""
        config = self.config
        return {"score": Score(features, kernels=config.minibatch_kernels, init=config.init, generator=self.generator)}

    def others(self) -> dict[str, nn.Module]:
        """Further heads by name, which do not learn."""
        return {}

    def check_discriminator(self) -> None:
        """ValueError for a network that does not suit the kind."""

    @property
    def latent_width(self) -> int:
        """Numbers that the generator reads."""
        return self.latent_size

    def made(self, target: Target) -> Generator:
        """The generator."""
        config = self.config
        return Generator(
            self.latent_width,
            target,
            hidden_sizes=config.generator_sizes,
            channels=config.generator_channels,
            norm=config.generator_norm,
            init=config.init,
            generator=self.generator,
        )

    def players(self) -> tuple[Player, ...]:
        config, steps = self.config, self.config.critic_steps
        generator: Any = self.network.heads["generator"]
        rate = config.generator_learning_rate or config.learning_rate
        return (
            Player("discriminator", self.discriminator, self.loss, config.learning_rate),
            Player("generator", generator, self.generator_loss, rate, every=steps),
        )

    def latents(self, number: int, generator: torch.Generator) -> Tensor:
        """Latents [number, latent_width] from the prior."""
        return torch.randn(number, self.latent_size, generator=generator, device=generator.device)

    def latents_like(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Latents for as many examples as a batch has, under its conditions if there are some."""
        return self.latents(len(batch.rows), generator)

    def condition(self, batch: Any) -> Tensor | None:
        """The conditions [B, C] of a batch that the discriminator reads."""
        return None

    def judged(self, obs: Tensor, condition: Tensor | None) -> Judged:
        """What the discriminator says of observations [B, ...], float32 in their own units."""
        features = self.network.backbone(obs)
        return Judged(self.network.heads["score"](features, condition), features)

    def scored(self, values: Tensor, condition: Tensor | None) -> Tensor:
        """The scores [B] of values [B, *shape]."""
        return self.judged(self.network.heads["target"].back(values), condition).score

    def both(self, real: Tensor, fake: Tensor, condition: Tensor | None) -> tuple[Judged, Judged]:
        """Judgements of values [B, *shape]: in one pass, unless examples of a batch influence each other."""
        back = self.network.heads["target"].back
        if self.mixes:
            return self.judged(back(real), condition), self.judged(back(fake), condition)
        twice = None if condition is None else condition.repeat(2, 1)
        score, features = (part.chunk(2) for part in self.judged(back(torch.cat([real, fake])), twice))
        return Judged(score[0], features[0]), Judged(score[1], features[1])

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The discriminator's loss."""
        heads = self.network.heads
        real, condition = heads["target"](batch.obs), self.condition(batch)
        latent = self.latents_like(batch, generator)
        with torch.no_grad(), opposing(heads["generator"]):
            fake = heads["generator"](latent)
        of_real, of_fake = self.both(real, fake, condition)
        loss = LOSSES[self.config.chosen_loss].discriminator(of_real.score, of_fake.score)
        metrics: Metrics = {"real_score": of_real.score.mean(), "fake_score": of_fake.score.mean()}
        for added, more in (
            self.penalty(real, fake, condition, generator),
            self.informed(of_fake.features, latent),
        ):
            loss = loss if added is None else loss + added
            metrics |= more
        return loss, metrics

    def generator_loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The generator's loss."""
        heads = self.network.heads
        self.remember()
        latent = self.latents_like(batch, generator)
        with opposing(self.discriminator):
            judged = self.judged(heads["target"].back(heads["generator"](latent)), self.condition(batch))
            added, _ = self.informed(judged.features, latent)
        loss = LOSSES[self.config.chosen_loss].generator(judged.score)
        return loss if added is None else loss + added, {}

    def penalty(
        self, real: Tensor, fake: Tensor, condition: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor | None, Metrics]:
        """What is added to the discriminator's loss, and further numbers to log."""
        if not self.config.r1:
            return None, {}
        size = r1(lambda values: self.scored(values, condition), real)
        return self.config.r1 * size, {"r1": size}

    def informed(self, features: Tensor, latent: Tensor) -> tuple[Tensor | None, Metrics]:
        """What is added to both losses, of the features [B, F] of generated examples, and further numbers to log."""
        return None, {}

    def remember(self) -> None:
        """Keep what the latents that are followed give now, if such a moment has come."""
        heads: Any = self.network.heads
        if heads["history"].is_due:
            with resting(heads["generator"]):
                heads["history"].keep(self.generated(heads["history"].latent))
        heads["history"].seen += 1

    @torch.no_grad()
    def generated(self, latent: Tensor) -> Tensor:
        """Values [B, *shape] of latents [B, latent_width]."""
        made = self.network.heads["generator"]
        return torch.cat([made(part) for part in torch.split(latent, CHUNK)])

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Samples [number, *shape] in the units of `Target`."""
        return self.generated(self.latents(number, generator))

    def outputs(self, batch: Any) -> Outputs:
        target = self.network.heads["target"]
        generator = torch.Generator(self.device).manual_seed(int(batch.rows[0]))  # the same for the same examples
        fake = self.generated(self.latents_like(batch, generator))
        found = {"real": self.measured_in(target(batch.obs)), "fake": self.measured_in(fake)}
        if self.mixture is not None:
            found["point"] = target.back(fake)
        return found

    def measures(self, outputs: Outputs) -> dict[str, float]:
        found = quality.compared(outputs["real"], outputs["fake"])
        return found if self.mixture is None else found | quality.coverage(outputs["point"], self.mixture)

    @property
    def mixture(self) -> Mixture | None:
        """The distribution of the data, if it is such a one."""
        return self.data.mixture if isinstance(self.data, Labelled) else None

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        return pictures.shown(self)

    def rows(self, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows of latents [columns, latent_width] by label, for the picture of samples."""
        return {str(row + 1): self.latents(columns, generator) for row in range(SAMPLED)}

    def walks(self, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows of latents [columns, latent_width] by label, along which the picture of a walk goes."""
        pairs = self.latents(2 * WALKED, generator).view(WALKED, 2, -1)
        share = torch.linspace(0, 1, columns, device=pairs.device)
        return {f"pair {row + 1}": between(one, other, share) for row, (one, other) in enumerate(pairs)}


def between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Latents [N, L] on the arc from one [L] to another, at shares [N] of it (White 2016)."""
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0).clamp(-1 + 1e-6, 1 - 1e-6)
    angle, share = cosine.arccos(), share.unsqueeze(1)
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
