"""The composition root: settings in, application out. `uvicorn --factory service.app:create_app` serves it.

Must not import torch, trainer or export.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

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

HOT = {("POST", "/predict"): routes.post_predict}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its settings come from the environment unless given.

    Raises `UsageError` for settings that cannot be used.
    """
    service = Service(settings or read_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title="Linnet", version=API_VERSION, lifespan=lifespan)
    app.state.service = service
    app.include_router(routes.router)
    app.include_router(explain_route.router)
    app.include_router(v2_routes.router)
    app.include_router(management.router)
    # The last one that is added is the first one that a request meets.
    app.add_middleware(Gate, keys=service.keys, hot=HOT)
    _let_browsers_in(app, service.settings)
    app.add_middleware(RequestContext, metrics=service.metrics, access_log=service.access_log, tracer=service.tracer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    document(app.openapi(), keys_are_needed=service.keys.are_needed)
    return app


def _let_browsers_in(app: FastAPI, settings: Settings) -> None:
    origins = [origin.strip() for origin in (settings.cors_origins or "").split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Server-Timing", "Retry-After", "Inference-Header-Content-Length"],
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
