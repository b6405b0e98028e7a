"""Patterns stored in Hopfield networks and recalled: random ones, observations, or their features."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.supervised.shown import Grid, Line, Shown
from gymnast.errors import RunError, UsageError, first_line
from gymnast.fitting import data, pictures
from gymnast.networks.energy.hopfield import Recall, binarised, random_patterns, recall
from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.inputs import Vector
from gymnast.replay.datasets.episodes import EpisodeData, read_dataset
from gymnast.replay.datasets.labelled import LABELLED, Labelled, labelled
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.hopfield_options import HopfieldOptions
from gymnast.storage.encoder import described, read_encoder, same_kind
from gymnast.training.resumed import usage_errors

UNITS = 300
LOADS = (0.05, 0.08, 0.10, 0.12, 0.138, 0.16, 0.20, 0.25)
"""Random patterns by default, in units of the network's units."""
STORED = 10
"""Observations stored by default."""
SAMPLE = 1_000
"""Observations by whose mean each number is binarised, at least."""
SHOWN = 10


@dataclass(frozen=True)
class Stored:
    """How so many patterns were recalled."""

    patterns: int
    load: float
    """Patterns per unit."""
    error: float
    """Share of wrong units after recall."""
    exact: float
    """Share of patterns that were recalled without an error."""


@dataclass(frozen=True)
class HopfieldResult:
    """What a run of `gymnast hopfield` found, and its files by name."""

    units: int
    stored: list[Stored]
    files: dict[str, Path]

    def as_json(self) -> dict[str, Any]:
        """Numbers and files for JSON."""
        files = {name: str(path) for name, path in self.files.items()}
        return {"units": self.units, "stored": [asdict(row) for row in self.stored], "files": files}

    def as_text(self) -> str:
        """A table, and the paths of all files."""
        rows = [f"{row.patterns:>8}{row.load:>8.3f}{row.error:>13.2%}{row.exact:>9.1%}" for row in self.stored]
        head = f"{'patterns':>8}{'load':>8}{'wrong units':>13}{'exact':>9}   ({self.units:,} units)"
        return "\n".join([head, *rows, *(f"{name:<12}{path}" for name, path in self.files.items())])


def hopfield(options: HopfieldOptions) -> HopfieldResult:
    """Store each number of patterns in a network, recall them, and write pictures and numbers.

    Raises UsageError for invalid options, and RunError if a file cannot be written.
    """
    generator = torch.Generator().manual_seed(options.seed)
    with usage_errors():
        known, layout = _known(options, generator)
        units = options.units or UNITS if known is None else known.shape[1]
        numbers = options.patterns or ((STORED,) if known is not None else _loaded(units))
        if known is not None and max(numbers) > len(known):
            raise ValueError(f"patterns must be at most {len(known)}, the different ones, got {max(numbers)}")
    found = []
    for number in numbers:
        patterns = random_patterns(number, units, generator) if known is None else known[:number]
        found.append(
            recall(
                patterns,
                generator,
                rule=options.rule,
                order=options.order,
                noise=options.noise,
                sweeps=options.sweeps,
            )
        )
    stored = [Stored(len(one.stored), len(one.stored) / units, one.error, one.exact) for one in found]
    return _written(HopfieldResult(units, stored, {}), found[-1], layout, Path(options.out))


def _loaded(units: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(max(round(load * units), 1) for load in LOADS))


def _known(options: HopfieldOptions, generator: torch.Generator) -> tuple[Tensor | None, Layout | None]:
    """Different patterns [M, N] from the data, in a random order, and the layout of images; None for random ones."""
    read = _data(options)
    if read is None:
        return None, None
    index = torch.randperm(len(read), generator=generator)[: max(SAMPLE, *options.patterns, 0)]
    space = read.space if isinstance(read, Labelled) else read.observation_space
    observations = read.inputs[index] if isinstance(read, Labelled) else read.observations(index)
    with torch.no_grad():
        if options.encoder:
            encoder = read_encoder(options.encoder)
            if not same_kind(encoder.observation_space, space):
                raise UsageError(
                    f"encoder {options.encoder} reads {described(encoder.observation_space)}, "
                    f"and the data have {described(space)}"
                )
            if encoder.norm is not None:
                raise UsageError(f"encoder {options.encoder} normalises observations; use one without normalisation")
            patterns = binarised(encoder.build()(observations))
        else:
            patterns = binarised(Vector(space)(observations))
    first: dict[bytes, int] = {}
    for row, pattern in enumerate(patterns.numpy()):
        first.setdefault(pattern.tobytes(), row)
    return patterns[list(first.values())], None if options.encoder else Layout.of(space)


def _data(options: HopfieldOptions) -> Labelled | EpisodeData | None:
    if options.env:
        return data.recorded(FitOptions(env=options.env, env_steps=options.env_steps, seed=options.seed))
    if options.dataset in LABELLED:
        return labelled(options.dataset, seed=options.seed)
    return read_dataset(options.dataset) if options.dataset else None


def _written(result: HopfieldResult, last: Recall, layout: Layout | None, out: Path) -> HopfieldResult:
    """The result with its files; the picture of images is of the last network."""
    shown: dict[str, Shown] = {}
    if layout is not None:
        rows = [part[:SHOWN].reshape(-1, *layout.shape) for part in last]
        images = torch.stack([layout.to_planes(row).mean(1) for row in rows])
        shown["recall"] = Grid.grey(images, ("stored", "corrupted", "recalled"))
    if len(result.stored) > 1:
        points = sorted((row.load, row.error) for row in result.stored)
        shown["capacity"] = Line(tuple(points), "patterns per unit", "wrong units")
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = pictures.draw(shown, out)
        files["numbers"] = out / "hopfield.json"
        done = HopfieldResult(result.units, result.stored, files)
        files["numbers"].write_text(json.dumps(done.as_json(), indent=2) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise RunError(f"out {out}: {first_line(error)}") from None
    return done
