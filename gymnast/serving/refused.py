"""Requests that are answered with an error, in one line."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):  # noqa: N818 - the server is fine; the request is not
    """An answer with an HTTP status of 400 or more."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
