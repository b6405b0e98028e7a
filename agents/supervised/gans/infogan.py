"""The information-maximising GAN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised.autoencoders.config import check_numbers
from gymnast.agents.supervised.gans.adversarial import Gan
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.gans.heads import Codes
from gymnast.networks.gans.losses import LOSSES

REACH = 2.0
"""How far a walk goes along a number of the code; in training it goes to 1."""


@dataclass(frozen=True)
class InfoGANConfig(GanConfig):
    """Codes that a second head of the discriminator finds again (Chen et al. 2016)."""

    losses: ClassVar[tuple[str, ...]] = tuple(LOSSES)

    loss: Literal["auto", "non-saturating", "wasserstein", "least-squares", "hinge"] = "auto"
    """Loss; auto is non-saturating."""
    categories: int = 10
    """Choices of a categorical code; 0 for none."""
    codes: int = 2
    """Codes that are numbers, uniform between -1 and 1."""
    information: float = 1.0
    """Factor of the bound on the information that an example has about its code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "categories", "codes", "information")
        if self.categories == 1 or not self.categories + self.codes:
            raise ValueError(f"categories must be 0 or >= 2, with codes if they are 0; got {self.categories}")


class InfoGAN(Gan):
    """Fits a generator whose examples tell the codes that they were made from; `codes` is the head that reads them."""

    name, Config = "gan-infogan", InfoGANConfig
    config: InfoGANConfig

    def judges(self, features: int) -> dict[str, nn.Module]:
        config = self.config
        self.codes = Codes(features, config.categories, config.codes, init=config.init, generator=self.generator)
        return {**super().judges(features), "codes": self.codes}

    @property
    def latent_width(self) -> int:
        return self.latent_size + self.codes.size

    def latents(self, number: int, generator: torch.Generator) -> Tensor:
        """Numbers from the prior, then the codes."""
        return torch.cat([super().latents(number, generator), self.codes.draw(number, generator)], 1)

    def information(self, features: Tensor, latent: Tensor) -> Tensor:
        """The bound [B] on the information in nats about the codes in latents, of the features of their examples."""
        category, numbers = self.codes.log_density(features, latent[:, self.latent_size :])
        entropy = math.log(max(self.config.categories, 1)) + self.config.codes * math.log(2)
        return entropy + category + numbers

    def informed(self, features: Tensor, latent: Tensor) -> tuple[Tensor | None, Metrics]:
        information = self.information(features, latent).mean()
        return -self.config.information * information, {"information": information}

    def outputs(self, batch: Any) -> Outputs:
        generator = torch.Generator(self.device).manual_seed(int(batch.rows[0]))
        latent = self.latents(len(batch.rows), generator)
        features = self.network.backbone(self.network.heads["target"].back(self.generated(latent)))
        return {**super().outputs(batch), "information": self.information(features, latent)}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        return {**super().measures(outputs), "information": outputs["information"].double().mean().item()}

    def walks(self, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One latent under each category, and as each of the numbers goes from one side to the other."""
        config, start = self.config, self.latent_size
        latent = self.latents(1, generator).repeat(columns, 1)
        latent[:, start + config.categories :] = 0.0
        rows = {}
        if config.categories:
            chosen = torch.arange(columns, device=latent.device) % config.categories
            row = rows["category"] = latent.clone()
            row[:, start : start + config.categories] = nn.functional.one_hot(chosen, config.categories).float()
        for number in range(config.codes):
            row = rows[f"code {number + 1}"] = latent.clone()
            row[:, start + config.categories + number] = torch.linspace(-REACH, REACH, columns, device=latent.device)
        return rows
