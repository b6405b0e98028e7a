"""`gymnast watch`: a page with the runs of a folder as they go on."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from gymnast.errors import UsageError
from gymnast.serving.guard import Guard
from gymnast.serving.server import listening, read_token, until_interrupted, url_of
from gymnast.serving.watched_runs import WatchedRuns
from gymnast.settings.serve_options import is_loopback
from gymnast.settings.watch_options import WatchOptions
from gymnast.version import __version__

POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "frame-ancestors 'none'",
    )
)
"""What the browser lets the page do: nothing is loaded from elsewhere."""
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
KINDS = {".mp4": "video/mp4", ".gif": "image/gif"}


def watch(options: WatchOptions) -> int:
    """Serve the page until SIGINT or SIGTERM; returns the exit code. Raises UsageError."""
    token = None if options.token_file is None else read_token(Path(options.token_file))
    root = Path(options.path)
    if not root.is_dir():
        raise UsageError(f"no folder {root}; runs are written to runs, or to what --out names")
    with listening(options.host, options.port) as sock:
        if not is_loopback(options.host):
            print(
                f"{options.host} is reached by other machines, and the token is sent in clear: put TLS in front",
                file=sys.stderr,
            )
        secret = "" if token is None else f"?token={quote(token)}"
        app = build(WatchedRuns(root), token=token)
        return until_interrupted(app, sock, lambda: None, said=f"watching {root} on {url_of(sock)}/{secret}")


def build(runs: WatchedRuns, *, token: str | None = None) -> ASGIApp:
    """The application around the runs; `token` is what requests need, if anything."""
    app = FastAPI(title="gymnast watch", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    page = resources.files("gymnast.serving").joinpath("watch.html").read_text(encoding="utf-8")

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/api/runs")
    async def all_runs() -> dict[str, Any]:
        return {"folder": str(runs.root), "runs": await run_in_threadpool(runs.refreshed)}

    @app.get("/api/curves")
    async def curves(request: Request, env: str, name: str) -> Response:
        version = f'"{runs.version()}"'
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304)
        return JSONResponse(
            await run_in_threadpool(runs.curves, env, name), headers={"etag": version, "cache-control": "no-cache"}
        )

    @app.get("/api/config")
    async def config(run: str) -> Response:
        found = runs.runs.get(run)
        return _missing(run) if found is None else JSONResponse(found.config)

    @app.get("/api/video")
    async def video(run: str, name: str) -> Response:
        file = runs.video(run, name)
        if file is None:
            return _missing(f"{run}/videos/{name}")
        return FileResponse(file, media_type=KINDS[file.suffix], headers={"cache-control": "no-cache"})

    return Guard(app, token=token, cookie=True)


def _missing(what: str) -> Response:
    return JSONResponse({"error": f"there is no {what}"}, 404)
