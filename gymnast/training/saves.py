"""Files that a run writes while it trains: a full disk loses the file, but training continues."""

from __future__ import annotations

from collections.abc import Callable

from gymnast.output.panel import Panel


class Saves:
    """Tries to write files; a failure keeps the previous file and is reported in the panel."""

    def __init__(self, panel: Panel) -> None:
        self.failed: dict[str, str] = {}
        """Why the newest file of a kind is missing, by kind."""
        self._panel = panel

    def attempt(self, kind: str, save: Callable[[], None], *, what: str) -> None:
        """Write a file of a kind; `what` names it in the message."""
        try:
            save()
            self.failed.pop(kind, None)
        except OSError as error:
            self.failed[kind] = f"{what} was not written: {error.strerror or error}"
            self._panel.message(f"{self.failed[kind]}; the previous one is kept")
