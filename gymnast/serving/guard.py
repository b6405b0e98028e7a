"""Who may ask: with a token whoever has it, without one this machine's own programs and pages."""

from __future__ import annotations

import hmac
import json
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gymnast.settings.serve_options import is_loopback

HEALTH = "/healthz"


class Guard:
    """An ASGI application around another one.

    Without a token the server listens on loopback, where any page in the user's browser reaches it. A page from
    elsewhere is refused: by the browser's own word, and by the name under which it looked the server up (a name of its
    own that leads here is how a page would pass for ours).
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self.app = app
        self.expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            refused = self._refused(scope)
            if refused is not None:
                status, message, headers = refused
                body = json.dumps({"error": message}).encode()
                head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
                await send({"type": "http.response.start", "status": status, "headers": head})
                await send({"type": "http.response.body", "body": body})
                return
        await self.app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        given = dict(scope["headers"])
        if self.expected is not None:
            if hmac.compare_digest(given.get(b"authorization", b""), self.expected):
                return None
            return 401, "the header Authorization: Bearer TOKEN is missing or wrong", [(b"www-authenticate", b"Bearer")]
        if given.get(b"sec-fetch-site") == b"cross-site":
            return 403, "pages from elsewhere may not use this server", []
        if (host := given.get(b"host")) is not None and not _is_local(host):
            return 403, "this server answers under the name localhost or 127.0.0.1", []
        return None


@lru_cache(maxsize=64)
def _is_local(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
