"""How much of a service's throughput the client reaches: `predict_many` beside a load tool that does nothing else.

    .venv/bin/python benchmarks/predict_many.py data/cifar10/test --concurrency 32

The load tool writes prepared requests into open sockets and looks at nothing but the status, once with an image in each
and once with forms of as many small images as `predict_many` puts into one; `predict_many` reads the files, sends them,
parses every answer and keeps the order. They take turns, each round over all files, so that all meet the same machine.
Prints one JSON object: images per second of each round, the share of the best of the better way of the load tool, and
how much the client's memory grew between its first hundred answers and its last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from linnet_client import AsyncClient, Client, FailedPrediction, calls
from linnet_client.calls import Call, Question
from linnet_client.images import SMALL_BYTES, read_image
from linnet_client.ordered import LARGEST_GROUP

SETTLED = 100  # answers after which connections and threads are there
SAMPLED_EVERY = 500


def load(requests: Sequence[bytes], url: str, concurrency: int) -> None:
    """Send all requests over `concurrency` connections, one after the other on each."""
    host, port = _place(url)

    async def send_all(waiting: Iterator[bytes]) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"The service answered {head.splitlines()[0].decode()}: see its log.")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        waiting = iter(requests)
        await asyncio.gather(*(send_all(waiting) for _ in range(concurrency)))

    asyncio.run(run())


def _place(url: str) -> tuple[str, int]:
    address = urlsplit(url)
    return address.hostname or "127.0.0.1", address.port or 80


def prepare(files: Sequence[Path], url: str, together: int = 1) -> list[bytes]:
    """Return the whole requests that ask about the files, `together` small ones in each form."""
    pictures = [read_image(file) for file in files]
    shared = [picture for picture in pictures if together > 1 and len(picture.data) <= SMALL_BYTES]
    alone = [picture for picture in pictures if together == 1 or len(picture.data) > SMALL_BYTES]
    question = Question(top_k=1)
    groups = [shared[start : start + together] for start in range(0, len(shared), together)]
    asked: list[Call[Any]] = [calls.predict(picture, question) for picture in alone]
    asked += [calls.predict_group(group, question) for group in groups]
    return [_request(call, *_place(url)) for call in asked]


def _request(call: Call[Any], host: str, port: int) -> bytes:
    body = call.body or b""
    fields = {"Host": f"{host}:{port}", **call.headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{call.method} {call.path}?{urlencode(call.params)} HTTP/1.1\r\n{head}\r\n".encode() + body


def ask(files: Sequence[Path], url: str, concurrency: int) -> int:
    """Send all files with `Client`; return by how many bytes its memory grew at most."""
    settled = grown = 0
    with Client(url) as client:
        for number, result in enumerate(client.predict_many(files, top_k=1, concurrency=concurrency), start=1):
            _check(result, files[number - 1])
            if number == SETTLED:
                settled = resident_bytes()
            elif number % SAMPLED_EVERY == 0:
                grown = max(grown, resident_bytes() - settled)
    return grown


def ask_async(files: Sequence[Path], url: str, concurrency: int) -> int:
    """Send all files with `AsyncClient`; return by how many bytes its memory grew at most."""

    async def run() -> int:
        settled = grown = number = 0
        async with AsyncClient(url) as client:
            async for result in client.predict_many(files, top_k=1, concurrency=concurrency):
                _check(result, files[number])
                number += 1
                if number == SETTLED:
                    settled = resident_bytes()
                elif number % SAMPLED_EVERY == 0:
                    grown = max(grown, resident_bytes() - settled)
        return grown

    return asyncio.run(run())


def _check(result: object, file: Path) -> None:
    if isinstance(result, FailedPrediction) or getattr(result, "filename", None) != str(file):
        sys.exit(f"{file} was not answered in its place: {result}")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Read the arguments, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images, in class folders or not")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service")
    parser.add_argument("--concurrency", type=int, default=32, help="requests under way at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each takes its turn")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    grown: dict[str, int] = {"client": 0, "async_client": 0}
    contestants: dict[str, Callable[[str, int], int | None]] = {
        "client": partial(ask, files),
        "async_client": partial(ask_async, files),
        "load_tool": partial(load, prepare(files, arguments.url)),
        "load_tool_forms": partial(load, prepare(files, arguments.url, LARGEST_GROUP)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, work in contestants.items():
            started = time.perf_counter()
            growth = work(arguments.url, arguments.concurrency)
            rates[name].append(round(len(files) / (time.perf_counter() - started), 1))
            if growth is not None:
                grown[name] = max(grown[name], growth)
    best = {name: max(found) for name, found in rates.items()}
    floor = max(best["load_tool"], best["load_tool_forms"])
    shares = {name: round(best[name] / floor, 3) for name in grown}
    figures = {"files": len(files), "concurrency": arguments.concurrency, "images_per_s": rates, "share": shares}
    print(json.dumps(figures | {"memory_growth_mb": {name: round(size / 1e6, 1) for name, size in grown.items()}}))  # noqa: T201


if __name__ == "__main__":
    main()
