"""Who may ask: with a token whoever has it, without one this machine's own programs and pages."""

from __future__ import annotations

import hmac
import json
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gymnast.settings.serve_options import is_loopback

HEALTH = "/healthz"
COOKIE = b"gymnast-token"


class Guard:
    """An ASGI application around another one.

    Without a token the server listens on loopback, where any page in the user's browser reaches it. A page from
    elsewhere is refused: by the browser's own word, and by the name under which it looked the server up (a name of its
    own that leads here is how a page would pass for ours).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, cookie: bool = False) -> None:
        """With `cookie` a browser may bring the token: in the address `/?token=TOKEN`, then as a cookie."""
        self.app, self.cookie = app, cookie
        self.expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            if self.cookie and (setting := self._first_visit(scope)) is not None:
                head = [(b"location", b"/"), (b"set-cookie", setting), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 303, "headers": head})
                await send({"type": "http.response.body", "body": b""})
                return
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
            if self.cookie and self._is_token(_cookie(given.get(b"cookie", b""))):
                return None
            return 401, "the header Authorization: Bearer TOKEN is missing or wrong", [(b"www-authenticate", b"Bearer")]
        if given.get(b"sec-fetch-site") == b"cross-site":
            return 403, "pages from elsewhere may not use this server", []
        if (host := given.get(b"host")) is not None and not _is_local(host):
            return 403, "this server answers under the name localhost or 127.0.0.1", []
        return None

    def _is_token(self, text: bytes) -> bool:
        return self.expected is not None and hmac.compare_digest(b"Bearer " + text, self.expected)

    def _first_visit(self, scope: Scope) -> bytes | None:
        """The cookie to set for an address with the right token."""
        token = dict(parse_qsl(scope["query_string"])).get(b"token")
        if scope["path"] != "/" or token is None or not self._is_token(token):
            return None
        return COOKIE + b"=" + quote(token).encode() + b"; HttpOnly; SameSite=Strict; Path=/"


def _cookie(header: bytes) -> bytes:
    """The token among a browser's cookies; empty if it is not there."""
    pairs = (part.strip().partition(b"=") for part in header.split(b";"))
    return next((unquote_to_bytes(value) for name, _, value in pairs if name == COOKIE), b"")


@lru_cache(maxsize=64)
def _is_local(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
