"""The layer before the routes: asks for the API key, takes the short way to hot endpoints, answers with problems.

Plain ASGI. Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from linnet.errors import LinnetError
from service.exchange import CLIENT_GONE_STATUS, Exchange
from service.keys import Keys
from service.problems import respond

Endpoint = Callable[[Request], Awaitable[Response]]

# Probes and scrapers have no keys, and the documentation says nothing that the source does not.
OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/v2/health/live", "/v2/health/ready"}
)


class Gate:
    """Checks the key, and calls the endpoint of a hot path without the framework's routing in between."""

    def __init__(self, app: ASGIApp, keys: Keys, hot: Mapping[tuple[str, str], Endpoint]) -> None:
        self._app = app
        self._keys = keys
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request that may come in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange: Exchange = scope["state"]["exchange"]
        try:
            if self._keys.are_needed and exchange.path not in OPEN_PATHS:
                self._keys.check(Headers(scope=scope))
            endpoint = self._hot.get((exchange.method, exchange.path))
            if endpoint is None:
                await self._app(scope, receive, send)
            else:
                exchange.route = exchange.path
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, send)
        except LinnetError as error:
            if exchange.status != CLIENT_GONE_STATUS:  # the answer has begun
                raise
            await respond(error, exchange)(scope, receive, send)
