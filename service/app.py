"""The composition root: settings in, application out. `uvicorn --factory service.app:create_app` serves it.

Must not import torch, trainer or export.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from linnet.errors import LinnetError
from service import explain_route, routes
from service.context import RequestContext
from service.errors import MalformedRequest, MethodNotAllowed, UnknownPath
from service.gate import Gate
from service.lifecycle import Service
from service.openapi import document
from service.problems import respond
from service.settings import Settings, read_settings
from service.v2 import management
from service.v2 import routes as v2_routes

# Of the endpoints, not of the project: rises when an answer changes its meaning.
API_VERSION = "1.1"


class Application(FastAPI):
    """FastAPI behind our own layers, so that a hot request passes them and none of the framework's."""

    entry: ASGIApp
    keys_are_needed: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or the lifespan."""
        if scope["type"] == "http":
            scope["app"] = self
            await self.entry(scope, receive, send)
        else:
            await self.route_request(scope, receive, send)

    async def route_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run what is not hot by the framework's routing."""
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made when it is first asked for, for the start must not wait for it."""
        if self.openapi_schema is None:
            document(super().openapi(), keys_are_needed=self.keys_are_needed)
        assert self.openapi_schema is not None
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """Return the framework's layers without the outermost, which would answer failures before `entry` can."""
        outermost = super().build_middleware_stack()
        assert isinstance(outermost, ServerErrorMiddleware)
        return outermost.app


HOT = {("POST", "/predict"): routes.post_predict}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its settings come from the environment unless given.

    Raises `UsageError` for settings that cannot be used.
    """
    return assemble(Service(settings or read_settings()))


def assemble(service: Service) -> FastAPI:
    """Return the application around the parts that its requests need."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = Application(title="Linnet", version=API_VERSION, lifespan=lifespan)
    app.state.service = service
    app.keys_are_needed = service.keys.are_needed
    app.include_router(routes.router)
    app.include_router(explain_route.router)
    app.include_router(v2_routes.router)
    app.include_router(management.router)
    gate = _let_browsers_in(Gate(app.route_request, keys=service.keys, hot=HOT), service.settings)
    app.entry = RequestContext(gate, metrics=service.metrics, access_log=service.access_log, tracer=service.tracer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    return app


def _let_browsers_in(app: ASGIApp, settings: Settings) -> ASGIApp:
    origins = [origin.strip() for origin in (settings.cors_origins or "").split(",") if origin.strip()]
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[
            *("X-Request-ID", "Server-Timing", "Retry-After"),
            *("X-Linnet-Method", "Inference-Header-Content-Length"),
        ],
    )


async def _answer(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
    return respond(_named(request, error), request.state.exchange, headers)


def _named(request: Request, error: Exception) -> LinnetError:
    """Return our name for what the framework found wrong; raises what it has no name for."""
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        return MalformedRequest(f"{' '.join(str(part) for part in problem['loc'])}: {problem['msg']}")
    if isinstance(error, HTTPException) and error.status_code == 404:
        return UnknownPath(request.url.path)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed(request.method, request.url.path)
    raise error
