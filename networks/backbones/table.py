"""Every named backbone: where its class is, and what it does. None of them is imported here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from numbers import Integral, Real
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints


class BackboneEntry(NamedTuple):
    """Where a backbone's class is, and what it does."""

    path: str
    """`module:Class`, in this folder."""
    help: str


BACKBONES: dict[str, BackboneEntry] = {
    "mlp": BackboneEntry(
        "mlp:MLP", "fully connected layers (hidden_sizes, activation) over any observation, flattened to a vector"
    ),
    "nature-cnn": BackboneEntry(
        "convolutional:NatureCNN",
        "the three convolutions and 512 units of Mnih et al. 2015, over images [C, H, W] or [H, W, C]",
    ),
    "a3c-cnn": BackboneEntry(
        "convolutional:A3CCNN", "two convolutions and 256 units (Mnih et al. 2013; A3C, Mnih et al. 2016)"
    ),
    "efficient-cnn": BackboneEntry(
        "convolutional:EfficientCNN",
        "two convolutions with stride 5 and 256 units (van Hasselt et al. 2019), over the same images",
    ),
    "minatar-cnn": BackboneEntry(
        "convolutional:MinAtarCNN",
        "one convolution and 128 units (Young & Tian 2019), over small images [H, W, C]",
    ),
    "combined": BackboneEntry(
        "combined:Combined", "a network over each image of a Dict or Tuple; all parts are merged into 512 units"
    ),
    "linear": BackboneEntry("linear:Linear", "the observation as a vector, so that outputs are linear in it"),
    "lenet5": BackboneEntry("classic:LeNet5", "two convolutions and average pooling (LeCun et al. 1998)"),
    "alexnet": BackboneEntry("classic:AlexNet", "five convolutions and max pooling (Krizhevsky et al. 2012)"),
    "vgg": BackboneEntry("classic:VGG", "stages of 3x3 convolutions (Simonyan & Zisserman 2015)"),
    "inception": BackboneEntry("inception:Inception", "GoogLeNet's modules of parallel paths (Szegedy et al. 2015)"),
    "resnet": BackboneEntry("residual:ResNet", "residual basic blocks (He et al. 2016)"),
    "squeeze-excitation": BackboneEntry(
        "residual:SqueezeExcitationNet", "residual blocks with gated channels (Hu et al. 2018)"
    ),
    "impala": BackboneEntry("residual:Impala", "the residual network of IMPALA (Espeholt et al. 2018)"),
    "hadamax": BackboneEntry("branching:Hadamax", "max-pooled products of parallel convolutions (Kooi et al. 2025)"),
    "densenet": BackboneEntry("branching:DenseNet", "layers that read all layers before them (Huang et al. 2017)"),
    "xception": BackboneEntry("branching:Xception", "depthwise separable convolutions (Chollet 2017)"),
    "dcgan": BackboneEntry("strided:DCGAN", "strided 4x4 convolutions with batch normalisation (Radford et al. 2016)"),
    "wavenet": BackboneEntry("attention:WaveNet", "dilated causal convolutions over time (van den Oord et al. 2016)"),
    "rnn": BackboneEntry("recurrent:RNN", "a simple recurrent network over time (Elman 1990)"),
    "lstm": BackboneEntry("recurrent:LSTM", "long short-term memory over time (Hochreiter & Schmidhuber 1997)"),
    "gru": BackboneEntry("recurrent:GRU", "gated recurrent units over time (Cho et al. 2014)"),
    "attention": BackboneEntry("attention:AttentionNet", "attention over the steps of a GRU (Bahdanau et al. 2015)"),
    "transformer": BackboneEntry("attention:Transformer", "a transformer encoder over time (Vaswani et al. 2017)"),
    "embedding": BackboneEntry("attention:Embedding", "learned vectors of Discrete or MultiDiscrete observations"),
}
"""All backbones by name."""


def backbone_class(name: str) -> Any:
    """The class of a backbone in the table; its `Options` are a frozen dataclass."""
    module, _, cls = BACKBONES[name].path.partition(":")
    return getattr(import_module(f"gymnast.networks.backbones.{module}"), cls)


def options_of(name: str, given: Mapping[str, Any]) -> Any:
    """The options of a backbone, None for one that is not in the table.

    Raises:
        ValueError: an unknown option, a value of another type, or a refused one.
    """
    hints = get_type_hints(backbone_class(name).Options) if name in BACKBONES else {}
    for option in given:
        if option not in hints:
            has = f"its options are {', '.join(hints)}" if hints else "it has none"
            raise ValueError(f"network {name} has no option {option}; {has}")
    if name not in BACKBONES:
        return None
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    for option, value in values.items():
        if (words := _unlike(value, hints[option])) is not None:
            raise ValueError(f"network {name}: {option} must be {words}, got {value!r}")
    try:
        return backbone_class(name).Options(**values)
    except ValueError as error:
        raise ValueError(f"network {name}: {error}") from error


def written(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a network written as NAME or NAME:OPTION=VALUE:OPTION=VALUE.

    Values are JSON, or the text itself; dashes in options count as underscores.

    Raises:
        ValueError: an option without a value.
    """
    name, *parts = text.split(":")
    options = {}
    for part in parts:
        option, separator, value = part.partition("=")
        if not separator or not option:
            raise ValueError(f"network {name} takes options as in NAME:OPTION=VALUE, got {part!r}")
        options[option.replace("-", "_")] = _value(value)
    return name, options


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unlike(value: Any, kind: Any) -> str | None:
    """The type in words if the value is of another one; the options themselves check the choices of a Literal."""
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    if kind is str:
        return None if isinstance(value, str) else "text"
    if kind in (int, float):
        number = not isinstance(value, bool) and isinstance(value, Integral if kind is int else Real)
        return None if number else "a whole number" if kind is int else "a number"
    if get_origin(kind) is not tuple:
        return None
    first, *others = get_args(kind)
    fits = isinstance(value, tuple) and (others == [...] or len(value) == 1 + len(others))
    fits = fits and all(_unlike(one, first) is None for one in value)
    count = "numbers" if others == [...] else f"{1 + len(others)} numbers"
    return None if fits else "text, one for each part" if first is str else count
