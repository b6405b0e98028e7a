"""A backbone for observations of several parts, images among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.backbones.convolutional import CNNS
from gymnast.networks.backbones.table import BACKBONES, backbone_class
from gymnast.networks.layers.images import is_image, leaves
from gymnast.networks.layers.inputs import Obs, Vector


@dataclass(frozen=True)
class CombinedOptions:
    """Networks over the parts of a Dict or Tuple."""

    images: str = "nature-cnn"
    """Network of each image."""
    parts: tuple[str, ...] = field(default=(), metadata={"metavar": "PART=NETWORK ..."})
    """Networks of single parts: camera=impala map=vgg. Keys of nested parts are joined by dots."""

    def __post_init__(self) -> None:
        for text in self.parts:
            key, _, name = text.partition("=")
            if not key or not name:
                raise ValueError(f"parts must be written as PART=NETWORK, got {text!r}")


class Combined(Backbone):
    """Each image through a network of its own, the other parts as `Vector` reads them.

    An image's network is nature-cnn's convolutions (Mnih et al. 2015) unless `options` name another one; networks of
    parts have their default options and no fully connected layers of their own. The results are concatenated in the
    space's order and go through fully connected layers, an activation after each; a nested dict of [B, ...] to
    [B, out_features]. With `layer_norm` all layers are normalised as those of `ConvNet` and `MLP`.

    Raises:
        ValueError: no part is an image or has a network, a network does not fit its part, or a part is unknown.
    """

    name, Options, sizes = "combined", CombinedOptions, (512,)
    options: CombinedOptions

    def prepare(self, space: gym.Space[Any]) -> int:
        read = dict(leaves(space))
        names = _names(read, self.options)
        if not names:
            raise ValueError(
                "network combined needs a uint8 image of at least 36x36 pixels among the parts of the "
                "observation; mlp takes any observation"
            )
        self.paths = list(read)
        parts = [_part(names.get(path), part, self.layer_norm) for path, part in read.items()]
        self.parts = nn.ModuleList(parts)
        return sum(int(part.out_features) for part in parts)  # type: ignore[arg-type, misc]

    def finish(self) -> None:
        for part in self.parts:
            if isinstance(part, Backbone):
                part.finish()

    def read(self, obs: Obs) -> Tensor:
        return torch.cat([part(_at(obs, path)) for path, part in zip(self.paths, self.parts, strict=True)], 1)


def _names(read: dict[tuple[str, ...], gym.Space[Any]], options: CombinedOptions) -> dict[tuple[str, ...], str]:
    """The networks of the parts that have one."""
    names = {path: options.images for path, space in read.items() if is_image(space)}
    paths = {".".join(path): path for path in read}
    for text in options.parts:
        key, _, name = text.partition("=")
        if key not in paths:
            raise ValueError(f"network combined: parts names {key!r}, and the observation has {', '.join(paths)}")
        names[paths[key]] = name
    return names


def _part(name: str | None, space: gym.Space[Any], layer_norm: bool) -> nn.Module:
    if name is None:
        return Vector(space)
    if name in CNNS:
        return CNNS[name](space, (), layer_norm=layer_norm)
    if name not in BACKBONES or name == "combined":
        known = ", ".join([*CNNS, *(other for other in BACKBONES if other != "combined")])
        raise ValueError(f"network combined: the network of a part must be one of {known}, got {name!r}")
    made: nn.Module = backbone_class(name)(space, (), layer_norm=layer_norm)
    return made


def _at(obs: Obs, path: tuple[str, ...]) -> Tensor:
    for key in path:
        obs = obs[key]
    tensor: Tensor = obs
    return tensor
