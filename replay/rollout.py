"""On-policy storage: the last T steps of N rows, in tensors that are allocated once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Fields = dict[str, Any]  # tensors, or nested dicts of them: `envs.step.Obs`, which replay does not import


class Rollout:
    """The data of T steps, each field [T, N, ...] on the device of its first value.

    A field that is None in the first step of all is not kept. `weight` is 1 if a row's action counted, else 0, float32.
    """

    def __init__(self, steps: int, num_envs: int, *, device: torch.device) -> None:
        self.steps, self.num_envs = steps, num_envs
        self.length = 0
        """Number of filled steps."""
        self.weight = torch.ones((steps, num_envs), device=device)
        self.fields: Fields = {}
        self._rows: dict[str, list[Tensor]] = {}

    @property
    def full(self) -> bool:
        return self.length == self.steps

    def add(self, *, active: Tensor | None = None, **values: Any) -> None:
        """One step: values [N, ...] (None is left out), `active` bool [N] if only some rows count."""
        flat = dict(flat_fields(values))
        if not self._rows:
            self.allocate(flat)
        step = self.length
        for name, value in flat.items():
            self._rows[name][step].copy_(value)
        if active is not None:
            self.weight[step] = active
        self.length += 1

    def filled(self) -> None:
        """Count all steps as filled: a recording or compiled code has written them."""
        self.length = self.steps

    def overwrite(self, name: str, value: Tensor) -> None:
        """Replace a value [N, ...] of the last step."""
        self._rows[name][self.length - 1].copy_(value)

    def clear(self) -> None:
        """Clear it, keeping the memory."""
        self.length = 0
        self.weight.fill_(1.0)

    def allocate(self, flat: dict[str, Tensor]) -> None:
        """Fields for values like these, [N, ...] by their names."""
        buffers = {name: value.new_zeros((self.steps, *value.shape)) for name, value in flat.items()}
        self._rows = {name: list(buffer.unbind(0)) for name, buffer in buffers.items()}
        self.fields = nested_fields(buffers)

    def state_dict(self) -> dict[str, Any]:
        """The steps so far."""
        filled = {name: buffer[: self.length].clone() for name, buffer in flat_fields(self.fields)}
        return {"length": self.length, "weight": self.weight.clone(), "fields": filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; ValueError if it has another shape."""
        if state["weight"].shape != self.weight.shape:
            kept, mine = (tuple(shape) for shape in (state["weight"].shape, self.weight.shape))
            raise ValueError(f"the checkpoint's rollout is {kept[0]} steps of {kept[1]} rows, this one is {mine}")
        device = self.weight.device
        self.weight.copy_(state["weight"])
        self.length = state["length"]
        if self.length:
            self.allocate({name: value[0].to(device) for name, value in state["fields"].items()})
            for name, buffer in flat_fields(self.fields):
                buffer[: self.length].copy_(state["fields"][name])


def flat_fields(fields: Fields, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors and their names, with names of nested ones joined by slashes."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat_fields(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value


def nested_fields(flat: dict[str, Tensor]) -> Fields:
    fields: Fields = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        inner = fields
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return fields
