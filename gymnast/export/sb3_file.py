"""What a file of Stable-Baselines3 holds, read without running anything of it.

`model.save` writes a zip: `data`, JSON in which pickles stand as texts that are not touched here, and `policy.pth`, the
state of the policy's module, of which torch's restricted reader takes tensors only. Sizes are checked against limits
before anything is read, so that neither a bomb of zeros nor a tensor of a false size fills the memory.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gymnast.errors import UsageError, first_line

DATA, WEIGHTS, VERSION = "data", "policy.pth", "_stable_baselines3_version"
ENTRIES = {
    DATA: 64 << 20,
    WEIGHTS: 2 << 30,
    VERSION: 1 << 10,
    "pytorch_variables.pth": 2 << 30,
    "policy.optimizer.pth": 4 << 30,
    "system_info.txt": 1 << 20,
}
"""The files in the zip and the most bytes of each; only the first three are read."""
NUMBERS = 500_000_000
"""The most numbers of all tensors together."""


@dataclass(frozen=True)
class Saved:
    """A saved model."""

    data: dict[str, Any]
    """Plain values; objects are dicts with `:type:` and descriptions of their attributes as texts."""
    weights: dict[str, Tensor]
    """The policy's state by name, float32."""
    version: str

    def number(self, name: str) -> float | None:
        """A plain finite number of the data."""
        value = self.data.get(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
        return value if usable else None


def read(file: Path) -> Saved:
    """The content of a file; UsageError in one line for anything but a model of Stable-Baselines3."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive, file)
            data = _json(archive.read(DATA), file)
            weights = archive.read(WEIGHTS)
            version = archive.read(VERSION).decode("ascii", errors="replace").strip()[:40]
    except FileNotFoundError:
        raise UsageError(f"no file {file}") from None
    except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file} cannot be read as a zip: {first_line(error)}") from None
    return Saved(data, _tensors(weights, file), version)


def _check_entries(archive: zipfile.ZipFile, file: Path) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    strange = [name for name in names if name not in ENTRIES] + [name for name in names if names.count(name) > 1]
    if strange:
        raise UsageError(f"{file} is not DQN, PPO or A2C of Stable-Baselines3: it holds {strange[0]!r}")
    lacking = [name for name in (DATA, WEIGHTS, VERSION) if name not in names]
    if lacking:
        raise UsageError(f"{file} is not a model of Stable-Baselines3: it has no {lacking[0]}")
    for entry in entries:
        if entry.file_size > ENTRIES[entry.filename]:
            raise UsageError(f"{file}: {entry.filename} is larger than the {ENTRIES[entry.filename]:,} bytes allowed")


def _json(text: bytes, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UsageError(f"{file}: {DATA} is not a JSON object")
    return data


def _tensors(content: bytes, file: Path) -> dict[str, Tensor]:
    """The tensors of policy.pth, of which nothing is run. UsageError."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            packed = [item for item in inner.infolist() if item.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise UsageError(f"{file}: {WEIGHTS} is compressed, which torch never does")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(f"{file}: {WEIGHTS} holds more than tensors; it was not loaded") from None
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file}: {WEIGHTS} is damaged: {first_line(error)}") from None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{file}: {WEIGHTS} does not hold the weights of a policy")
    if sum(value.numel() for value in state.values()) > NUMBERS:
        raise UsageError(f"{file}: {WEIGHTS} has more than {NUMBERS:,} numbers")
    for name, value in state.items():
        if value.dtype != torch.float32 or value.layout != torch.strided:
            raise UsageError(f"{file}: {WEIGHTS}: {name} is not of float32")
        if not bool(value.isfinite().all()):
            raise UsageError(f"{file}: {WEIGHTS}: {name} has numbers that are not finite")
    return state
