"""What a load came to, whichever tool sent it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Load:
    """Figures of one run, or the medians of several; times in milliseconds."""

    requests: int  # answered, the failed ones included
    errors: int  # connections that broke, time-outs, and every status from 400 on
    images_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    server_cpu_ms: float  # of all its processes, per image
    tool_cpu_ms: float  # of the load tool, per image
    late_ms: float = 0.0  # p99 of how late the tool itself sent; of an open loop only


def medians(loads: Sequence[Load]) -> Load:
    """Return the median of each figure; requests and errors are summed, and the longest time is that of all."""
    middle = {
        name: median(getattr(load, name) for load in loads)
        for name in ("images_per_s", "p50_ms", "p95_ms", "p99_ms", "server_cpu_ms", "tool_cpu_ms", "late_ms")
    }
    requests, errors = sum(load.requests for load in loads), sum(load.errors for load in loads)
    return Load(requests, errors, max_ms=max(load.max_ms for load in loads), **middle)
