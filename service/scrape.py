"""What a scrape of `/metrics` returns, of one process or of all workers.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from linnet.errors import LinnetError
from service.lifecycle import Service

# Where several workers keep their counts, set by whoever starts them; prometheus-client's own name.
SHARED_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def exposition(service: Service) -> bytes:
    """Return all metrics in Prometheus' text format."""
    service.metrics.ready.set(_is_ready(service))
    if SHARED_DIR_VARIABLE not in os.environ:
        return generate_latest(service.metrics.registry)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _is_ready(service: Service) -> bool:
    try:
        service.check_ready()
    except LinnetError:
        return False
    return True
