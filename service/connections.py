"""Bounds what uvicorn leaves open on a connection: a head in time and size, the rest of a refused body, unread answers.

Without them a client that sends a byte now and then holds a connection, and one that never ends its headers or
trailers, or does not read what it asked for, holds memory, for as long as it likes. Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.context import answer_headers
from service.errors import InvalidHttp
from service.exchange import SPOILT, Exchange
from service.problems import code_of, respond

MAX_HEAD_BYTES = 64 * 1024


def bounded_protocol(
    head_timeout_s: float, rest_timeout_s: float, on_unparsed: Callable[[str], None]
) -> type[asyncio.Protocol]:
    """Return uvicorn's httptools protocol with a time for heads, seconds, and another.

    That one is for what follows an early answer, and for a client that reads nothing of a large answer.

    `on_unparsed` is told the code of every request that is refused because it is no HTTP.
    """

    class BoundedProtocol(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._deadline: asyncio.TimerHandle | None = None
            self._patience: asyncio.TimerHandle | None = None  # with a client that does not read
            self._head_bytes = 0  # received since the last complete head or piece of a body

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._close_in(head_timeout_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._clear_deadline()
            self._clear_patience()
            if self._is_answering():
                exchange = self.cycle.scope.get("state", {}).get("exchange")
                if exchange is not None:  # the request's task may not have begun
                    exchange.leave()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._head_bytes += len(data)
            super().data_received(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                if not self._is_answering():
                    self.send_400_response(f"its head has more than {MAX_HEAD_BYTES} bytes")
                self.transport.close()
            elif self._waits_without_end():  # after an empty line, which is no request and ended the wait for one
                self._close_in(head_timeout_s)

        def send_400_response(self, msg: str) -> None:
            """Answer what cannot be parsed, in our format instead of uvicorn's plain text."""
            code = code_of(InvalidHttp(msg))
            if not self._is_answering():
                on_unparsed(code)
            elif (answering := self.cycle.scope["state"].get("exchange")) is not None:
                answering.code = code  # the request that is being read is counted when its endpoint ends
            else:  # its task has not begun
                self.cycle.scope["state"][SPOILT] = code
            path = self.scope.get("path", "") if self.scope else ""
            exchange = Exchange(uuid.uuid4().hex, "", path)
            answer = respond(InvalidHttp(msg), exchange, {"Connection": "close"})
            self.transport.write(_raw(answer, exchange))
            self.transport.close()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._close_in(head_timeout_s)

        def on_headers_complete(self) -> None:
            self._head_bytes = 0
            self._clear_deadline()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._head_bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._head_bytes = 0
            super().on_message_complete()
            if self.cycle.response_complete:
                self.cycle.more_body = False
                self._close_in(self.timeout_keep_alive)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete and self.cycle.more_body:
                self._close_in(rest_timeout_s)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect_reading()

        def resume_writing(self) -> None:
            self._clear_patience()
            super().resume_writing()

        def timeout_keep_alive_handler(self) -> None:
            self._leave()

        def _expect_reading(self) -> None:
            unread = self.transport.get_write_buffer_size()
            self._patience = self.loop.call_later(rest_timeout_s, self._look_whether_it_reads, unread)

        def _look_whether_it_reads(self, unread_before: int) -> None:
            if self.transport.get_write_buffer_size() < unread_before:
                self._expect_reading()
            else:
                self.transport.abort()

        def _leave(self) -> None:
            """Close; but to close would wait for what the client has not read in all that time."""
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            elif not self.transport.is_closing():
                self.transport.close()

        def _waits_without_end(self) -> bool:
            timer = self._deadline or self.timeout_keep_alive_task
            return timer is None and not self._is_answering() and not self.transport.is_closing()

        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _close_in(self, seconds: float) -> None:
            self._clear_deadline()
            self._deadline = self.loop.call_later(seconds, self._expire, seconds)

        def _expire(self, seconds: float) -> None:
            if self._is_answering():  # a pipelined head is slow, but the request before it has its own deadline
                self._close_in(seconds)
            else:
                self._leave()

        def _clear_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _clear_patience(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return BoundedProtocol


def _raw(answer: Response, exchange: Exchange) -> bytes:
    head = [f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}".encode()]
    head += [name + b": " + value for name, value in (*answer.raw_headers, *answer_headers(exchange))]
    return b"\r\n".join(head) + b"\r\n\r\n" + bytes(answer.body)
