"""The replay of a run on disk: a checkpoint writes only the blocks of frames that changed since the previous one.

`last.pt` holds all of the replay except its frames, and the names of the files in `checkpoints/replay` with the frames:
one file of raw bytes per block of slots. No file that a checkpoint refers to is overwritten: changed blocks get files
of new names, then `last.pt` is renamed into place, then unreferenced files are deleted. So `last.pt` is complete at
every moment.

A replay supports this through its state, which has `arrays` with the tensors frames0, frames1, … that share its own
memory; `block`, the slots of a block; `touched` [blocks], a count that rises with every write into a block. A replay
without `touched` is completely in `last.pt`.
"""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gymnast.errors import UsageError
from gymnast.storage import checkpoint

FOLDER = "replay"
NAME = re.compile(r"\d{6,}-\d{10}\.frames")


@dataclass(frozen=True)
class Block:
    """A file: the slots [start, start + rows) of every array of frames, one array after the other."""

    name: str
    start: int
    rows: int
    touched: int
    crc: int


class ReplayFiles:
    """The block files of one run's `last.pt`."""

    def __init__(self, checkpoints: Path) -> None:
        self.folder = checkpoints / FOLDER
        self._kept: list[Block] = []
        """Files that the checkpoint on disk refers to."""
        self._saves = 0
        """Saves tried so far; the files of each have their own names."""

    def restore(self, agent: dict[str, Any], path: Path) -> None:
        """Continue from the checkpoint at `path`, which holds this state of the agent; UsageError if it is damaged."""
        replay = agent.get("replay", {})
        if "files" in replay:
            with _damage_named(path):
                self._saves, self._kept = replay["files"]["saves"], _blocks(replay)

    @contextmanager
    def saved(self, agent: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Write the changed frames; returns the agent's state without frames, for the caller to write into `last.pt`.

        An OSError of either write leaves the files of the previous checkpoint untouched.
        """
        replay = agent.get("replay", {})
        blocks: list[Block] = []
        self._saves += 1
        try:
            if "touched" in replay:
                blocks = self._write(replay)
                agent = {**agent, "replay": self._described(replay, blocks)}
            yield agent
        except OSError:
            self._delete(self._new_files())
            raise
        self._kept = blocks
        kept = {block.name for block in blocks}
        self._delete([file for file in self._files() if file.name not in kept])

    def discard(self) -> None:
        """Delete all files, if there are any."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, replay: dict[str, Any]) -> list[Block]:
        """Write the blocks that changed; returns all blocks of the replay."""
        frames = _frames(replay["arrays"])
        touched, size, used = replay["touched"].tolist(), replay["block"], len(frames[0])
        kept = {(block.start, block.rows, block.touched): block for block in self._kept}
        self.folder.mkdir(parents=True, exist_ok=True)
        blocks = []
        for number, start in enumerate(range(0, used, size)):
            rows = min(size, used - start)
            block = kept.get((start, rows, touched[number]))
            if block is None:
                name = f"{self._saves:06d}-{start:010d}.frames"
                crc = _write_file(self.folder / name, [array[start : start + rows] for array in frames])
                block = Block(name, start, rows, touched[number], crc)
            blocks.append(block)
        for file in self._new_files():  # only now, so that the disk writes all of them at once
            checkpoint.sync(file)
        checkpoint.sync_folder(self.folder)
        return blocks

    def _described(self, replay: dict[str, Any], blocks: list[Block]) -> dict[str, Any]:
        """The replay's state with empty frames, and the files that hold the frames."""
        arrays = {name: array[:0] if _is_frames(name) else array for name, array in replay["arrays"].items()}
        files = {"saves": self._saves, "blocks": [asdict(block) for block in blocks]}
        return {**replay, "arrays": arrays, "files": files}

    def _files(self) -> list[Path]:
        return [file for file in self.folder.glob("*.frames") if NAME.fullmatch(file.name)]

    def _new_files(self) -> list[Path]:
        """Files of the current save."""
        return [file for file in self._files() if int(file.name.split("-")[0]) == self._saves]

    def _delete(self, files: list[Path]) -> None:
        for file in files:
            with suppress(OSError):  # any file left is deleted after the next save
                file.unlink()


def without_frames(agent: dict[str, Any], path: Path, *, device: torch.device | str) -> dict[str, Any]:
    """The state of an agent for loading before its replay's frames, which are zeros that take no memory.

    `path` is the checkpoint that it was read from; UsageError if the list of its files cannot be read.
    """
    replay = agent.get("replay", {})
    if "files" not in replay:
        return agent
    with _damage_named(path):
        used = sum(block.rows for block in _blocks(replay))
        arrays = {
            name: _stand_in(array, used, device) if _is_frames(name) else array
            for name, array in replay["arrays"].items()
        }
    return {**agent, "replay": {**replay, "arrays": arrays}}


def _stand_in(array: Tensor, used: int, device: torch.device | str) -> Tensor:
    """Frames of `used` slots that take no memory: the real ones are read once the replay has allocated its own."""
    return torch.zeros((), dtype=array.dtype, device=device).expand(used, *array.shape[1:])


def read_frames(replay: dict[str, Any], path: Path, arrays: dict[str, Tensor]) -> None:
    """Read the frames of the replay in the checkpoint at `path` into `arrays`, an agent's own memory, file by file.

    UsageError names a missing or damaged file.
    """
    frames = _frames(arrays)
    for block in _blocks(replay):
        parts = [array[block.start : block.start + block.rows] for array in frames]
        _read_file(path.parent / FOLDER / block.name, parts, block.crc)


def _blocks(replay: dict[str, Any]) -> list[Block]:
    """The files that a checkpoint names; ValueError for a name outside the folder, or gaps in the slots."""
    blocks, used = [Block(**block) for block in replay["files"]["blocks"]], 0
    for block in blocks:
        if not NAME.fullmatch(block.name):
            raise ValueError(f"{block.name!r} is not the name of one")
        if block.start != used:
            raise ValueError(f"slot {used} is in none")
        used += block.rows
    return blocks


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged: the list of its replay's files cannot be read ({error})") from None


def _is_frames(name: str) -> bool:
    return name.startswith("frames")


def _frames(arrays: dict[str, Tensor]) -> list[Tensor]:
    return [arrays[name] for name in sorted(arrays) if _is_frames(name)]


def _bytes(part: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, without a copy if it is contiguous."""
    return part.contiguous().flatten().view(torch.uint8).numpy().data


def _write_file(path: Path, parts: list[Tensor]) -> int:
    """Write the parts one after the other; returns their checksum."""
    crc = 0
    with open(path, "wb") as file:
        for part in parts:
            data = _bytes(part.cpu())
            crc = zlib.crc32(data, crc)
            file.write(data)
    return crc


def _read_file(path: Path, parts: list[Tensor], crc: int) -> None:
    """Read a file of `_write_file` into the parts; UsageError if the file is missing or a different one."""
    found = 0
    try:
        size = path.stat().st_size
        if size != sum(part.nbytes for part in parts):
            raise UsageError(
                f"the replay file {path} is damaged: it has {size:,} bytes; the run cannot be resumed from it"
            )
        with open(path, "rb") as file:
            for part in parts:
                there = part if part.device.type == "cpu" and part.is_contiguous() else torch.empty_like(part).cpu()
                data = _bytes(there)
                file.readinto(data)
                found = zlib.crc32(data, found)
                if there is not part:
                    part.copy_(there)
    except OSError as error:
        raise UsageError(f"the replay file {path} cannot be read: {error.strerror or error}") from None
    if found != crc:
        raise UsageError(f"the replay file {path} is damaged: its checksum does not match")
