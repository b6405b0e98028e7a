"""What is computed: backbones turn observations into features, heads turn features into what an agent needs."""

from __future__ import annotations

from gymnast.networks.build import NETWORKS, build, default_sizes

__all__ = ["NETWORKS", "build", "default_sizes"]
