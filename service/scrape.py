"""What a scrape of `/metrics` returns, of one process or of all workers.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.lifecycle import Service
from service.metrics import SHARED_DIR_VARIABLE


def exposition(service: Service) -> bytes:
    """Return all metrics in Prometheus' text format."""
    service.note_ready()
    if SHARED_DIR_VARIABLE not in os.environ:
        return generate_latest(service.metrics.registry)
    registry = CollectorRegistry()
    registry.register(_Processes(Path(os.environ[SHARED_DIR_VARIABLE])))
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Processes(Collector):
    """Memory, CPU and open files of all workers together; a worker is alive while its live gauges are there."""

    def __init__(self, shared_dir: Path) -> None:
        self._shared_dir = shared_dir

    def collect(self) -> Iterator[Metric]:
        """Yield the sums; the start time is that of the oldest."""
        pids = {path.stem.rpartition("_")[2] for path in self._shared_dir.glob("gauge_live*_*.db")}
        families: dict[str, list[Metric]] = defaultdict(list)
        for pid in sorted(pids):
            for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                families[family.name].append(family)
        for name, found in families.items():
            values = [family.samples[0].value for family in found]
            together, *_ = found
            value = min(values) if name == "process_start_time_seconds" else sum(values)
            together.samples = [together.samples[0]._replace(value=value)]
            yield together
