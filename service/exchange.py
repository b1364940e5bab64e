"""What is known of one request while it is served; log, metrics and `Server-Timing` are written from it.

Must not import a web framework, so that any part of the service may note what it learns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

UNKNOWN_ROUTE = "(unknown)"  # one name for all paths that are none, so that a scan makes no new time series
CLIENT_GONE_STATUS = 499  # nginx's number for a client that left before the answer; never sent
OK, CLIENT_GONE = "ok", "client_gone"
SPOILT = "spoilt"  # in a request's state: the code of what ended its connection before its exchange began


@dataclass(slots=True)
class Exchange:
    """One request and its answer; exactly one `code` says how it ended."""

    request_id: str
    method: str
    path: str
    begin_s: float = field(default_factory=time.perf_counter)
    route: str = UNKNOWN_ROUTE
    code: str = OK
    status: int = CLIENT_GONE_STATUS  # until an answer begins
    model: str | None = None
    version: str | None = None
    images: int = 0
    body_bytes: int = 0
    timing_ms: dict[str, float] = field(default_factory=dict)
    has_left: bool = False  # the client, before the answer
    on_leave: Callable[[], object] | None = None

    def leave(self) -> None:
        """Note that the client has gone; told by the connection, which learns of it first."""
        self.has_left = True
        if self.on_leave is not None:
            self.on_leave()

    def elapsed_ms(self) -> float:
        """Return the time since the request's head was read."""
        return (time.perf_counter() - self.begin_s) * 1000

    def server_timing(self) -> str:
        """Return the value of the `Server-Timing` header (W3C), milliseconds."""
        stages = {**self.timing_ms, "total": self.elapsed_ms()}
        return ", ".join(f"{name};dur={ms:.3f}" for name, ms in stages.items())
