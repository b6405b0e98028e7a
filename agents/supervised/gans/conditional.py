"""The conditional GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.supervised import quality
from gymnast.agents.supervised.gans.adversarial import SAMPLED, Gan
from gymnast.agents.supervised.gans.config import GanConfig
from gymnast.agents.supervised.task import Outputs
from gymnast.networks.gans.conditions import Conditions
from gymnast.networks.gans.heads import CONDITIONS, Condition, Score
from gymnast.networks.gans.losses import LOSSES
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.labelled import Labelled

LABELS = 10_000
"""Training examples whose labels samples are drawn under, at most."""
SHOWN = 12
"""Labels in the picture of samples, at most."""


@dataclass(frozen=True)
class ConditionalConfig(GanConfig):
    """Examples of a class, or before an action (Mirza & Osindero 2014)."""

    losses: ClassVar[tuple[str, ...]] = tuple(LOSSES)

    loss: Literal["auto", "non-saturating", "wasserstein", "least-squares", "hinge"] = "auto"
    """Loss; auto is non-saturating."""
    condition: Condition = "projection"
    """How the discriminator reads the label: projection (Miyato & Koyama 2018), or concatenation with its features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {self.condition!r}")


class Labels(NamedTuple):
    """A batch of B observations with labels."""

    rows: Tensor
    """Their numbers, int64 [B], on the host."""
    obs: Obs
    label: Tensor


class Conditional(Gan):
    """Fits a generator of observations for a label: the class of a labelled example, or the action after it."""

    name, Config = "gan-conditional", ConditionalConfig
    sampling = ("label",)
    config: ConditionalConfig

    def judges(self, features: int) -> dict[str, nn.Module]:
        config, step = self.config, -(-len(self.train) // LABELS)
        self.space = self.label_space()
        self.conditions = Conditions(self.space, self.labels(self.train[::step]))
        score = Score(
            features,
            kernels=config.minibatch_kernels,
            conditions=self.conditions.size,
            condition=config.condition,
            init=config.init,
            generator=self.generator,
        )
        return {"score": score}

    def others(self) -> dict[str, nn.Module]:
        return {"conditions": self.conditions}

    def label_space(self) -> gym.Space[Any]:
        """The space of the labels; ValueError for data whose examples have none."""
        if not isinstance(self.data, Labelled):
            return self.data.action_space
        if not self.data.classes or self.data.targets.dim() != 1:
            raise ValueError(f"{self.name} needs examples with a class each, and those of {self.data.name} have none")
        return spaces.Discrete(len(self.data.classes))

    def labels(self, index: Tensor) -> Tensor:
        """Labels [B, ...] of the examples int64 [B], on the CPU."""
        return self.data.targets[index] if isinstance(self.data, Labelled) else self.data.actions(index)

    @property
    def latent_width(self) -> int:
        return self.latent_size + self.conditions.size

    def batch(self, index: Tensor) -> Any:
        return Labels(*super().batch(index), self.labels(index).to(self.device))

    def under(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Latents [B, latent_width] under labels [B, ...]."""
        return torch.cat([super().latents(len(labels), generator), self.conditions(labels)], 1)

    def latents(self, number: int, generator: torch.Generator) -> Tensor:
        """Latents under labels that are drawn as often as they are in the data."""
        return self.under(self.conditions.draw(number, generator), generator)

    def latents_like(self, batch: Any, generator: torch.Generator) -> Tensor:
        return self.under(batch.label, generator)

    def condition(self, batch: Any) -> Tensor | None:
        vector: Tensor = self.conditions(batch.label)
        return vector

    def drawn(self, number: int, generator: torch.Generator) -> Tensor:
        """Samples [number, *shape] in the units of `Target`, under the label of `draws`, or labels as in the data.

        Raises:
            ValueError: a label that the data do not have.
        """
        label = self.draws.label
        if label is None:
            return super().drawn(number, generator)
        if not isinstance(self.space, spaces.Discrete) or not self.space.contains(label):
            raise ValueError(f"label must be one of {self.space}, got {label}")
        return self.generated(self.under(torch.full((number,), label, device=self.device), generator))

    def outputs(self, batch: Any) -> Outputs:
        return {**super().outputs(batch), "label": batch.label}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        """With the share of samples whose nearest real example has their label, if labels are choices."""
        found = super().measures(outputs)
        if isinstance(self.space, spaces.Box):
            return found
        return {**found, "agreement": quality.agreement(outputs["real"], outputs["fake"], outputs["label"])}

    def rows(self, columns: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The same numbers from the prior under each label, a row each; of a Box under a few drawn ones."""
        if isinstance(self.space, spaces.Box):
            labels = self.conditions.draw(SAMPLED, generator)
        else:
            labels = torch.unique(self.conditions.labels, dim=0)[:SHOWN]
        noise = super().latents(columns, generator)
        rows = {}
        for label in labels:
            under = self.conditions(label.unsqueeze(0)).expand(columns, -1)
            rows[self.title(label)] = torch.cat([noise, under], 1)
        return rows

    def title(self, label: Tensor) -> str:
        """A label in a picture."""
        if isinstance(self.data, Labelled):
            return self.data.classes[int(label)]
        return " ".join(f"{number:.3g}" for number in label.flatten().tolist())
