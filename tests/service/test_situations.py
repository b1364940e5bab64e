"""What crowds, clients that leave or dawdle, and many reloads do to a server, each situation a real process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.bundles import Character, png, write_model
from tests.service.running import ServerProcess, send
from tests.service.test_metrics import by_label, samples

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

SLOW = Character(products=40)  # a tenth of a second per batch, more on a busy machine
ADMIN = {"x-api-key": "admin"}


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow") / "models"
    write_model(folder, "slow", character=SLOW)
    return folder


class Clients:
    """Connections that can be closed at any time, each with one request on it."""

    def __init__(self, server: ServerProcess) -> None:
        self._url = httpx.URL(server.url)

    async def ask(self, colour: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send an image and do not wait for the answer."""
        reader, writer = await asyncio.open_connection(self._url.host, self._url.port)
        body = png(colour)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer


async def answers(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> list[bytes]:
    found = await asyncio.gather(*(reader.read() for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    return list(found)


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Let what is started meanwhile run on one of the processors that this process may use."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


@pytest.mark.parametrize("when", ["queued", "running"])
def test_the_neighbours_of_a_client_that_leaves_are_answered(slow_models: Path, when: str) -> None:
    with on_one_cpu(), ServerProcess(slow_models, max_batch_size=4) as server:  # one lane

        async def scenario() -> list[bytes]:
            clients = Clients(server)
            first = await clients.ask("blue")  # occupies the engine, so that the next four become one batch
            await asyncio.sleep(0.02)
            four = [await clients.ask("red") for _ in range(4)]
            if when == "queued":
                await asyncio.sleep(0.01)
            else:
                await answers([first])
                await asyncio.sleep(0.01)
            four[1][1].close()
            found = await answers([four[0], *four[2:]])
            first[1].close()
            return found

        found = asyncio.run(scenario())
        assert [b'"label":"red"' in answer for answer in found] == [True] * 3
        time.sleep(0.5)
        text = httpx.get(f"{server.url}/metrics").text
        assert by_label(text, "linnet_requests_total", "route", "code") == {
            ("/predict", "ok"): 4,
            ("/predict", "client_gone"): 1,
        }
        assert by_label(text, "linnet_images_total", "outcome") == {("answered",): 4, ("abandoned",): 1}
        counted, labels = samples(text), ("slow", "1")
        assert counted["linnet_batch_images_count", labels] == 2  # the neighbours shared one
        assert counted["linnet_batch_images_sum", labels] == (5 if when == "running" else 4)


def test_after_a_storm_of_cancelled_clients_everyone_is_answered(slow_models: Path) -> None:
    with ServerProcess(slow_models) as server:

        async def storm() -> None:
            clients = Clients(server)
            for _ in range(10):
                connections = [await clients.ask("green") for _ in range(50)]
                for number, (_, writer) in enumerate(connections):
                    if number % 3 == 0:
                        await asyncio.sleep(0.001)
                    writer.close()

        asyncio.run(storm())
        deadline_s = time.monotonic() + 5
        while "linnet_pending_images 0.0" not in httpx.get(f"{server.url}/metrics").text:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert [send(server, png("green"))[0] for _ in range(20)] == [200] * 20
        text = httpx.get(f"{server.url}/metrics").text
        counts = by_label(text, "linnet_requests_total", "code")
        assert set(counts) <= {("ok",), ("client_gone",), ("overloaded",)}
        assert counts["ok",] >= 20


# Asks for liveness during 2.5 s and prints the seconds of each answer.
PROBING = """
import json, sys, time, urllib.request
until, seconds = time.perf_counter() + 2.5, []
while time.perf_counter() < until:
    begin = time.perf_counter()
    assert urllib.request.urlopen(sys.argv[1] + "/healthz", timeout=10).status == 200
    seconds.append(time.perf_counter() - begin)
    time.sleep(0.02)
print(json.dumps(seconds))
"""


def test_overload_is_refused_at_once_and_forgotten_at_once(slow_models: Path) -> None:
    """Ten times the clients that the service takes on."""
    with ServerProcess(slow_models, max_pending_images=6, timeout_ms=5_000) as server:
        ends: Counter[int] = Counter()
        seconds: dict[int, list[float]] = {200: [], 503: []}

        async def client(http: httpx.AsyncClient, until_s: float) -> None:
            while time.perf_counter() < until_s:
                begin_s = time.perf_counter()
                response = await http.post("/predict", content=png("red"), timeout=30)
                ends[response.status_code] += 1
                seconds[response.status_code].append(time.perf_counter() - begin_s)
                if response.status_code == 503:
                    assert response.headers["retry-after"] == "1"
                    await asyncio.sleep(0.05)

        async def scenario() -> None:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=server.url, limits=limits) as http:
                until_s = time.perf_counter() + 3
                await asyncio.gather(*(client(http, until_s) for _ in range(60)))

        # A process of its own: the clients' event loop is too busy to measure anything else.
        with subprocess.Popen([sys.executable, "-c", PROBING, server.url], stdout=subprocess.PIPE) as probing:
            asyncio.run(scenario())
            probes = json.loads(probing.communicate(timeout=30)[0])
        assert set(ends) == {200, 503}
        assert ends[200] > 20
        accepted = sorted(seconds[200])
        assert accepted[int(len(accepted) * 0.99)] < 5
        assert len(probes) > 20
        # Behind the engine a probe would wait for a batch at least, a tenth of a second; one may meet the scheduler.
        assert sorted(probes)[int(len(probes) * 0.95)] < 0.05
        assert max(probes) < 0.5
        begin_s = time.monotonic()
        while send(server, png("red"))[0] != 200:
            assert time.monotonic() - begin_s < 5


def test_slow_uploads_keep_neither_probes_nor_others_waiting(models_dir: Path) -> None:
    with ServerProcess(models_dir, max_pending_images=100) as server:

        async def scenario() -> tuple[list[int], float]:
            url = httpx.URL(server.url)
            writers = []
            for _ in range(80):
                _, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc")
                writers.append(writer)
            await asyncio.sleep(0.1)
            async with httpx.AsyncClient(base_url=server.url) as http:
                begin_s = time.perf_counter()
                statuses = [(await http.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")]
                statuses.append((await http.post("/predict", content=png("red"))).status_code)
                took_s = time.perf_counter() - begin_s
            for writer in writers:
                writer.close()
            return statuses, took_s

        statuses, took_s = asyncio.run(scenario())
        assert statuses == [200] * 4
        assert took_s < 1


def test_a_drained_server_loses_nothing_under_load(slow_models: Path) -> None:
    with ServerProcess(slow_models) as server:

        async def scenario() -> tuple[list[bytes], int]:
            clients = Clients(server)
            connections = [await clients.ask("blue") for _ in range(24)]
            await asyncio.sleep(0.1)
            ending = asyncio.create_task(asyncio.to_thread(server.stop))
            return await answers(connections), await ending

        found, status = asyncio.run(scenario())
        assert status == 0
        assert Counter(answer.split(b" ", 2)[1] for answer in found) == {b"200": 24}


def test_two_hundred_reloads_leave_no_memory_behind(models_dir: Path) -> None:
    with ServerProcess(models_dir, admin_keys="admin") as server, httpx.Client(base_url=server.url) as client:

        def reload(times: int) -> int:
            for _ in range(times):
                response = client.post("/v2/repository/models/colours/load", headers=ADMIN, timeout=30)
                assert response.status_code == 200
            return server.resident_bytes()

        begin = reload(20)
        assert reload(200) < begin * 1.05
        assert client.post("/predict", content=png("red")).status_code == 200
