"""A study whose folder is kept at a URL, without which nothing of it is known."""

from __future__ import annotations

from pathlib import Path

from gymnast.errors import RunError, UsageError, first_line
from gymnast.storage.mirror import Remote

STUDY = "study.db"
"""Optuna's data base in the study's folder."""


class Kept:
    """The study's files at the URL, and this machine's copy of them."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.url = remote.url_of(folder)
        self._mirror = remote.mirror(folder)

    def fetch(self) -> None:
        """Copy the data base to this machine, if there is one. Raises UsageError."""
        try:
            self._mirror.fetch(lambda name: name == STUDY)
        except OSError as error:
            raise UsageError(f"{self.url}: {first_line(error)}") from None

    def send(self, *names: str) -> None:
        """Copy files of the folder to the URL. Raises RunError."""
        try:
            self._mirror.send_surely(*names)
        except OSError as error:
            raise RunError(f"{self.url}: {first_line(error)}") from None
