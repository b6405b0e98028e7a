"""The parts of an explanation by name, what each of them needs, and the layer that two of them are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces

from gymnast.errors import nearest
from gymnast.explain.adversarial import adversarial
from gymnast.explain.context import Context, Section
from gymnast.explain.embedding import check_projection, embedding
from gymnast.explain.features import features
from gymnast.explain.saliency import saliency, video
from gymnast.explain.subject import Subject
from gymnast.explain.texture import texture
from gymnast.explain.units import units, weights
from gymnast.explain.values import values
from gymnast.networks.insight.units import Layer
from gymnast.settings.explain_options import ExplainOptions

PARTS: dict[str, Callable[[Context], Section]] = {
    "saliency": saliency,
    "video": video,
    "values": values,
    "adversarial": adversarial,
    "features": features,
    "texture": texture,
    "embedding": embedding,
    "units": units,
    "weights": weights,
}
"""In the order of the page."""
DECIDING = ("saliency", "video", "values", "adversarial")
"""Parts that need an agent."""
PICTURES = ("video", "texture")
"""Parts that need pictures."""


def layers_of(subject: Subject) -> dict[str, Layer]:
    """The layers of a network, from one observation of zeros, whose gradient they have."""
    return subject.layers(torch.zeros((1, *subject.form.shape), device=subject.device, requires_grad=True))


def layer_of(options: ExplainOptions, subject: Subject) -> str:
    """The layer of features and weights; ValueError for an unknown one, or for a unit that it does not have.

    By default it is the last convolution, or else the last hidden layer, of the network that decides.
    """
    layers = layers_of(subject)
    if options.layer and options.layer not in layers:
        known = ", ".join(layers)
        raise ValueError(f"layer must be one of {known}, got {options.layer!r}{nearest(options.layer, layers)}")
    name = options.layer or _default(subject.reading(layers))
    if not layers[name].output.requires_grad:
        raise ValueError(f"layer {name} does not depend on the observation of its own step")
    for unit in options.unit:
        if unit >= layers[name].units:
            raise ValueError(f"unit must be below {layers[name].units}, the units of {name}, got {unit}")
    return name


def _default(layers: dict[str, Layer]) -> str:
    maps = [name for name, layer in layers.items() if layer.output.dim() == 4]
    hidden = [name for name, layer in layers.items() if layer.activated]
    return (maps or hidden or list(layers))[-1]


def check(options: ExplainOptions, subject: Subject, actions: gym.Space[Any]) -> dict[str, str]:
    """The parts that do not apply, with the reason; ValueError if one of them was asked for, or an option is wrong."""
    _check_target(options, subject, actions)
    found = {}
    for name in PARTS:
        reason = _lack(name, subject)
        if reason and name in options.only:
            raise ValueError(f"only {name} {reason}")
        if reason:
            found[name] = reason
    if "embedding" in (options.only or PARTS):
        check_projection(options.projection)
    return {} if options.only else found


def _check_target(options: ExplainOptions, subject: Subject, actions: gym.Space[Any]) -> None:
    if options.target == "action":
        return
    if subject.agent is None:
        raise ValueError(f"target {options.target} needs an agent that decides, and {subject.what} is an encoder")
    if options.target == "margin" and not isinstance(actions, spaces.Discrete):
        raise ValueError(f"target margin needs Discrete actions, and {subject.what} takes {actions}")
    shape = (1, *subject.form.shape)
    if options.target == "value" and subject.decide(torch.zeros(shape, device=subject.device)).value is None:
        raise ValueError(f"target value needs an agent that learns values, and {subject.what} has none")


def _lack(name: str, subject: Subject) -> str:
    """What a part needs and the network does not have, as in `needs ...`; empty if it applies."""
    if name in DECIDING and subject.agent is None:
        return "needs an agent that decides, and this run is an encoder"
    if name in PICTURES and not subject.form.pictures:
        return "needs observations that are pictures"
    if name == "texture" and not any(layer.output.dim() == 4 for layer in layers_of(subject).values()):
        return "needs a network with convolutions"
    if name in ("features", "units", "weights") and not layers_of(subject):
        return "needs a network with linear or convolutional layers"
    return ""
