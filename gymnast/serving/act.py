"""The requests for actions, as an ASGI application: this is the path that has to be fast."""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from starlette.types import Receive, Scope, Send

from gymnast.errors import nearest
from gymnast.serving.arrays import read_arrays, write_arrays
from gymnast.serving.form import as_json
from gymnast.serving.refused import Refused
from gymnast.serving.service import Service, Version

JSON, RAW = b"application/json", b"application/octet-stream"
PATH = re.compile(r"/v1/models/(?P<model>[^/]+?)(/versions/(?P<version>[^/]+))?:act")
KEYS = ("obs", "action_mask", "deterministic", "session", "start")
SESSION = 128
"""Characters of a session's name."""
ENCODER = json.JSONEncoder(allow_nan=False)
FLAGS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood but for its observations."""

    raw: bool
    obs: Any
    mask: Any
    deterministic: bool
    session: str | None
    start: Any


class Act:
    """Answers `POST /v1/models/NAME:act` and `/v1/models/NAME/versions/V:act`."""

    def __init__(self, service: Service, *, max_body: int) -> None:
        self.service, self.max_body = service, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send, model: str, named: str | None) -> None:
        """Answer a request for a model and, if it is named, a version of it."""
        began, names = time.perf_counter(), ("", "")
        status, kind, headers = 200, JSON, {}
        try:
            if scope["method"] != "POST":
                raise Refused(405, f"{scope['method']} is not allowed here", headers={"allow": "POST"})
            if model in self.service.models and (named is None or named in self.service.models[model].versions):
                names = (model, named or "")
            asked = self._read(scope, await self._body(scope, receive))
            version = self.service.find(model, named, session=asked.session)
            names = (version.name, version.version)
            body, kind = await _answer(version, asked), RAW if asked.raw else JSON
            if asked.raw:
                headers = {"gymnast-model": version.name, "gymnast-version": version.version}
        except Refused as refused:
            status, headers = refused.status, refused.headers
            body = json.dumps({"error": str(refused)}).encode()
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            status, body = 500, json.dumps({"error": f"the server failed with {type(error).__name__}"}).encode()
        self.service.meters.answered(*names, status=status, seconds=time.perf_counter() - began)
        await _send(send, status, body, kind, headers)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The body; Refused with 413 if it is, or says that it is, too long."""
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not said.isdigit() or int(said) > self.max_body:
            raise Refused(413, f"a request may have {self.max_body:,} bytes", headers={"connection": "close"})
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the request ended before its body")
            part = message.get("body", b"")
            size += len(part)
            if size > self.max_body:
                raise Refused(413, f"a request may have {self.max_body:,} bytes", headers={"connection": "close"})
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else bytes(part)
            parts.append(part)

    def _read(self, scope: Scope, body: bytes) -> Asked:
        given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        kind = given.partition(b";")[0].strip().lower()
        if kind == JSON:
            return _asked(_json(body), raw=False)
        if kind == RAW:
            arrays = read_arrays(body, limit=4 * self.max_body)
            return _asked({**_query(scope["query_string"]), **arrays}, raw=True)
        raise Refused(415, "content-type must be application/json, or application/octet-stream for .npy and .npz")


@lru_cache(maxsize=1024)
def asked_of(path: str) -> tuple[str, str | None] | None:
    """The model of a path that asks for actions, and its version if one is named; None for other paths."""
    found = PATH.fullmatch(path)
    return None if found is None else (found["model"], found["version"])


def _json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(values, dict):
        raise Refused(400, 'the body must be an object such as {"obs": [0.1, 0.2]}')
    return values


def _query(text: bytes) -> dict[str, Any]:
    """The options of a raw request, which stand in its URL."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise Refused(400, "the query of the URL cannot be read") from None
    for name, value in pairs:
        if name not in ("deterministic", "session", "start"):
            raise Refused(400, f"unknown option {name!r} in the URL; choose from deterministic, session, start")
        if name != "session" and value not in FLAGS:
            raise Refused(400, f"{name} must be true or false")
        found[name] = value if name == "session" else FLAGS[value]
    return found


def _asked(values: dict[str, Any], *, raw: bool) -> Asked:
    for key in values:
        if key not in KEYS:
            raise Refused(400, f"unknown key {key[:80]!r}; choose from {', '.join(KEYS)}{nearest(key[:80], KEYS)}")
    if "obs" not in values:
        raise Refused(400, "obs is missing")
    deterministic, session, start = values.get("deterministic", True), values.get("session"), values.get("start", False)
    if not isinstance(deterministic, bool):
        raise Refused(400, "deterministic must be true or false")
    if session is not None and not (isinstance(session, str) and 0 < len(session) <= SESSION and session.isprintable()):
        raise Refused(400, f"session must be 1 to {SESSION} printable characters")
    bools = isinstance(start, list) and all(isinstance(one, bool) for one in start)
    if not isinstance(start, bool) and not bools:
        raise Refused(400, "start must be true or false, or a list of them")
    return Asked(raw, values["obs"], values.get("action_mask"), deterministic, session, start)


async def _answer(version: Version, asked: Asked) -> bytes:
    obs, rows = version.form.read(asked.obs)
    mask = version.form.read_mask(asked.mask, rows)
    if isinstance(asked.start, list) and len(asked.start) != rows:
        raise Refused(400, f"start has {len(asked.start)} values for {rows or 1} observations")
    actions = await version.act(
        obs, rows, mask=mask, deterministic=asked.deterministic, session=asked.session, start=asked.start
    )
    if asked.raw:
        return write_arrays(actions if rows is not None else _single(actions))
    found = as_json(actions if rows is not None else _single(actions))
    return b'{"action": %b, %b' % (ENCODER.encode(found).encode(), version.signature)


def _single(actions: Any) -> Any:
    """The first row of actions [N, ...], still as arrays."""
    if isinstance(actions, dict):
        return {key: _single(value) for key, value in actions.items()}
    if isinstance(actions, tuple):
        return tuple(_single(value) for value in actions)
    return np.asarray(actions[0])


async def _send(send: Send, status: int, body: bytes, kind: bytes, headers: dict[str, str]) -> None:
    named = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *named]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
