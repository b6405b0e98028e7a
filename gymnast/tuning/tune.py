"""`gymnast tune`, and `gymnast.tune` in Python: what they need is checked before it is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gymnast.errors import require
from gymnast.tuning.options import TuneOptions

if TYPE_CHECKING:
    from gymnast.tuning.findings import Findings

NEEDS = {"cmaes": ("cmaes",), "gp": ("scipy",)}
"""Packages that a sampler needs in addition to Optuna."""


def tune(options: TuneOptions, extra: Sequence[str] = ()) -> Findings:
    """Search for settings of an agent that raise its return; carries out only the trials that are missing.

    `extra` are options of `gymnast train` for every run, as words. Raises UsageError before anything starts.
    """
    require("optuna", of="gymnast tune", extra="tune")
    require(*NEEDS.get(options.sampler, ()), of=f"--sampler {options.sampler}", extra="tune")
    from gymnast.tuning.search import search

    return search(options, extra)
