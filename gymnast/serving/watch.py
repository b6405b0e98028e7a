"""`gymnast watch`: a page with the runs of a folder as they go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from gymnast.errors import UsageError, first_line
from gymnast.serving.guard import Guard
from gymnast.serving.server import listening, read_token, until_interrupted, url_of
from gymnast.serving.watched_runs import WatchedRuns
from gymnast.settings.serve_options import is_loopback
from gymnast.settings.watch_options import WatchOptions
from gymnast.storage.mirror import Mirror, is_url
from gymnast.storage.near import local_path
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
SHOWN = ("config.json", "metrics.jsonl", "timing.jsonl")
KINDS = {".mp4": "video/mp4", ".gif": "image/gif"}


def watch(options: WatchOptions) -> int:
    """Serve the page until SIGINT or SIGTERM; returns the exit code. Raises UsageError."""
    token = None if options.token_file is None else read_token(Path(options.token_file))
    with opened(options.path) as runs, listening(options.host, options.port) as sock:
        if not is_loopback(options.host):
            print(
                f"{options.host} is reached by other machines, and the token is sent in clear: put TLS in front",
                file=sys.stderr,
            )
        secret = "" if token is None else f"?token={quote(token)}"
        app = build(runs, token=token)
        return until_interrupted(app, sock, lambda: None, said=f"watching {runs.name} on {url_of(sock)}/{secret}")


@contextmanager
def opened(path: str) -> Iterator[WatchedRuns]:
    """The runs of a folder, or of a URL, of which what the page shows is copied as it changes. Raises UsageError."""
    if not is_url(path):
        if not Path(path).is_dir():
            raise UsageError(f"no folder {path}; runs are written to runs, or to what --out names")
        yield WatchedRuns(Path(path))
        return
    with TemporaryDirectory(prefix="gymnast-") as scratch:
        folder = local_path(path, Path(scratch))
        folder.mkdir(parents=True)
        try:
            mirror = Mirror(path, folder)
            mirror.fetch(is_shown)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(f"{path}: {first_line(error)}") from None

        def fetch() -> None:
            with suppress(OSError):  # what is missing now comes with the next search
                mirror.fetch(is_shown)

        yield WatchedRuns(folder, name=path, fetch=fetch)


def is_shown(name: str) -> bool:
    """Whether the page shows anything of a run's file."""
    file = PurePosixPath(name)
    return file.name in SHOWN or file.suffix in KINDS


def build(runs: WatchedRuns, *, token: str | None = None) -> ASGIApp:
    """The application around the runs; `token` is what requests need, if anything."""
    app = FastAPI(title="gymnast watch", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    page = resources.files("gymnast.serving").joinpath("watch.html").read_text(encoding="utf-8")

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/api/runs")
    async def all_runs() -> dict[str, Any]:
        return {"folder": runs.name, "runs": await run_in_threadpool(runs.refreshed)}

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
