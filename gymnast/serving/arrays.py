"""Raw arrays in requests and answers: one in NumPy's .npy format, or several, by name, in an .npz archive.

Both are read here, without pickle: NumPy's own reader makes an array of the size that the header claims before it looks
at the data, and an archive may claim far more than the request holds.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from functools import lru_cache
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy

from gymnast.serving.refused import Refused

MAGIC = b"\x93NUMPY"
ARCHIVE = b"PK\x03\x04"
HEADER = 2_000
"""Bytes of a header, at most."""


def read_arrays(body: bytes, *, limit: int) -> dict[str, Any]:
    """`obs` and, from an archive, `action_mask`; names with slashes become nested dicts. Refused for anything else.

    An .npy file is `obs`. `limit` is the number of bytes of an unpacked archive.
    """
    if body.startswith(MAGIC):
        return {"obs": read_npy(body)}
    if not body.startswith(ARCHIVE):
        raise Refused(400, "the body must be an .npy file (numpy.save) or an .npz archive (numpy.savez)")
    found: dict[str, Any] = {}
    for name, array in _unpacked(body, limit).items():
        *folders, last = name.split("/")
        inside = found
        for folder in folders:
            inside = inside.setdefault(folder, {})
            if not isinstance(inside, dict):
                raise Refused(400, f"the archive has both an array and parts named {folder}")
        inside[last] = array
    if "obs" not in found or not set(found) <= {"obs", "action_mask"}:
        raise Refused(400, "the archive must hold obs, or obs/PART for each part, and may hold action_mask")
    return found


def _unpacked(body: bytes, limit: int) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > limit:
                raise Refused(413, f"the archive unpacks to more than {limit:,} bytes")
            return {entry.filename.removesuffix(".npy"): read_npy(archive.read(entry)) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise Refused(400, "the .npz archive is damaged or encrypted") from error


def read_npy(data: bytes) -> np.ndarray:
    """An array of numbers from the bytes of an .npy file."""
    version = data[6:7]
    size = 2 if version == b"\x01" else 4
    start = 8 + size + int.from_bytes(data[8 : 8 + size], "little")
    if not data.startswith(MAGIC) or start > min(len(data), HEADER):
        raise Refused(400, "the .npy file is damaged")
    shape, by_columns, dtype = _header(bytes(data[:start]))
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise Refused(400, f"the .npy file holds {len(data) - start:,} bytes of data, which is not {dtype} {shape}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if by_columns else "C")


@lru_cache(maxsize=256)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype, cached: a client's headers are all alike, and take longer to parse than the data."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read(stream, max_header_size=HEADER)
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError) as error:
        raise Refused(400, "the header of the .npy file is damaged") from error
    if dtype.kind not in "biuf" or any(size < 0 for size in shape):
        raise Refused(400, "the .npy file does not hold numbers")
    return shape, by_columns, dtype


def write_arrays(values: Any) -> bytes:
    """Actions: an .npy file of an array, an .npz archive of several."""
    if isinstance(values, np.ndarray):
        array = np.ascontiguousarray(values)
        return _written(array.dtype, values.shape) + array.tobytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in _named(values, "action"):
            archive.writestr(f"{name}.npy", write_arrays(array))
    return stream.getvalue()


@lru_cache(maxsize=256)
def _written(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    about = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, about)
    return stream.getvalue()


def _named(values: Any, name: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(values, dict | tuple):
        parts = values.items() if isinstance(values, dict) else enumerate(values)
        return [item for key, part in parts for item in _named(part, f"{name}/{key}")]
    return [(name, values)]
