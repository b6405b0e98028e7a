"""The digests of a checkpoint: a CRC-32 of every tensor and of the description, checked before anything is used.

torch writes a checkpoint as a zip archive, one record for each tensor's memory, and with each record its CRC-32, but
does not check them when it reads. They cost nothing to write (computing others over 100 MB takes 23% of a save's
time) and are in every checkpoint that gymnast has ever written. Checking 100 MB takes about 50 ms.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import IO, Any

import torch

CHUNK = 1 << 20


def damaged_record(file: IO[bytes]) -> str | None:
    """The first record that differs from its digest; None if all match, "" if the file is not an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            for record in records:
                if not _is_whole(archive, record):
                    return record.filename
    except Exception:  # damaged bytes make zipfile raise almost anything
        return ""
    finally:
        file.seek(0)
    return None


def _is_whole(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bool:
    if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
        return False  # torch compresses nothing
    left = record.file_size
    try:
        with archive.open(record) as reader:
            while block := reader.read(CHUNK):  # raises BadZipFile at the end if the digest differs
                left -= len(block)
    except Exception:
        return False
    return left == 0


def is_tensor(record: str) -> bool:
    """Whether a record holds a tensor's memory."""
    return record.rpartition("/data/")[2].isdigit()


def name_of(record: str, content: Any) -> str:
    """The place of the tensor that a record holds: `the tensor agent.network.weight`."""
    wanted = int(record.rpartition("/data/")[2])
    keys: dict[int, int] = {}
    for name, tensor in _tensors(content, ""):
        # torch numbers the tensors' memory in the order of first use
        if keys.setdefault(tensor.untyped_storage()._cdata, len(keys)) == wanted:
            return f"the tensor {name}"
    return "a tensor"


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in the order in which they are written, with their places."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _tensors(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _tensors(part, f"{name}[{number}]")
