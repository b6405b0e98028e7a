"""Options of `gymnast watch`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.settings.serve_options import is_loopback


@dataclass(frozen=True)
class WatchOptions:
    """Show the runs of a folder on a local page, as they go: curves, videos and settings."""

    path: str = field(default="runs", metadata={"positional": "RUN_OR_FOLDER"})
    """A run, or a folder of runs. Default: runs."""
    host: str = field(default="127.0.0.1", metadata={"metavar": "ADDRESS"})
    """Address to listen on. One that other machines reach needs --token-file."""
    port: int = 8001
    """Port to listen on; 0 takes a free one, which is printed."""
    token_file: str | None = field(default=None, metadata={"metavar": "FILE"})
    """File with the token that opens the page: the printed address has it, and the browser keeps it as a cookie."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if not self.host:
            raise ValueError("host must be an address, got ''")
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} is reachable from other machines, and so needs --token-file FILE")
