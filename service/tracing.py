"""OpenTelemetry traces, where LINNET_OTLP_ENDPOINT names a collector: one server span per request.

The span continues the caller's trace (W3C `traceparent`), has the stages' milliseconds as attributes, and is made when
the request has ended, so that a request pays for it once. Must not import ONNX Runtime.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from service.exchange import Exchange

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


class Tracer:
    """Makes and sends the spans of one application."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "linnet"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("linnet")

    def add(self, exchange: Exchange, headers: list[tuple[bytes, bytes]]) -> None:
        """Record a request that has ended."""
        carrier = {str(name, "latin-1"): str(value, "latin-1") for name, value in headers}
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}",
            context=extract(carrier),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(exchange.elapsed_ms() * 1e6),
            attributes={
                "http.request.method": exchange.method,
                "http.route": exchange.route,
                "http.response.status_code": exchange.status,
                "linnet.code": exchange.code,
                "linnet.request_id": exchange.request_id,
                "linnet.images": exchange.images,
                **({"linnet.model": exchange.model} if exchange.model else {}),
                **{f"linnet.{stage}_ms": ms for stage, ms in exchange.timing_ms.items()},
            },
        )
        if exchange.status >= 500:
            span.set_status(Status(StatusCode.ERROR, exchange.code))
        span.end(end_ns)

    def close(self) -> None:
        """Send what is waiting; blocking."""
        self._provider.shutdown()
