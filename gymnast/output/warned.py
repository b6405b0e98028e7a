"""Warnings as plain lines, without the file, line number and category that Python prints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def told(kind: type[Warning], say: Callable[[str], object]) -> Iterator[None]:
    """Within the context, `say` the text of warnings of this kind, each text once; others are shown as before."""
    said: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: object, **other: object) -> None:
            if not issubclass(category, kind):
                show(message, category, *where, **other)  # type: ignore[arg-type]
            elif str(message) not in said:
                said.add(str(message))
                say(str(message))

        warnings.simplefilter("always", kind)
        warnings.showwarning = tell
        yield
