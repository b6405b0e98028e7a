"""Products of matrices on the CPU by the library that is fastest on the processor.

Products of 256x256 matrices on one core: oneDNN 215 and `torch.mm` 105 GFLOP/s on AMD (Zen 5), where MKL, behind
`torch.mm`, leaves AVX-512 unused; oneDNN 144 and `torch.mm` 168 on Intel (Sapphire Rapids or later).
"""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

SMALL = 32
"""Rows or columns up to which a product is left to `torch.mm`, whose call costs less."""
NARROW = 12
"""Inputs up to which a layer is left to it too."""


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear layer with its activation, on a processor that it is made for."""
    if not torch._C._has_mkldnn or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def uses_onednn() -> bool:
    """Whether oneDNN beats `torch.mm` here: on AMD's processors."""
    return has_onednn() and "AuthenticAMD" in _processor()


def _processor() -> str:
    """The processor's vendor, among other words."""
    described = Path("/proc/cpuinfo")
    if sys.platform == "linux" and described.exists():
        return described.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    return platform.processor()


def rectified(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(features weight^T + bias): [B, in], [out, in], [out] to [B, out]."""
    if features.shape[1] > NARROW and uses_onednn():
        return _linear_pointwise(features, weight, bias, "relu")
    return torch.addmm(bias, features, weight.t()).relu_()


def linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """features weight^T + bias."""
    if len(weight) > SMALL and uses_onednn():
        return _linear_pointwise(features, weight, bias, "none")
    return torch.addmm(bias, features, weight.t())


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """left right^T, both of which may be transposed views: [B, K], [N, K] to [B, N], written to `out` if given."""
    if left.shape[1] == 1:
        return torch.mul(left, right.t(), out=out)  # an outer product
    if right.shape[0] <= SMALL < left.shape[0]:  # several times as fast as the other way round
        result = (right @ left.t()).t()
    elif min(left.shape[0], left.shape[1]) <= SMALL or not uses_onednn():
        return torch.mm(left, right.t(), out=out)
    else:
        result = _linear_pointwise(left, right, None, "none")
    return result if out is None else out.copy_(result)


def _linear_pointwise(features: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(features, weight, bias, activation, [], "")
    return output
