"""`gymnast list networks`: with `--env ID` every backbone that fits, measured; with `--run RUN` the one of a run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch
from rich.table import Table

from gymnast.envs.factory import full_id, make
from gymnast.errors import UsageError, first_line
from gymnast.machine import limit_threads
from gymnast.networks.build import NETWORKS, build
from gymnast.networks.measure import Measured, measure
from gymnast.output.table_text import table_text
from gymnast.storage.encoder import described, read_encoder

UNNAMED = ("auto", "module:Class")
COLUMNS = ("network", "features", "parameters", "multiply-adds", "receptive field", "ms of 32")


def measured(env: str) -> dict[str, Measured]:
    """The backbones that fit; UsageError for an environment that cannot be made."""
    try:
        full_id(env)
        made = make(env, seed=0)
    except ValueError as error:
        raise UsageError(first_line(error)) from error
    space = made.single_observation_space
    made.close()
    limit_threads(1)
    found: dict[str, Measured] = {}
    for name in NETWORKS:
        if name in UNNAMED:
            continue
        try:
            backbone = build(name, space, generator=torch.Generator().manual_seed(0))
        except ValueError:  # it does not fit
            continue
        found[name] = measure(backbone, space)
    return found


def of_run(path: str) -> dict[str, Any]:
    """What the trained backbone of a run or checkpoint is, by name; UsageError if it has none."""
    encoder = read_encoder(path)
    found: dict[str, Any] = {"network": encoder.name, "options": encoder.options}
    if encoder.hidden_sizes is not None:
        found |= {"hidden_sizes": list(encoder.hidden_sizes), "activation": encoder.activation}
        found["layer_norm"] = encoder.layer_norm
    found["observations"] = described(encoder.observation_space)
    found["normalised_observations"] = encoder.norm is not None
    found |= {"trained_on": encoder.trained_on, "agent": encoder.agent}
    if ":" in encoder.name:  # a user's own code, which is not run here
        return found | {"parameters": sum(weight.numel() for weight in encoder.weights.values())}
    limit_threads(1)
    one = measure(encoder.build(), encoder.observation_space)
    return found | {
        "features": one.features,
        "parameters": one.parameters,
        "multiply_adds": one.multiply_adds,
        "receptive_field": None if one.field is None else f"{one.field[0]}x{one.field[1]}",
        "milliseconds_of_32": one.milliseconds,
    }


def table(found: dict[str, Any]) -> str:
    """A line for each name."""
    width = max(map(len, found)) + 2
    return "\n".join(f"{name.replace('_', ' '):<{width}}{_shown(value)}" for name, value in found.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(part)}" for name, part in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def as_json(found: dict[str, Measured]) -> str:
    return json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}, indent=2)


def as_text(found: dict[str, Measured]) -> str:
    """A table, a row for each backbone."""
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for name, one in found.items():
        field = "-" if one.field is None else f"{one.field[0]}x{one.field[1]}"
        table.add_row(
            name,
            f"{one.features:,}",
            f"{one.parameters:,}",
            f"{one.multiply_adds:,}",
            field,
            f"{one.milliseconds:.1f}",
        )
    return table_text(table, width=100)
