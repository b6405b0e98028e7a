"""A run's folder that is kept at a URL, by fsspec: each attempt at the run works in a copy on its own machine.

What is at the URL can be resumed at every moment, whenever the machine is lost: the files of a replay have names of
their own and arrive first, then the records that `last.pt` counts on, then `last.pt`, and only then are the files of
the previous checkpoint deleted. The record that says that a run is finished arrives after all else.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from gymnast.errors import UsageError, first_line
from gymnast.storage.last import LastCheckpoint

RECORDS = "metrics.jsonl"
READ_BY_REPORTS = ("config.json", RECORDS)
LAST = "checkpoints/last.pt"
REPLAY = "checkpoints/replay/"
STAMPS = ("mtime", "ino", "LastModified", "last_modified", "ETag", "etag", "updated", "generation", "modify")
"""Names under which storages say when a file was changed, or what identifies its content."""
RETRY_SECONDS = (1.0, 5.0, 25.0)
"""Pauses before what must arrive is sent again."""


def is_url(out: str) -> bool:
    return "://" in out


def read_by_reports(name: str) -> bool:
    """Whether a file, in whatever folder, is one that reports read."""
    return PurePosixPath(name).name in READ_BY_REPORTS


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raises OSError for whatever a storage raises: lost connections are errors of botocore's or aiohttp's own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {first_line(error)}") from error


@dataclass(frozen=True)
class Remote:
    """A folder at a URL, and the folder of this machine that stands for it."""

    url: str
    local: Path

    def url_of(self, path: Path) -> str:
        """The URL of a path in the local folder."""
        return f"{self.url.rstrip('/')}/{path.relative_to(self.local).as_posix()}"

    def shown(self, text: str) -> str:
        """A text with URLs instead of local paths."""
        return text.replace(str(self.local), self.url.rstrip("/"))

    def mirror(self, path: Path) -> Mirror:
        return Mirror(self.url_of(path), path)


def check(url: str) -> None:
    """Raise UsageError if nothing can be written at the URL."""
    if url.startswith("memory://"):
        raise UsageError(f"--out {url}: the memory of one process is not seen by the others")
    try:
        files, root = fsspec.url_to_fs(url)
        tried = f"{root.rstrip('/')}/.tried-{os.getpid()}"
        with storage_errors():
            files.makedirs(root, exist_ok=True)
            files.pipe_file(tried, b"")  # some storages have no folders to make: writing is their first error
            files.rm_file(tried)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"--out {url}: {first_line(error)}") from None


class Mirror:
    """One folder at a URL, and its copy."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._staging = folder.with_name(f".{folder.name}.sending")  # a new run makes its folder itself
        self._files, self._root = fsspec.url_to_fs(url)
        self._sent: dict[str, tuple[int, ...]] = {}
        """What identifies the version of each file that is at the URL."""
        self._fetched: dict[str, str | None] = {}
        """What the storage says of the version of each file that was copied from there."""

    def fetch(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Copy the wanted files to this machine if they have changed, each completely or not at all. Raises OSError."""
        there = {name: _stamp(about) for name, about in self._there().items()}
        for name in sorted(filter(wanted, there)):
            target = self.folder / name
            if there[name] is not None and self._fetched.get(name) == there[name] and target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.fetched")
            with storage_errors():
                self._files.get_file(self._at(name), str(temporary))
            os.replace(temporary, target)
            self._fetched[name], self._sent[name] = there[name], _version(target)

    def send(self, *, ended: bool) -> None:
        """Copy what has changed to the URL; `ended` if nothing writes into the folder any more. Raises OSError."""
        if not self.folder.is_dir():
            return
        staged = self._stage()
        try:
            for name in self._here():
                self._put(name, self.folder / name)
            for name in sorted(staged.keys() - {LAST}):
                self._put(name, staged[name])
            self._put_records(with_final=False)
            if LAST in staged:
                self._put(LAST, staged[LAST])
            self._delete_all_but({*self._here(), *staged, RECORDS})
            if ended:
                self._put_records(with_final=True)
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def send_surely(self, *names: str) -> None:
        """Copy a folder that has ended, or files of it, to the URL, again after pauses if it fails.

        Raises OSError in the end.
        """
        for pause in (*RETRY_SECONDS, None):
            try:
                for name in names:
                    self._put(name, self.folder / name)
                if not names:
                    self.send(ended=True)
                return
            except OSError:
                if pause is None:
                    raise
                time.sleep(pause)

    def changed(self) -> bool:
        """Whether there is a checkpoint that has not been sent."""
        last = self.folder / LAST
        return last.is_file() and self._sent.get(LAST) != _version(last)

    def discard(self) -> None:
        """Delete the last checkpoint and its replay at the URL. Raises OSError."""
        self._delete([name for name in self._there() if name == LAST or name.startswith(REPLAY)])

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _there(self) -> dict[str, dict[str, Any]]:
        """The complete files at the URL by their names relative to the folder, and what the storage says of each."""
        with storage_errors():
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        named = {PurePosixPath(path).relative_to(self._root).as_posix(): about for path, about in found.items()}
        return {name: about for name, about in named.items() if name != "." and not _is_hidden(name)}

    def _here(self) -> Iterator[str]:
        """Names of the files that may be sent at any moment and in any order."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not (_is_hidden(name) or name in (RECORDS, LAST) or name.startswith(REPLAY)):
                yield name

    def _stage(self) -> dict[str, Path]:
        """The files of one and the same last checkpoint by name, as links that its successor leaves alone."""
        place = self._staging
        while True:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            try:
                last = place / "last.pt"
                os.link(self.folder / LAST, last)
                staged = {LAST: last}
                for name in LastCheckpoint(place).replay_names():
                    staged[REPLAY + name] = place / name
                    os.link(self.folder / REPLAY / name, place / name)
                return staged
            except FileNotFoundError:
                if not (self.folder / LAST).is_file():
                    return {}

    def _put(self, name: str, path: Path) -> None:
        """Send a file if it has changed; one that was deleted meanwhile is left out."""
        try:
            version = _version(path)
            if self._sent.get(name) == version:
                return
            self._replace(name, path)
        except FileNotFoundError:
            if path.is_file():
                raise
            return
        self._sent[name] = version

    def _put_records(self, *, with_final: bool) -> None:
        """Send the complete lines of the records, the final one only when everything else is there."""
        log = self.folder / RECORDS
        if not log.is_file():
            return
        lines = log.read_bytes().splitlines(keepends=True)
        while lines and (not lines[-1].endswith(b"\n") or not (with_final or _kind(lines[-1]) != "final")):
            del lines[-1]
        content = b"".join(lines)
        version = (len(content), hash(content[-1_000:]))
        if self._sent.get(RECORDS) == version:
            return
        copy = self._staging / RECORDS
        copy.write_bytes(content)
        self._replace(RECORDS, copy)
        self._sent[RECORDS] = version

    def _replace(self, name: str, path: Path) -> None:
        """Send a file under another name, and give it its own when it is complete."""
        target = PurePosixPath(self._at(name))
        temporary = str(target.with_name(f".{target.name}.part"))
        with storage_errors():
            self._files.makedirs(str(target.parent), exist_ok=True)
            self._files.put_file(str(path), temporary)
            self._files.mv(temporary, str(target))

    def _delete_all_but(self, names: set[str]) -> None:
        self._delete(sorted(self._there().keys() - names))

    def _delete(self, names: list[str]) -> None:
        for name in names:
            self._sent.pop(name, None)
            with suppress(FileNotFoundError), storage_errors():
                self._files.rm_file(self._at(name))


def _version(path: Path) -> tuple[int, ...]:
    """What differs between two versions of a file."""
    found = path.stat()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _stamp(about: dict[str, Any]) -> str | None:
    """What differs between two versions of a file at a URL; None if the storage does not say."""
    said = {name: str(about[name]) for name in STAMPS if about.get(name) is not None}
    return f"{about.get('size')} {said}" if said else None


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _kind(line: bytes) -> Any:
    try:
        return json.loads(line)["kind"]
    except (ValueError, KeyError, TypeError):
        return None
