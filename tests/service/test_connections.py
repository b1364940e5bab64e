"""What is sent over a connection and is no request, or none that ends: bounded, and answered where it can be."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.service.running import ServerProcess
from tests.service.test_metrics import by_label

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def wait_until_closed(connection: socket.socket) -> None:
    """Return, or raise `ConnectionError`, when the server has closed; raises `TimeoutError` where it does not."""
    while connection.recv(65_536):
        pass


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[ServerProcess]:
    """A server whose time-outs are longer than any test waits: here only size can end a connection."""
    with ServerProcess(models_dir, header_timeout_ms=60_000, body_timeout_ms=60_000, timeout_ms=60_000) as process:
        yield process


@pytest.mark.parametrize("line", [b"X-Large: " + b"x" * 400_000, b"X-Many: x\r\n" * 40_000])
def test_a_large_head_is_refused(server: ServerProcess, line: bytes) -> None:
    with server.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + line)
        wait_until_closed(connection)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_trailers_without_end_are_refused(server: ServerProcess) -> None:
    with server.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        for _ in range(40):
            connection.sendall(b"X-Trailer: " + b"x" * 50_000 + b"\r\n")
            time.sleep(0.005)
        wait_until_closed(connection)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Large: " + b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_answered_in_our_format(server: ServerProcess, content: bytes) -> None:
    before = by_label(httpx.get(f"{server.url}/metrics").text, "linnet_requests_total", "route", "code")
    with server.connect() as connection:
        connection.sendall(content)
        answer = connection.recv(65_536).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert "content-type: application/problem+json" in head
    assert "x-request-id: " in head
    assert json.loads(body)["code"] == "invalid_http"
    after = by_label(httpx.get(f"{server.url}/metrics").text, "linnet_requests_total", "route", "code")
    key = ("(unparsed)", "invalid_http")
    assert after[key] - before.get(key, 0) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\n" + b"\x00" * 50,
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_behind_a_head_in_the_same_packet_is_answered(server: ServerProcess, content: bytes) -> None:
    """The parser fails before the request's own task has begun."""
    before = by_label(httpx.get(f"{server.url}/metrics").text, "linnet_requests_total", "code")
    with server.connect() as connection:
        connection.sendall(content)
        answer = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body)["code"] == "invalid_http"
    time.sleep(0.1)
    after = by_label(httpx.get(f"{server.url}/metrics").text, "linnet_requests_total", "code")
    assert sum(after.values()) - sum(before.values()) == 2  # and the question for the metrics before
    assert after["invalid_http",] - before.get(("invalid_http",), 0) == 1


def test_an_empty_line_is_no_request_and_keeps_no_connection(models_dir: Path) -> None:
    """After an answer, too, where the time between two requests has just been ended by it."""
    with ServerProcess(models_dir, header_timeout_ms=500) as server, server.connect() as connection:
        connection.settimeout(10)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        wait_until_closed(connection)


def test_a_client_that_reads_nothing_is_let_go(models_dir: Path) -> None:
    """Otherwise what it asked for lies in memory for as long as it likes, and a SIGTERM waits for it."""
    with ServerProcess(models_dir, body_timeout_ms=500) as server, server.connect() as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 600)  # far more than sockets hold
        end_s = time.monotonic() + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < end_s:
                time.sleep(0.1)
                connection.sendall(b"G")
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_client_that_reads_slowly_gets_everything(models_dir: Path) -> None:
    with ServerProcess(models_dir, body_timeout_ms=500) as server, server.connect() as connection:
        one = len(httpx.get(f"{server.url}/openapi.json").content)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"
        connection.sendall((request + b"\r\n") * 299 + request + b"Connection: close\r\n\r\n")
        received = 0
        while piece := connection.recv(1_000_000, socket.MSG_WAITALL):
            received += len(piece)
            time.sleep(0.1)
        assert received > 300 * one
