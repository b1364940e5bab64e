from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.service.bundles import png
from tests.service.running import service_at


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector of traces, and the spans it got."""
    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            spans.extend(span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
        server.shutdown()
        thread.join()


def test_a_request_continues_its_caller_s_trace(models_dir: Path, collector: tuple[str, list[Any]]) -> None:
    url, spans = collector
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    async def scenario() -> None:
        async with service_at(models_dir, otlp_endpoint=url) as client:
            headers = {"traceparent": f"00-{trace}-{parent}-01"}
            await client.post("/predict", content=png("red"), headers=headers)
            await client.post("/predict", content=png("poison"))

    asyncio.run(scenario())
    good, bad = spans
    assert (good.name, good.trace_id.hex(), good.parent_span_id.hex()) == ("POST /predict", trace, parent)
    attributes = {entry.key: entry.value for entry in good.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["linnet.model"].string_value == "colours"
    assert (
        0 < attributes["linnet.inference_ms"].double_value * 1e6 < good.end_time_unix_nano - good.start_time_unix_nano
    )
    assert bad.status.code == 2
    assert bad.status.message == "engine_failed"
