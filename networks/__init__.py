"""Networks: backbones turn observations into features, heads turn features into an agent's outputs."""

from __future__ import annotations

from gymnast.networks.build import NETWORKS, build, default_sizes

__all__ = ["NETWORKS", "build", "default_sizes"]
