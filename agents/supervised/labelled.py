"""Tasks over examples with targets: classes, classes of every step of a sequence, or numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gymnast.agents.base import Metrics, torch_seed
from gymnast.agents.supervised import losses, measures
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.losses import Regression
from gymnast.agents.supervised.shown import ConfusionMatrix, Scatter, Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, Task, linear_head, predicted, ready
from gymnast.networks.backbones.inception import AuxiliaryClassifier, Inception
from gymnast.networks.backbones.sequence import SequenceBackbone
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.labelled import Labelled
from gymnast.replay.datasets.splits import by_example

AUXILIARY_WEIGHT = 0.3
"""Weight of the loss of each auxiliary classifier (Szegedy et al. 2015, section 5)."""


@dataclass(frozen=True)
class ClassifyConfig(FitConfig):
    """Classes of examples, or of every step of sequences."""

    losses: ClassVar[tuple[str, ...]] = losses.CLASSIFICATION

    loss: Literal["auto", "cross-entropy", "focal", "hinge"] = "auto"
    """Loss; auto is cross-entropy."""
    label_smoothing: float = 0.0
    """Probability that is spread over all classes in the target of cross-entropy (Szegedy et al. 2016)."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss (Lin et al. 2017): a larger one looks less at what is right already."""
    class_weights: str = field(default="", metadata={"metavar": "balanced|NUMBERS"})
    """Weights of the classes: balanced (inverse to their frequency), or numbers with commas between them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be >= 0 and < 1, got {self.label_smoothing}")
        if self.label_smoothing and self.chosen_loss != "cross-entropy":
            raise ValueError(f"label_smoothing needs loss cross-entropy, got {self.loss}")
        if not 0.0 <= self.focal_gamma < float("inf"):
            raise ValueError(f"focal_gamma must be >= 0, got {self.focal_gamma}")
        if self.focal_gamma != 2.0 and self.chosen_loss != "focal":
            raise ValueError(f"focal_gamma needs loss focal, got {self.loss}")
        self.weights_of(None)

    def weights_of(self, counts: Tensor | None) -> Tensor | None:
        """Weights [C] of classes with these counts [C]; None for equal ones.

        Raises:
            ValueError: another number of weights than classes, or a weight that is not positive.
        """
        if not self.class_weights:
            return None
        if self.class_weights == "balanced":
            return None if counts is None else counts.sum() / (len(counts) * counts.clamp(min=1)).float()
        try:
            numbers = torch.tensor([float(word) for word in self.class_weights.split(",")])
        except ValueError:
            numbers = torch.tensor([-1.0])
        if not ((numbers > 0) & numbers.isfinite()).all():
            raise ValueError(f"class_weights must be balanced or positive numbers like 1,2,1, got {self.class_weights}")
        if counts is not None and len(numbers) != len(counts):
            raise ValueError(f"class_weights must be {len(counts)} numbers, one for each class, got {len(numbers)}")
        return numbers


@dataclass(frozen=True)
class RegressConfig(FitConfig):
    """Numbers that belong to examples."""

    losses: ClassVar[tuple[str, ...]] = losses.REGRESSION

    loss: Regression = "auto"
    """Loss; auto is mse."""


class Examples(NamedTuple):
    """A batch: inputs [B, ...] and targets [B], [B, T] or [B, K]."""

    inputs: Obs
    target: Tensor


class OfLabelled(Task):
    """What tasks over a labelled data set share: its splits and batches."""

    network: FitNetwork

    def __init__(self, source: Source, config: FitConfig, *, device: torch.device) -> None:
        if not isinstance(source.data, Labelled):
            raise ValueError(f"{self.name} needs a labelled data set, got the recorded episodes of {source.data.name}")
        self.data, self.config, self.device = source.data, config, device
        self.observation_space = self.data.space
        self.check_augment()
        self.train, self.validation, self.test = splits_of(self.data, source)
        self.generator = torch.Generator().manual_seed(torch_seed(source.seed))

    def inputs(self, index: Tensor) -> Obs:
        return self.data.inputs[index]

    def batch(self, index: Tensor) -> Examples:
        inputs, target = self.data.inputs[index], self.data.targets[index]
        return Examples(inputs.to(self.device), target.to(self.device))


def splits_of(data: Labelled, source: Source) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the examples for training, validation and test, int64: the data set's own splits, or drawn ones."""
    splits = data.splits
    if splits is None:
        train, kept = by_example(len(data), validation=source.validation, seed=source.split_seed)
        splits = {"train": train, "validation": kept}
    train = splits["train"]
    validation = splits.get("validation", train)  # never the test examples, which must choose nothing
    return train, validation, splits.get("test", validation)


class Classify(OfLabelled):
    """Fits the classes of examples int64 [N], or of every step int64 [N, T] (`IGNORED` where none is asked for)."""

    name, Config, metric = "classify", ClassifyConfig, "accuracy"
    classifies = True
    takes = ("obs",)
    config: ClassifyConfig

    def __init__(self, source: Source, config: ClassifyConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        data = self.data
        if not data.classes:
            raise ValueError(f"classify needs classes, and {data.name} has numbers; regress fits them")
        self.stepwise = data.targets.dim() == 2
        backbone = self.backbone_of(self.generator)
        if self.stepwise and not isinstance(backbone, SequenceBackbone):
            raise ValueError(
                f"network {config.network} has one output for a sequence, and {data.name} asks for one at each step; "
                "rnn, lstm, gru, transformer and wavenet have them"
            )
        heads: dict[str, nn.Module] = {
            "classes": linear_head(int(backbone.out_features), len(data.classes), config, self.generator)  # type: ignore[arg-type]
        }
        if isinstance(backbone, Inception):
            for number, planes in enumerate(backbone.branches.values()):
                made = AuxiliaryClassifier(planes, len(data.classes), width=backbone.options.width)
                initialise(made, config.init, activation="relu", generator=self.generator)
                heads[f"auxiliary{number}"] = made
        self.branches = len(heads) - 1
        self.network = ready(FitNetwork(backbone, heads), device)
        asked = data.targets[self.train].flatten()
        counts = torch.bincount(asked[asked != losses.IGNORED], minlength=len(data.classes))
        weights = config.weights_of(counts)
        self.weights = None if weights is None else weights.to(device)

    def logits(self, inputs: Obs) -> Tensor:
        """[B, C], or [B, T, C] of every step."""
        backbone, heads = self.network.backbone, self.network.heads
        features = backbone.each(inputs) if self.stepwise else backbone(inputs)
        logits: Tensor = heads["classes"](features)
        return logits

    def loss(self, batch: Examples, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        inputs, target = self.augmented(batch.inputs, generator), batch.target
        if self.branches:
            features, branches = self.network.backbone.auxiliary(inputs)
            heads = self.network.heads
            logits = heads["classes"](features)
            others = [heads[f"auxiliary{number}"](part) for number, part in enumerate(branches)]
        else:
            logits, others = self.logits(inputs), []
        if self.stepwise:
            logits, target = logits.flatten(0, 1), target.flatten()
        asked = target != losses.IGNORED
        metrics: Metrics = {"accuracy": ((logits.argmax(-1) == target) & asked).sum() / asked.sum()}
        loss = self.mean_loss(logits, target, asked)
        if others:
            metrics["auxiliary_loss"] = torch.stack([self.mean_loss(other, target, asked) for other in others]).sum()
            loss = loss + AUXILIARY_WEIGHT * metrics["auxiliary_loss"]
        return loss, metrics

    def mean_loss(self, logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
        """The mean loss of logits [B, C] over the classes int64 [B] that are asked for, bool [B]."""
        config, known = self.config, target.clamp(min=0)
        each = losses.classification(
            config.chosen_loss, logits, known, smoothing=config.label_smoothing, gamma=config.focal_gamma
        )
        return losses.weighted(each, asked.float() if self.weights is None else asked * self.weights[known])

    def probability(self, inputs: Obs) -> Tensor:
        """Of each class, [B, C] or [B, T, C]: of several passes with dropout the mean."""
        return predicted(self.network, lambda: self.logits(inputs).softmax(-1), self.config.mc_samples)

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        probability = self.probability(obs)
        return {"class": probability.argmax(-1), "probability": probability}

    def outputs(self, batch: Examples) -> Outputs:
        return {"probability": self.probability(batch.inputs), "target": batch.target}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        probability, target = outputs["probability"], outputs["target"]
        asked = target != losses.IGNORED
        sure, guess = probability.max(-1)
        right = (guess == target) & asked
        log_prob = probability[asked].clamp(min=1e-12).log().gather(-1, target[asked].unsqueeze(-1)).squeeze(-1)
        found = {
            "accuracy": right[asked].double().mean().item(),
            "loss": -log_prob.double().mean().item(),
            "calibration_error": measures.calibration_error(sure[asked], right[asked]),
        }
        if self.stepwise:
            found["sequence_accuracy"] = (right | ~asked).all(1).double().mean().item()
            found["perplexity"] = measures.perplexity(log_prob)
        if self.config.mc_samples:
            entropy = -(probability * probability.clamp(min=1e-12).log()).sum(-1)
            found["entropy"] = entropy[asked].double().mean().item()
        return found

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        target = outputs["target"]
        asked = target != losses.IGNORED
        guess = outputs["probability"].argmax(-1)
        counts = measures.confusion(guess[asked], target[asked], len(self.data.classes))
        return {"confusion": ConfusionMatrix(counts, self.data.classes)}


class Regress(OfLabelled):
    """Fits the numbers float32 [N, K] of examples."""

    name, Config, metric = "regress", RegressConfig, "mse"
    largest = False
    takes = ("obs",)
    config: RegressConfig

    def __init__(self, source: Source, config: RegressConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        if self.data.classes:
            raise ValueError(f"regress needs numbers, and {self.data.name} has classes; classify fits them")
        backbone = self.backbone_of(self.generator)
        outputs = self.data.targets.shape[1]
        head = linear_head(int(backbone.out_features), outputs, config, self.generator)  # type: ignore[arg-type]
        self.network = ready(FitNetwork(backbone, {"numbers": head}), device)

    def numbers(self, inputs: Obs) -> Tensor:
        """[B, K]."""
        found: Tensor = self.network.heads["numbers"](self.network.backbone(inputs))
        return found

    def loss(self, batch: Examples, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        output = self.numbers(self.augmented(batch.inputs, generator))
        return losses.regression(self.config.chosen_loss, output, batch.target).mean(), {}

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        return {"numbers": predicted(self.network, lambda: self.numbers(obs), self.config.mc_samples)}

    def outputs(self, batch: Examples) -> Outputs:
        return {"output": self.prediction(batch.inputs, None, None)["numbers"], "target": batch.target}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        output, target = outputs["output"], outputs["target"]
        loss = losses.regression(self.config.chosen_loss, output, target).mean().item()
        return {**measures.of_numbers(output, target), "loss": loss}

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        return {"regression": Scatter(outputs["output"], outputs["target"])}
