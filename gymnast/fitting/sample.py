"""Samples of a fitted distribution over observations, written to a file piece by piece."""

from __future__ import annotations

import math
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from gymnast.agents.supervised.autoencoders.tiles import tiles
from gymnast.agents.supervised.fitted import FittedNetwork, tasks_with
from gymnast.agents.supervised.shown import Grid
from gymnast.envs.step import batched, children
from gymnast.errors import RunError, first_line
from gymnast.fitting import pictures
from gymnast.machine import limit_threads, pick_device
from gymnast.networks.autoencoders.target import Target
from gymnast.settings.sample_options import SampleOptions
from gymnast.storage import rebuild
from gymnast.training.resumed import usage_errors

NAME = "observations"
"""Of the array in a .npz file; the parts of a Dict or Tuple have their keys after it."""


@dataclass(frozen=True)
class Sampled:
    """What was drawn, and where it is."""

    number: int
    task: str
    path: Path

    def as_text(self) -> str:
        return f"{self.number:,} samples of {self.task}: {self.path}"


def sample(options: SampleOptions) -> Sampled:
    """Draw samples from a run's model and write them; UsageError before anything is drawn, RunError if it fails."""
    out = Path(options.out)
    with usage_errors():
        if not out.parent.is_dir():
            raise ValueError(f"out {out}: there is no folder {out.parent}")
        limit_threads(options.threads)
        device = pick_device(options.device)
        model = rebuild.load(options.run, device=device, trust=options.trust)
        if not isinstance(model, FittedNetwork):
            names = ", ".join(tasks_with("sample"))
            raise ValueError(f"{options.run} holds an agent, which has no samples; these have: {names}")
        space = model.observation_space
        if out.suffix != ".npz" and isinstance(space, spaces.Dict | spaces.Tuple):
            raise ValueError(f"out {out} takes observations of one array, and these have parts; use .npz")
        blocks = model.blocks(
            options.number,
            seed=options.seed,
            steps=options.steps,
            temperature=options.temperature,
            label=options.label,
        )
        first = next(blocks)  # a model without samples says so
    try:
        _write(out, space, chain([first], blocks), options.number)
    except (OSError, torch.OutOfMemoryError) as error:
        raise RunError(f"out {out}: {first_line(error)}") from None
    return Sampled(options.number, model.name, out)


def _write(out: Path, space: gym.Space[Any], blocks: Iterable[Any], number: int) -> None:
    if out.suffix == ".png":
        pictures.draw({out.stem: grid(space, list(blocks), number)}, out.parent)
        return
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        files = _arrays(Path(folder), space, blocks, number)
        if out.suffix == ".npy":
            os.replace(files[NAME], out)
            return
        whole = Path(folder) / "whole.zip"
        with zipfile.ZipFile(whole, "w") as archive:
            for name, file in files.items():
                archive.write(file, f"{name}.npy")
        os.replace(whole, out)


def _arrays(folder: Path, space: gym.Space[Any], blocks: Iterable[Any], number: int) -> dict[str, Path]:
    """Files in NumPy's format, one for each part of the observations, by the name of the part."""
    parts = dict(_leaves(space))
    files = {name: folder / f"{index}.npy" for index, name in enumerate(parts)}
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}
        for name, part in parts.items():
            opened[name] = stack.enter_context(open(files[name], "wb"))
            descr = np.lib.format.dtype_to_descr(np.dtype(part.dtype))
            header = {"descr": descr, "fortran_order": False, "shape": (number, *(part.shape or ()))}
            np.lib.format.write_array_header_1_0(opened[name], header)
        for block in blocks:
            for name, array in _values(space, block):
                opened[name].write(np.ascontiguousarray(array).data)
    return files


def _leaves(space: gym.Space[Any], name: str = NAME) -> Iterator[tuple[str, gym.Space[Any]]]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, _, part in children(space):
            yield from _leaves(part, f"{name}/{key}")
    else:
        yield name, space


def _values(space: gym.Space[Any], values: Any, name: str = NAME) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, own, part in children(space):
            yield from _values(part, values[own], f"{name}/{key}")
    else:
        yield name, values


def grid(space: gym.Space[Any], blocks: list[np.ndarray], number: int) -> Grid:
    """Samples [N, ...] in batches, as a square of pictures; missing ones at its end are white."""
    obs = batched(space, np.concatenate(blocks), torch.device("cpu"))
    target = Target(space, lambda: obs)
    images = tiles(target, target(obs))  # [N, H, W, 3]
    columns = math.ceil(math.sqrt(number))
    rows = math.ceil(number / columns)
    white = torch.ones(rows * columns - number, *images.shape[1:])
    return Grid(torch.cat([images, white]).view(rows, columns, *images.shape[1:]), ("",) * rows)
