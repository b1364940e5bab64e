"""The open loop: requests at a fixed rate, whether or not the ones before have been answered.

An answer's time counts from when its request was due, not from when it could be sent, so that a server that stalls is
charged for all who would have waited (no coordinated omission). The sender runs in this process; how late it was itself
is part of the result.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from benchmarks.serving.load import Load
from benchmarks.serving.payloads import Payload
from benchmarks.serving.server import HOST, Server

PATIENCE_S = 10.0  # after the last request was due; what is not answered by then is an error
LEAD_S = 0.05  # between the connections' being there and the first request


def open_loop(server: Server, payload: Payload, rate: float, seconds: float, connections: int = 64) -> Load:
    """Send `rate` requests per second over at most so many connections, and return what came of it."""
    request = payload.request(server.contestant.path, f"{HOST}:{server.port}")
    server_cpu_s, tool_cpu_s = server.cpu_s(), time.process_time()
    # select() counts in microseconds; epoll would wake up to a millisecond late.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        gc.disable()
        try:
            sender = runner.run(_send(server.port, request, rate, seconds, connections))
        finally:
            gc.enable()
    answered, images = len(sender.times_s), max(1, len(sender.times_s) * payload.images)
    p50, p95, p99, longest = np.percentile(sender.times_s or [0.0], (50, 95, 99, 100)) * 1000
    return Load(
        requests=answered,
        errors=sender.total - sender.good,
        images_per_s=sender.good * payload.images / sender.elapsed_s,
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        max_ms=float(longest),
        server_cpu_ms=(server.cpu_s() - server_cpu_s) / images * 1000,
        tool_cpu_ms=(time.process_time() - tool_cpu_s) / images * 1000,
        late_ms=float(np.percentile(sender.late_s, 99)) * 1000,
    )


async def _send(port: int, request: bytes, rate: float, seconds: float, connections: int) -> _Sender:
    loop = asyncio.get_running_loop()
    sender = _Sender(request, rate, max(1, round(rate * seconds)))
    opened = [
        await loop.create_connection(lambda: _Connection(sender.answered), HOST, port) for _ in range(connections)
    ]
    sender.begin([protocol for _, protocol in opened])
    try:
        async with asyncio.timeout(seconds + PATIENCE_S):
            await sender.done
    except TimeoutError:
        pass
    sender.elapsed_s = max(seconds, loop.time() - sender.start_s)
    for transport, _ in opened:
        transport.abort()
    return sender


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    transport: asyncio.Transport
    due_s = 0.0

    def __init__(self, answered: Callable[[_Connection, bool], None]) -> None:
        self._answered = answered
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, whole, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if whole and length and len(body) >= int(length):
            self._buffer = b""
            self._answered(self, head.startswith(b"HTTP/1.1 200 "))


class _Sender:
    """Sends what is due on whichever connection is free; a request waits where none is."""

    def __init__(self, request: bytes, rate: float, total: int) -> None:
        self._request, self._rate, self.total = request, rate, total
        self._loop = asyncio.get_running_loop()
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._next = 0
        self.done = self._loop.create_future()
        self.start_s = self.elapsed_s = 0.0
        self.good = 0
        self.times_s: list[float] = []
        self.late_s: list[float] = []

    def begin(self, connections: list[_Connection]) -> None:
        """Begin, in a moment."""
        self._free.extend(connections)
        self.start_s = self._loop.time() + LEAD_S
        self._loop.call_at(self.start_s, self._tick)

    def answered(self, connection: _Connection, good: bool) -> None:
        """Take note of an answer; its connection is free again."""
        self.times_s.append(self._loop.time() - connection.due_s)
        self.good += good
        self._free.append(connection)
        self._dispatch()
        if len(self.times_s) == self.total and not self.done.done():
            self.done.set_result(None)

    def _tick(self) -> None:
        now_s = self._loop.time()
        while self._next < self.total and (due_s := self.start_s + self._next / self._rate) <= now_s:
            self._waiting.append(due_s)
            self.late_s.append(now_s - due_s)
            self._next += 1
        self._dispatch()
        if self._next < self.total:
            self._loop.call_at(self.start_s + self._next / self._rate, self._tick)

    def _dispatch(self) -> None:
        while self._waiting and self._free:
            connection = self._free.popleft()
            if connection.transport.is_closing():
                continue
            connection.due_s = self._waiting.popleft()
            connection.transport.write(self._request)
