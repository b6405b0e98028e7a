"""Every named backbone: where its class is, and what it does. None of them is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple


class BackboneEntry(NamedTuple):
    """Where a backbone's class is, and what it does."""

    path: str
    """`module:Class`, in this folder."""
    help: str


BACKBONES: dict[str, BackboneEntry] = {
    "combined": BackboneEntry(
        "combined:Combined", "a network over each image of a Dict or Tuple; all parts are merged into 512 units"
    ),
    "linear": BackboneEntry("linear:Linear", "the observation as a vector, so that outputs are linear in it"),
    "lenet5": BackboneEntry("classic:LeNet5", "two convolutions and average pooling (LeCun et al. 1998)"),
    "alexnet": BackboneEntry("classic:AlexNet", "five convolutions and max pooling (Krizhevsky et al. 2012)"),
    "vgg": BackboneEntry("classic:VGG", "stages of 3x3 convolutions (Simonyan & Zisserman 2015)"),
    "inception": BackboneEntry("branching:Inception", "GoogLeNet's modules of parallel paths (Szegedy et al. 2015)"),
    "resnet": BackboneEntry("residual:ResNet", "residual basic blocks (He et al. 2016)"),
    "squeeze-excitation": BackboneEntry(
        "residual:SqueezeExcitationNet", "residual blocks with gated channels (Hu et al. 2018)"
    ),
    "impala": BackboneEntry("residual:Impala", "the residual network of IMPALA (Espeholt et al. 2018)"),
    "hadamax": BackboneEntry("branching:Hadamax", "max-pooled products of parallel convolutions (Kooi et al. 2025)"),
    "densenet": BackboneEntry("branching:DenseNet", "layers that read all layers before them (Huang et al. 2017)"),
    "xception": BackboneEntry("branching:Xception", "depthwise separable convolutions (Chollet 2017)"),
    "wavenet": BackboneEntry("attention:WaveNet", "dilated causal convolutions over time (van den Oord et al. 2016)"),
    "rnn": BackboneEntry("recurrent:RNN", "a simple recurrent network over time (Elman 1990)"),
    "lstm": BackboneEntry("recurrent:LSTM", "long short-term memory over time (Hochreiter & Schmidhuber 1997)"),
    "gru": BackboneEntry("recurrent:GRU", "gated recurrent units over time (Cho et al. 2014)"),
    "attention": BackboneEntry("attention:AttentionNet", "attention over the steps of a GRU (Bahdanau et al. 2015)"),
    "transformer": BackboneEntry("attention:Transformer", "a transformer encoder over time (Vaswani et al. 2017)"),
    "embedding": BackboneEntry("attention:Embedding", "learned vectors of Discrete or MultiDiscrete observations"),
}
"""Backbones with options of their own, by name."""


def backbone_class(name: str) -> Any:
    """The class of a backbone in the table; its `Options` are a frozen dataclass."""
    module, _, cls = BACKBONES[name].path.partition(":")
    return getattr(import_module(f"gymnast.networks.backbones.{module}"), cls)


def options_of(name: str, given: Mapping[str, Any]) -> Any:
    """The options of a backbone, None for one without; ValueError for an unknown one or a refused value."""
    known = list(backbone_class(name).Options.__dataclass_fields__) if name in BACKBONES else []
    for option in given:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"network {name} has no option {option}; {has}")
    if name not in BACKBONES:
        return None
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    try:
        return backbone_class(name).Options(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"network {name}: {error}") from error
