"""Process-wide defaults that a user's code changes and agents rely on. No torch here: workers use it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gymnast.envs.errors import EnvWarning


@contextmanager
def kept_defaults(name: str) -> Iterator[None]:
    """Restore NumPy's error state, torch's default dtype and its gradients, with a warning.

    Networks in float64 do not accept float32 observations, learning needs gradients, and `np.seterr(all="raise")`
    makes every underflow an error.
    """
    errors, dtype, gradients = np.geterr(), None, True
    if torch := sys.modules.get("torch"):
        dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        changed = _put_back(errors, dtype, gradients)
        if changed:
            text = f"{name} changed {' and '.join(changed)} for the whole process"
            warnings.warn(f"{text}; gymnast set it back, because its agents need it", EnvWarning, stacklevel=3)


def _put_back(errors: Any, dtype: Any, gradients: bool) -> list[str]:
    """The changes, in words."""
    changed = []
    if np.geterr() != errors:
        np.seterr(**errors)
        changed.append("NumPy's error state")
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        usual = torch.float32 if dtype is None else dtype  # torch's defaults, if it was imported only now
        if torch.get_default_dtype() != usual:
            torch.set_default_dtype(usual)
            changed.append("torch's default dtype")
        if torch.is_grad_enabled() != gradients:
            torch.set_grad_enabled(gradients)
            changed.append("whether torch computes gradients")
    return changed
