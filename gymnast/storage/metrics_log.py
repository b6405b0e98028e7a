"""The run's own log: JSON lines, the same in identical runs, that neither a crash nor a full disk corrupts."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any


class MetricsLog:
    """An append-only file of JSON objects, one per line, in the order of `write`.

    Each record goes to the operating system at once. If that fails (a full disk), records are kept in memory: one
    warning on stderr, training continues, and the next record after space is available writes all of them in order.
    Records still pending at `close` are lost, and a second line says how many bytes. Nothing in it depends on the
    clock.

    Opening an existing file cuts off an incomplete last line, so that no record is ever appended to one. Raises OSError
    if the file cannot be opened at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open as long as the run
        self._waiting = bytearray()
        self._warned = False
        self._cut(_whole_lines(self.path))

    def write(self, record: dict[str, Any]) -> None:
        """Append one record of plain values (numbers, strings, lists, dicts); NaN and infinities become null."""
        line = json.dumps(finite(record), separators=(",", ":"), allow_nan=False)
        self._waiting += line.encode() + b"\n"
        self._flush()

    def position(self) -> int:
        """Bytes of all records so far, including pending ones; the argument of `truncate` in a resumed run."""
        return self._size + len(self._waiting)

    def truncate(self, position: int) -> None:
        """Delete every record after a position, so that a resumed run, which writes them again, repeats nothing."""
        self._waiting.clear()
        if position > self._size:
            self._warn(f"{position - self._size:,} bytes of records before the resumed step are missing")
        self._cut(min(position, self._size))
        self._cut(_whole_lines(self.path))

    def close(self) -> None:
        """Write the pending records, or report that they are lost; calling it twice is harmless."""
        if self._file.closed:
            return
        self._flush()
        if self._waiting:
            self._warn(f"{len(self._waiting):,} bytes of records could not be written and are lost")
        self._file.close()

    def _flush(self) -> None:
        try:
            while self._waiting:
                # A full disk may take part of a line: the rest stays pending, and is written first once there is space.
                written = self._file.write(self._waiting)
                self._size += written
                del self._waiting[:written]
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._warn(
                    f"{error.strerror}; training continues, and records are kept in memory until they can be written"
                )

    def _cut(self, size: int) -> None:
        if size < os.fstat(self._file.fileno()).st_size:
            self._file.truncate(size)
        self._size = size

    def _warn(self, text: str) -> None:
        print(f"gymnast: {self.path}: {text}", file=sys.stderr)


def read(path: Path) -> list[dict[str, Any]]:
    """All records of a file; an incomplete last line (of a run in progress, or one that was killed) is left out.

    Raises ValueError, with the line's number, if a complete line is not a JSON object.
    """
    records = []
    for number, line in enumerate(path.read_bytes()[: _whole_lines(path)].splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object")
        records.append(record)
    return records


def last_record(path: Path) -> dict[str, Any] | None:
    """The last complete record of a file that may be growing; None if there is none yet."""
    try:
        with open(path, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - (1 << 16), 0))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    try:
        record = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def final_record(path: Path) -> dict[str, Any] | None:
    """The last record, if it is that of a run's final evaluation."""
    record = last_record(path)
    return record if record is not None and record["kind"] == "final" else None


def _whole_lines(path: Path) -> int:
    """Bytes up to and including the last newline."""
    block = 1 << 16
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = file.seek(max(end - block, 0))
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            end = begin
    return 0


def finite(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
