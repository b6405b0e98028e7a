"""Backbones by name. Listing the names needs no torch: the functions that build import it."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import gymnasium as gym
from gymnasium import spaces

from gymnast.networks.backbones.table import BACKBONES, backbone_class, options_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    BackboneName: TypeAlias = str | type[nn.Module]
    Backbone: TypeAlias = str | nn.Module | type[nn.Module]
else:
    BackboneName = str  # flags use names: `named` turns a class into its name
    Backbone = Any

C = TypeVar("C")

NETWORKS = {
    "auto": "nature-cnn for uint8 images of 36 pixels or more, combined if parts are such images, otherwise mlp",
    **{name: entry.help for name, entry in BACKBONES.items()},
    "module:Class": "your own nn.Module with out_features, built as Class(observation_space); or ./file.py:Class",
}
"""The names that `build` takes, with one line on each."""


def build(
    name: Backbone,
    observation_space: gym.Space[Any],
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    hidden_sizes: Sequence[int] | None = None,
    activation: str = "relu",
    layer_norm: bool = False,
    init: str = "orthogonal",
    generator: torch.Generator,
    classifies: bool = False,
) -> nn.Module:
    """A backbone: a module from observations [B, ...] to features [B, out_features].

    `options` are those of the named backbone (`gymnast list networks`), for instance {"width": 2} for `impala`. What
    `classifies` may have auxiliary classifiers.

    `hidden_sizes` are the units of its fully connected layers, by default `default_sizes`; `activation` is theirs
    (nature-cnn, a3c-cnn, efficient-cnn and minatar-cnn have an option for it); `layer_norm` normalises each layer's
    output before its activation (Ba et al. 2016); `init` and `generator` make the weights of the named ones, for `lsuv`
    from observations that the generator draws too. A user's own module, given as an object, as a class, or as the
    `module:Class` or `./file.py:Class` of code imported already, has its own layers and keeps the weights that it comes
    with.

    Raises:
        ValueError: an unknown name (with the nearest one), an observation space that the backbone does not support, or
            auxiliary classifiers where there are no classes.
    """
    from gymnast.networks.layers.init import BATCH, lsuv
    from gymnast.networks.layers.samples import sampled
    from gymnast.networks.own import checked

    if isinstance(name, str) and ":" in name:
        name = _class(name)
    if isinstance(name, type):
        return checked(_made(name, observation_space), name.__name__, observation_space)
    if not isinstance(name, str):
        return checked(name, type(name).__name__, observation_space)
    chosen = automatic(observation_space) if name == "auto" else name
    if chosen not in BACKBONES:
        near = difflib.get_close_matches(chosen, NETWORKS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {chosen!r}{hint}")
    if hidden_sizes is not None and any(size < 1 for size in hidden_sizes):
        raise ValueError(f"hidden_sizes must be numbers >= 1, got {tuple(hidden_sizes)}")
    of_backbone = options_of(chosen, options)
    if getattr(of_backbone, "auxiliary", False) and not classifies:
        raise ValueError(f"network {chosen}: auxiliary belongs to gymnast fit classify, and has no effect here")
    made: Any = backbone_class(chosen)(
        observation_space,
        hidden_sizes,
        options=of_backbone,
        activation=activation,
        layer_norm=layer_norm,
    )
    made.draw(init, generator=generator)
    if init == "lsuv":
        lsuv(made, sampled(observation_space, BATCH, generator=generator))
    made.finish()
    backbone: nn.Module = made
    return backbone


def default_sizes(name: Backbone, observation_space: gym.Space[Any]) -> tuple[int, ...]:
    """Default units of a backbone's fully connected layers; () for a user's own backbone."""
    return default_sizes_of(chosen_name(name, observation_space))


def chosen_name(name: Backbone, observation_space: gym.Space[Any]) -> str:
    """The name that a backbone is built by; "" for a user's own one."""
    if not isinstance(name, str):
        return ""
    return automatic(observation_space) if name == "auto" else name


def default_sizes_of(name: str) -> tuple[int, ...]:
    """Default units of the fully connected layers of a named backbone; () for an unknown one."""
    return tuple(backbone_class(name).sizes) if name in BACKBONES else ()


def automatic(observation_space: gym.Space[Any]) -> str:
    """The backbone that `auto` selects."""
    from gymnast.networks.layers.images import has_image, is_image

    if isinstance(observation_space, spaces.Dict | spaces.Tuple):
        return "combined" if has_image(observation_space) else "mlp"
    return "nature-cnn" if is_image(observation_space) else "mlp"


def named(backbone: Backbone) -> str:
    """The name of a backbone for a config, which is kept as JSON: its own, or `module:Class` of a class.

    Raises:
        ValueError: a module, or a class that cannot be found by its name.
    """
    if isinstance(backbone, str):
        return backbone
    if not isinstance(backbone, type):
        raise ValueError("network must be a name or a class in a config; pass a module to the agent: network=module")
    if getattr(sys.modules.get(backbone.__module__), backbone.__qualname__, None) is not backbone:
        raise ValueError(
            f"network {backbone.__name__} cannot be found by its name: define the class at the top level of a module, "
            "or pass it to the agent: network=Class"
        )
    return path_of(backbone)


def settled(config: C, backbone: Backbone | None) -> tuple[C, Backbone]:
    """A config and the backbone to build: its own, or a given one, whose name the config then has."""
    if backbone is None:
        return config, config.network  # type: ignore[attr-defined]
    name = backbone if isinstance(backbone, str) else path_of(backbone)
    return dataclasses.replace(config, network=name), backbone  # type: ignore[type-var]


def path_of(backbone: nn.Module | type[nn.Module]) -> str:
    """`module:Class` of a user's own backbone, given as an object or as its class."""
    cls = backbone if isinstance(backbone, type) else type(backbone)
    return f"{cls.__module__}:{cls.__qualname__}"


def _made(cls: type[Any], observation_space: gym.Space[Any]) -> object:
    from torch import nn

    if not issubclass(cls, nn.Module):
        raise ValueError(f"network {cls.__name__} must be an nn.Module")
    try:
        return cls(observation_space)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ValueError(f"network {cls.__name__}(observation_space) cannot be built: {text}") from error


def _class(path: str) -> Any:
    """A class of a module that has been imported: a name, which a checkpoint may hold, never runs foreign code."""
    from torch import nn

    module_name, _, class_name = path.rpartition(":")
    module = _imported(module_name)
    if module is None:
        raise ValueError(
            f"network {path} is code from outside gymnast: import {module_name} first, or allow it by trust=True "
            "(--trust)"
        )
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"network {path}: {module_name} has no {class_name}")
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(f"network {path} is not an nn.Module")
    return found


def _imported(name: str) -> ModuleType | None:
    """The module of this name, or of this file, if it has been imported."""
    if not name.endswith(".py"):
        return sys.modules.get(name)
    file = str(Path(name).resolve())
    return next((module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == file), None)
