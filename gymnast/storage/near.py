"""Runs at URLs, for commands that read them: copied to this machine for as long as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from gymnast.errors import RunError, UsageError, first_line
from gymnast.storage.mirror import REPLAY, Mirror, is_url

CHECKPOINT = ".pt"


@dataclass(frozen=True)
class Near:
    """A path of this machine, and where it is a copy of."""

    path: str
    url: str | None = None

    def shown(self, text: str) -> str:
        """A text with the URL instead of the copy's path."""
        return text if self.url is None else text.replace(self.path, self.url)


def _no_replay(name: str) -> bool:
    return f"/{REPLAY}" not in f"/{name}"


@contextmanager
def near(place: str, wanted: Callable[[str], bool] = _no_replay) -> Iterator[Near]:
    """A path as it is, or a URL's copy without replay memories, which ends with the context.

    A URL is that of a run's folder, a folder of them, or a checkpoint file in one. Raises UsageError.
    """
    if not is_url(place):
        yield Near(place)
        return
    with TemporaryDirectory(prefix="gymnast-") as scratch:
        copy = Near(str(copied(place, Path(scratch), wanted)), place.rstrip("/"))
        try:
            yield copy
        except (UsageError, RunError) as error:
            raise type(error)(copy.shown(str(error))) from error


def copied(url: str, scratch: Path, wanted: Callable[[str], bool]) -> Path:
    """Copy what is at a URL into a folder of this machine; UsageError if nothing is there, or it cannot be read."""
    url = url.rstrip("/")
    above, _, last = url.rpartition("/")
    path = local_path(url, scratch)
    try:
        Mirror(url, path).fetch(wanted)
        if not path.exists() and last.endswith(CHECKPOINT):  # a file is no folder of files
            Mirror(above, path.parent).fetch(lambda name: name == last)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"{url}: {first_line(error)}") from None
    if not path.exists():
        raise UsageError(f"{url}: nothing is there")
    return path


def local_path(url: str, scratch: Path) -> Path:
    """Where a copy lies: below the names ENV/AGENT/NAME at the end of the URL, which commands show."""
    parts = PurePosixPath(url.partition("://")[2].strip("/")).parts
    return scratch.joinpath(*[part for part in parts if part != ".."][-3:])
