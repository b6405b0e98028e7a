"""The packages of the extra `export`, which are imported only here and where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gymnast.errors import UsageError


@contextmanager
def needs(*packages: str, of: str) -> Iterator[None]:
    """Turn a missing package inside this context into a UsageError that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in packages:
            raise
        raise UsageError(f'{of} needs {missing}: pip install "gymnast[export]"') from None
