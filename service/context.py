"""The outermost layer: every request gets an id, a place in log and metrics, and an answer whatever fails.

Plain ASGI, so that the body is neither buffered nor wrapped. Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError
from service.exchange import CLIENT_GONE, CLIENT_GONE_STATUS, OK, SPOILT, Exchange
from service.logs import AccessLog
from service.metrics import Metrics
from service.problems import respond

ID_HEADER = b"x-request-id"

_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

# The answers are data. What a browser is told here costs others nothing.
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
# The page at /docs loads its scripts from elsewhere; everything else loads nothing.
_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGES = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from service.tracing import Tracer


class RequestContext:
    """Puts an `Exchange` into the request's state, writes its headers, and counts and logs it when it has ended."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, access_log: AccessLog | None, tracer: Tracer | None = None
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(_request_id(scope), scope["method"], scope["path"])
        state = scope.setdefault("state", {})
        exchange.code = state.pop(SPOILT, OK)
        state["exchange"] = exchange

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], *answer_headers(exchange)]
            await send(message)

        try:
            await self._run(exchange, scope, receive, send_with_headers)
        finally:
            route = scope.get("route")
            if route is not None:
                exchange.route = route.path
            self._metrics.count(exchange)
            if self._tracer is not None:
                self._tracer.add(exchange, scope["headers"])
            if self._access_log is not None and not (exchange.status == 200 and exchange.route in _QUIET_ROUTES):
                self._access_log.add(exchange)

    async def _run(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            if exchange.code == OK:  # not where the connection was ended by what the client sent
                exchange.code = CLIENT_GONE
        except asyncio.CancelledError:
            exchange.code = CLIENT_GONE
            raise
        except Exception:  # errors of ours were answered by the gate, unless the answer had begun
            logger.exception("Request %s failed", exchange.request_id, extra={"request_id": exchange.request_id})
            if exchange.status != CLIENT_GONE_STATUS:  # the answer has begun
                exchange.code = "internal_error"
                raise
            await respond(InternalError(), exchange)(scope, receive, send)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == ID_HEADER and _ACCEPTED_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


def answer_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has."""
    headers = [
        (ID_HEADER, exchange.request_id.encode()),
        (b"server-timing", exchange.server_timing().encode()),
        *SECURITY_HEADERS,
    ]
    return headers if exchange.path in _PAGES else [*headers, _CONTENT_POLICY]
