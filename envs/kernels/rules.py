"""What the rules of one row are: four functions of plain numbers, and the fields of the row's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

Field = tuple[Any, ...]
"""(name, dtype) of a number, (name, dtype, shape) of an array."""


@dataclass(frozen=True)
class RowRules:
    """The rules of one environment for one row, compiled as they are for all rows.

    `state` and `options` have the fields named below as attributes, which `begin` and `act` assign; arrays are
    assigned by element. `draws` are passed to `uniform(draws, index)` and `integer(draws, index, below)` of
    `gymnast.envs.kernels.draws`: each index is a separate number, from 0 to 255. Functions that the rules call carry
    `@rule` of the same module.
    """

    fields: tuple[Field, ...]
    """Of the state, by the names that a `State` of `gymnast.envs.native.game` has."""
    begin: Callable[..., None]
    """`begin(state, draws, options)`: the state of a new episode; it assigns all fields."""
    act: Callable[..., Any]
    """`act(state, action, draws, options)`: reward and whether the episode is terminated. The action is an integer, or
    an array of a Box action space's shape."""
    show: Callable[..., None]
    """`show(state, obs, options)`: write all of the observation, an array of the space's shape, [1] for a number."""
    allow: Callable[..., None] | None = None
    """`allow(state, mask, options)`: write the allowed actions, bool [A], if the game defines them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, flags and arrays that do not change."""

    @classmethod
    def of(
        cls, name: str, *, act: str = "act", show: str = "show", allow: str | None = None, **options: Any
    ) -> RowRules:
        """The rules that a module has as `FIELDS`, `begin` and functions of these names."""
        module = import_module(name)
        mask = None if allow is None else getattr(module, allow)
        return cls(module.FIELDS, module.begin, getattr(module, act), getattr(module, show), mask, options)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """All that are given."""
        given = (self.begin, self.act, self.show)
        return given if self.allow is None else (*given, self.allow)


def records(fields: tuple[Field, ...], rows: int) -> np.ndarray:
    """Zeroed structs of these fields, [rows], aligned for compiled code."""
    return np.zeros(rows, np.dtype([_compilable(*entry) for entry in fields], align=True))


def constants(options: Mapping[str, Any]) -> np.ndarray:
    """A struct of options, [1]; one without any has a field that nobody reads."""
    arrays = {name: np.asarray(value) for name, value in (options or {"nothing": 0}).items()}
    made = records(tuple((name, value.dtype, value.shape) for name, value in arrays.items()), 1)
    for name, value in arrays.items():
        made[name][0] = value
    return made


def _compilable(name: str, dtype: Any, shape: tuple[int, ...] = ()) -> Field:
    """Numba reads no array of bools in a struct (0.68): it is one of uint8 there."""
    kind = np.dtype(dtype)
    return name, np.dtype(np.uint8) if kind == np.bool_ and shape else kind, shape
