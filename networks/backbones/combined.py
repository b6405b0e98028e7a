"""A backbone for observations of several parts, images among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.networks.backbones.base import Backbone
from gymnast.networks.backbones.table import BACKBONES, backbone_class, options_of, written
from gymnast.networks.layers.images import is_image, leaves
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs, Vector


@dataclass(frozen=True)
class CombinedOptions:
    """Networks over the parts of a Dict or Tuple."""

    images: str = field(default="nature-cnn", metadata={"metavar": "NETWORK[:OPTION=VALUE]"})
    """Network of each image, with options as in impala:width=2:spectral-norm=true."""
    parts: tuple[str, ...] = field(default=(), metadata={"metavar": "PART=NETWORK[:OPTION=VALUE] ..."})
    """Networks of single parts: camera=impala map=vgg:depth=13. Keys of nested parts are joined by dots."""

    def __post_init__(self) -> None:
        _network(self.images)
        for text in self.parts:
            key, _, network = text.partition("=")
            if not key or not network:
                raise ValueError(f"parts must be written as PART=NETWORK, got {text!r}")
            _network(network)


class Combined(Backbone):
    """Each image through a network of its own, the other parts as `Vector` reads them.

    An image's network is nature-cnn's convolutions (Mnih et al. 2015) unless `options` name another one; networks of
    parts have no fully connected layers of their own. The results are concatenated in the
    space's order and go through fully connected layers, an activation after each; a nested dict of [B, ...] to
    [B, out_features]. With `layer_norm` all layers are normalised as those of `ConvNet` and `MLP`.

    Raises:
        ValueError: no part is an image or has a network, a network does not fit its part, or a part is unknown.
    """

    name, Options, sizes = "combined", CombinedOptions, (512,)
    options: CombinedOptions

    def prepare(self, space: gym.Space[Any]) -> int:
        read = dict(leaves(space))
        written = _written(read, self.options)
        if not written:
            raise ValueError(
                "network combined needs a uint8 image of at least 36x36 pixels among the parts of the "
                "observation; mlp takes any observation"
            )
        self.paths = list(read)
        parts = [_part(written.get(path), part, self.layer_norm) for path, part in read.items()]
        self.parts = nn.ModuleList(parts)
        return sum(int(part.out_features) for part in parts)  # type: ignore[arg-type, misc]

    def draw(self, init: str, *, generator: torch.Generator) -> None:
        for part in self.parts:
            if not isinstance(part, Vector):
                part.draw(init, generator=generator)  # type: ignore[operator]
        initialise(self.layers, init, activation=self.activation, generator=generator)

    def finish(self) -> None:
        for part in self.parts:
            if not isinstance(part, Vector):
                part.finish()  # type: ignore[operator]

    def read(self, obs: Obs) -> Tensor:
        return torch.cat([part(_at(obs, path)) for path, part in zip(self.paths, self.parts, strict=True)], 1)


def _written(read: dict[tuple[str, ...], gym.Space[Any]], options: CombinedOptions) -> dict[tuple[str, ...], str]:
    """The networks of the parts that have one, as written."""
    networks = {path: options.images for path, space in read.items() if is_image(space)}
    paths = {".".join(path): path for path in read}
    for text in options.parts:
        key, _, network = text.partition("=")
        if key not in paths:
            raise ValueError(f"network combined: parts names {key!r}, and the observation has {', '.join(paths)}")
        networks[paths[key]] = network
    return networks


def _network(text: str) -> tuple[str, Any]:
    """The name and the options of a part's network."""
    name, given = written(text)
    known = [other for other in BACKBONES if other not in ("combined", "mlp")]
    if name not in known:
        raise ValueError(f"the network of a part must be one of {', '.join(known)}, got {name!r}")
    return name, options_of(name, given)


def _part(text: str | None, space: gym.Space[Any], layer_norm: bool) -> nn.Module:
    if text is None:
        return Vector(space)
    name, options = _network(text)
    made: nn.Module = backbone_class(name)(space, (), options=options, layer_norm=layer_norm)
    return made


def _at(obs: Obs, path: tuple[str, ...]) -> Tensor:
    for key in path:
        obs = obs[key]
    tensor: Tensor = obs
    return tensor
