"""The web application: its routes, around the models of a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gymnast.serving.act import Act, asked_of
from gymnast.serving.api import PATHS
from gymnast.serving.guard import HEALTH, Guard
from gymnast.serving.page import PAGE, POLICY
from gymnast.serving.refused import Refused
from gymnast.serving.service import Service
from gymnast.version import __version__


class Paths:
    """Requests for actions go straight to `Act`: FastAPI's way there costs as much as everything that they need."""

    def __init__(self, act: Act, others: ASGIApp) -> None:
        self.act, self.others = act, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = asked_of(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self.others(scope, receive, send)
        else:
            await self.act(scope, receive, send, *asked)


def build(service: Service, *, max_body: int = 16_000_000, token: str | None = None, live: bool = True) -> ASGIApp:
    """The application; `max_body` in bytes, `token` the one that requests need, if any."""
    # FastAPI's pages of documentation load scripts from other servers.
    app = FastAPI(
        title="gymnast", version=__version__, docs_url=None, redoc_url=None, lifespan=lambda _: _life(service)
    )
    _add_errors(app)
    _add_facts(app, service)
    if live:
        _add_page(app, service)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return Guard(Paths(Act(service, max_body=max_body), app), token=token)


@asynccontextmanager
async def _life(service: Service) -> AsyncIterator[None]:
    service.begin(asyncio.get_running_loop())
    yield


def _add_errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    async def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: f"nothing is at {request.url.path}", 405: f"{request.method} is not allowed here"}
        return JSONResponse({"error": said.get(error.status_code, error.detail)}, error.status_code, error.headers)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, other)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get(HEALTH, summary="200 once all models are loaded, until the server stops")
    async def health() -> JSONResponse:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/v1/models", summary="The models, their versions, spaces and shares")
    async def models() -> dict[str, Any]:
        return {"models": [model.about() for model in service.models.values()]}

    @app.get("/metrics", summary="Metrics in Prometheus's format")
    async def metrics() -> Response:
        return Response(service.meters.page(), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(PAGE, headers={"content-security-policy": POLICY, "x-content-type-options": "nosniff"})

    @app.get("/v1/models/{model}/versions/{version}/live", summary="Frames of the agent playing, as server-sent events")
    async def live(model: str, version: str) -> Response:
        game = service.find(model, version).game
        game.check()
        return StreamingResponse(game.watch(), media_type="text/event-stream", headers={"cache-control": "no-store"})


def _described(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description of the routes, and that of those that are not FastAPI's."""
    if not app.openapi_schema:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        app.openapi_schema["paths"] |= PATHS
    return app.openapi_schema
