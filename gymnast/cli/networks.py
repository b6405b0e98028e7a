"""`gymnast list networks --env ID`: every backbone that fits an environment's observations, measured."""

from __future__ import annotations

import dataclasses
import json

import torch
from rich.console import Console
from rich.table import Table

from gymnast.envs.factory import full_id, make
from gymnast.errors import UsageError, first_line
from gymnast.machine import limit_threads
from gymnast.networks.build import NETWORKS, build
from gymnast.networks.measure import Measured, measure

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
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
