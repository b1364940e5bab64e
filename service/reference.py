"""Writes the service's reference page from the code that it describes: `python -m service.reference > docs/service.md`.

A test holds the page against this, so that nothing can be there and undocumented. Must not import ONNX Runtime.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo

from service.app import create_app
from service.gate import OPEN_PATHS
from service.metrics import Metrics
from service.problems import PROBLEMS
from service.settings import PREFIX, Settings

INTRODUCTION = """\
# The service: reference

Written by `python -m service.reference` from the code; a test fails where this page and the code differ. What the
service does and why: [design.md](design.md). Interactive documentation of a running service: `/docs`.
"""

SETTINGS = """\
Environment variables; an unknown `LINNET_*` variable stops the start with a suggestion. The options of `linnet serve`
win over them.
"""

ENDPOINTS = """\
With API keys set every endpoint needs one but those marked *open*; loading and unloading models need an admin key.
"""

ERRORS = """\
`application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `code` and `request_id`; under `/v2` the
protocol's `{"error": "…"}`. Programs decide by `code`.
"""

METRICS = """\
`GET /metrics`, Prometheus text format; with several workers their sum. Every request moves `linnet_requests_total` by
exactly one, every image that was taken on `linnet_images_total`. Besides: `process_resident_memory_bytes`,
`process_cpu_seconds_total`, `process_open_fds` and the other process metrics.
"""

HEADERS = (
    (
        "`X-Request-ID` (request, answer)",
        "1 to 128 letters, digits or `._:-` are kept, others replaced; stands in every log line and problem",
    ),
    ("`X-Timeout-Ms` (request)", "gives up after so many milliseconds, where `LINNET_TIMEOUT_MS` is not less"),
    ("`Authorization: Bearer KEY` or `X-API-Key: KEY` (request)", "the API key, where the service asks for one"),
    ("`Server-Timing` (answer)", "milliseconds of the slowest image in each stage, and in total"),
    ("`Retry-After` (answer)", "seconds, with every 503"),
    ("`X-Linnet-Method` (answer of `/explain`)", "how the map was made: `cam` or `occlusion`"),
    ("`Inference-Header-Content-Length` (both)", "bytes of JSON before binary tensors, Open Inference Protocol"),
)


def page() -> str:
    """Return the whole page as Markdown."""
    document = create_app(Settings()).openapi()
    sections = (
        ("Settings", SETTINGS, _table(("Variable", "Default", "What it does"), _settings())),
        ("Endpoints", ENDPOINTS, _table(("Endpoint", "What", "Key"), _endpoints(document))),
        ("Headers", "", _table(("Header", "What"), HEADERS)),
        ("Errors", ERRORS, _table(("Status", "Code", "Title"), _errors())),
        ("Metrics", METRICS, _table(("Metric", "Type", "Labels", "What"), _metrics())),
    )
    parts = [INTRODUCTION]
    for title, text, table in sections:
        parts += [f"## {title}\n", *([text] if text else []), f"{table}\n"]
    return "\n".join(parts)


def _settings() -> Iterator[Sequence[str]]:
    for name, field in Settings.model_fields.items():
        yield f"`{PREFIX}{name.upper()}`", _default(field), field.description or ""


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "usable processors / workers"
    return "" if field.default is None else f"`{field.default}`"


def _endpoints(document: dict[str, Any]) -> Iterator[Sequence[str]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            access = "open" if path in OPEN_PATHS else "admin" if path.endswith(("/load", "/unload")) else ""
            yield f"`{method.upper()} {path}`", operation["summary"], access
    yield "`GET /docs`", "This API, interactive", "open"
    yield "`GET /openapi.json`", "This API as an OpenAPI document", "open"


def _errors() -> Iterator[Sequence[str]]:
    for problem in sorted(PROBLEMS.values(), key=lambda problem: (problem.status, problem.code)):
        yield str(problem.status), f"`{problem.code}`", problem.title


def _metrics() -> Iterator[Sequence[str]]:
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            described = next(iter(metric.describe()))
            name = described.name + ("_total" if described.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            yield f"`{name}`", described.type, labels, described.documentation


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
