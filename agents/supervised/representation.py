"""Tasks that fit features without labels: contrasts between views or times, and embeddings of states from walks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.agents.base import Metrics
from gymnast.agents.supervised import losses
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import OfEpisodes, Transitions, on
from gymnast.agents.supervised.momentum import Momentum
from gymnast.agents.supervised.scale import Scale
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, ready
from gymnast.networks.layers.inputs import Obs

AHEAD, MARGIN = 3, 0.2
SAME = 1e-6
"""Cosines closer to each other than this are of the same vectors but for rounding."""
NOISE = 0.1
"""Deviation of the noise that makes views of vectors, in units of each number's own deviation."""


@dataclass(frozen=True)
class ContrastiveConfig(FitConfig):
    """Features by which an observation is told from others."""

    losses: ClassVar[tuple[str, ...]] = ("info-nce", "triplet")

    loss: Literal["auto", "info-nce", "triplet"] = "auto"
    """InfoNCE (auto), or a margin over the nearest other observation of the batch."""
    pairs: Literal["views", "time"] = "time"
    """What belongs together: two views of an observation (CURL, Laskin et al. 2020), or two close in time."""
    ahead: int = AHEAD
    """Steps between the observations of a pair in time (augmented temporal contrast, Stooke et al. 2021)."""
    projection: int = 128
    """Size of the vectors that are compared."""
    info_nce_temperature: float = 0.1
    """Temperature of the similarities."""
    margin: float = MARGIN
    """Margin of the triplet loss."""
    momentum: float = 0.99
    """Decay of the averaged network that gives the other half of the pairs."""
    batch_size: int = 256
    """Examples of an update, each of which is contrasted with all others."""
    augment: Literal["none", "shift"] = "shift"
    """Shift images at random (of vectors: noise is added), so that views differ."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs not in ("views", "time"):
            raise ValueError(f"pairs must be views or time, got {self.pairs!r}")
        for name in ("ahead", "projection"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("info_nce_temperature", "margin"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be >= 0 and < 1, got {self.momentum}")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be >= 2, because each example is contrasted with others, got {self.batch_size}"
            )
        if self.margin != MARGIN and self.chosen_loss != "triplet":
            raise ValueError(f"margin {self.margin} has no effect without loss triplet")
        if self.ahead != AHEAD and self.pairs != "time":
            raise ValueError(f"ahead {self.ahead} has no effect without pairs time")
        if self.pairs == "views" and self.augment == "none":
            raise ValueError("pairs views needs augment shift: without it both views are the same")


@dataclass(frozen=True)
class SkipGramConfig(FitConfig):
    """Embeddings of Discrete states by what is visited near them (Mikolov et al. 2013; Perozzi et al. 2014)."""

    losses: ClassVar[tuple[str, ...]] = ("negative-sampling",)

    loss: Literal["auto", "negative-sampling"] = "auto"
    """Logistic loss of true neighbours against drawn ones."""
    window: int = 5
    """Steps before and after a state from which its neighbours are drawn."""
    negatives: int = 5
    """Drawn states for each true neighbour, by their frequency to the power of 3/4."""
    network: str = "embedding"
    """Network that gives the embeddings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("window", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


class Contrastive(OfEpisodes):
    """Fits features of which a pair's are closer to each other than to all others in the batch."""

    name, Config, metric = "contrastive", ContrastiveConfig, "accuracy"
    augments_vectors = True
    samples = False
    config: ContrastiveConfig
    network: FitNetwork

    def __init__(self, source: Source, config: ContrastiveConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        backbone = self.backbone_of(self.generator)
        projection = self.head(int(backbone.out_features), config.projection)  # type: ignore[arg-type]
        whole = nn.Sequential(backbone, projection)
        heads = {"projection": projection, "predictor": self.head(config.projection, config.projection)}
        if self.layout is None:
            sample = self.data.observations(self.train[:: max(len(self.train) // 10_000, 1)])
            if not isinstance(sample, Tensor) or not sample.is_floating_point():
                raise ValueError(f"contrastive needs images or vectors of floats, got {self.observation_space}")
            heads["scale"] = Scale(sample.flatten(1))  # type: ignore[assignment]
        self.network = ready(FitNetwork(backbone, {**heads, "target": Momentum(whole, config.momentum)}), device)

    def batch(self, index: Tensor) -> Transitions:
        data, config = self.data, self.config
        obs = data.observations(index)
        if config.pairs == "views":
            return Transitions(index, on(obs, self.device), data.actions(index), on(obs, self.device))
        last = data.starts[data.episode[index] + 1] - 1
        later = (index + config.ahead - 1).minimum(last)  # the next observation of the transition before
        following = on(data.next_observations(later), self.device)
        return Transitions(index, on(obs, self.device), data.actions(index), following)

    def view(self, obs: Obs, generator: torch.Generator) -> Obs:
        """Observations, changed at random."""
        if self.config.augment == "none":
            return obs
        if self.layout is not None:
            return self.augmented(obs, generator)
        std = self.network.heads["scale"].std.view(obs.shape[1:])
        return obs + NOISE * std * torch.randn(obs.shape, generator=generator, device=obs.device)

    def pairs(self, one: Obs, other: Obs) -> tuple[Tensor, Tensor]:
        """The vectors [B, F] of both halves; only the first has a gradient."""
        heads = self.network.heads
        return heads["predictor"](heads["projection"](self.network.backbone(one))), heads["target"](other)

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        config, heads = self.config, self.network.heads
        heads["target"].follow(nn.Sequential(self.network.backbone, heads["projection"]))
        one, other = self.pairs(self.view(batch.obs, generator), self.view(batch.next_obs, generator))
        if config.chosen_loss == "triplet":
            return losses.triplet(one, other, margin=config.margin).mean(), {}
        return losses.info_nce(one, other, temperature=config.info_nce_temperature).mean(), {}

    def outputs(self, batch: Transitions) -> Outputs:
        one, other = self.pairs(batch.obs, batch.next_obs)
        similar = functional.normalize(one, dim=1) @ functional.normalize(other, dim=1).T
        own = similar.diagonal().unsqueeze(1)
        closer = (similar > own + SAME).sum(1)
        alike = ((similar - own).abs() <= SAME).sum(1)
        loss = losses.info_nce(one, other, temperature=self.config.info_nce_temperature)
        spread = self.network.backbone(batch.obs).std(0, correction=0).mean()
        return {"closer": closer, "alike": alike, "loss": loss, "spread": spread.repeat(len(closer))}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        closer, alike = outputs["closer"], outputs["alike"].double()  # the own half is among the alike ones
        first, five = (((places - closer) / alike).clamp(0, 1).mean().item() for places in (1, 5))
        return {
            "accuracy": first,
            "top5": five,
            "info_nce": outputs["loss"].double().mean().item(),
            "feature_std": outputs["spread"].double().mean().item(),
        }


class SkipGram(OfEpisodes):
    """Fits embeddings whose products with the output vectors of their neighbours are large."""

    name, Config, metric = "skip-gram", SkipGramConfig, "accuracy"
    samples = False
    config: SkipGramConfig
    network: FitNetwork

    def __init__(self, source: Source, config: SkipGramConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        space: Any = self.observation_space
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"skip-gram needs Discrete observations, got {space}; contrastive takes others")
        self.states, self.first = int(space.n), int(space.start)
        backbone = self.backbone_of(self.generator)
        context = nn.Embedding(self.states, int(backbone.out_features))  # type: ignore[arg-type]
        nn.init.zeros_(context.weight)  # as in the paper's code: at first every product is 0
        self.network = ready(FitNetwork(backbone, {"context": context}), device)
        visits = torch.bincount(self.data.observations(self.train) - self.first, minlength=self.states)
        self.frequency = visits.float().pow(0.75).to(device)
        self.episode = self.data.episode.to(device)
        self.begins = self.data.starts.to(device) + torch.arange(self.data.episodes + 1, device=device)
        self.visited = self.walks().to(device)

    def walks(self) -> Tensor:
        """The states of all episodes one after another, the last of each included, int64 [S + E]."""
        every, ends = torch.arange(len(self.data)), self.data.starts[1:] - 1
        states = torch.empty(len(self.data) + self.data.episodes, dtype=torch.int64)
        states[every + self.data.episode] = self.data.observations(every).long()
        states[self.data.starts[1:] + torch.arange(self.data.episodes)] = self.data.next_observations(ends).long()
        return states - self.first

    def batch(self, index: Tensor) -> Transitions:
        return Transitions(index, on(self.data.observations(index), self.device), self.data.actions(index))

    def neighbours(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """States [B, 1 + negatives]: one visited near each of the transitions in its episode, and drawn ones.

        The neighbour of a state that begins an episode comes after it; other ones that would lie before the episode or
        after it are the first or the last state of it.
        """
        config, device = self.config, self.device
        index = index.to(device)
        distance = torch.randint(1, config.window + 1, index.shape, generator=generator, device=device)
        back = torch.rand(index.shape, generator=generator, device=device) < 0.5
        episode = self.episode[index]
        first, last = self.begins[episode], self.begins[episode + 1] - 1
        place = index + episode  # each earlier episode has one state more than transitions
        back &= place > first
        near = (place + torch.where(back, -distance, distance)).clamp(first, last)
        drawn = torch.multinomial(self.frequency, len(index) * config.negatives, True, generator=generator)
        return torch.cat([self.visited[near].unsqueeze(1), drawn.view(len(index), config.negatives)], 1)

    def products(self, batch: Transitions, generator: torch.Generator) -> Tensor:
        """Products of states with their neighbour and the drawn ones, [B, 1 + negatives]."""
        vectors = self.network.backbone(batch.obs).unsqueeze(1)
        context = self.network.heads["context"](self.neighbours(batch.rows, generator))
        found: Tensor = (vectors * context).sum(-1)
        return found

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        products = self.products(batch, generator)
        each = functional.softplus(-products[:, 0]) + functional.softplus(products[:, 1:]).sum(1)
        return each.mean(), {}

    def outputs(self, batch: Transitions) -> Outputs:
        generator = torch.Generator(self.device).manual_seed(int(batch.rows[0]))  # the same in every evaluation
        return {"products": self.products(batch, generator)}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        products = outputs["products"]
        above = (products[:, :1] > products[:, 1:]).double() + 0.5 * (products[:, :1] == products[:, 1:]).double()
        loss = functional.softplus(-products[:, 0]) + functional.softplus(products[:, 1:]).sum(1)
        return {"accuracy": above.mean().item(), "loss": loss.double().mean().item()}
