"""Files that a run writes while it trains: a full disk costs it the file, not the training."""

from __future__ import annotations

from collections.abc import Callable

from gymnast.output.panel import Panel


class Saves:
    """Tries to write files; one that cannot be written leaves the previous one, and a line in the panel."""

    def __init__(self, panel: Panel) -> None:
        self.failed: dict[str, str] = {}
        """Why the newest file of a kind is missing, if it is."""
        self._panel = panel

    def attempt(self, kind: str, save: Callable[[], None], *, what: str) -> None:
        """Write a file of a kind; `what` names it in the message."""
        try:
            save()
            self.failed.pop(kind, None)
        except OSError as error:
            self.failed[kind] = f"{what} was not written: {error.strerror or error}"
            self._panel.message(f"{self.failed[kind]}; the previous one is kept")
