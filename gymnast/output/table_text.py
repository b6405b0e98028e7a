"""A table as plain text."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table


def table_text(table: Table, *, width: int = 140) -> str:
    """The table's lines without colours, at most `width` columns wide."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
