"""`predict_many`: in order, bounded, and over a restart of the service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count, islice
from pathlib import Path

import httpx
import pytest

from linnet_client import (
    AsyncClient,
    Client,
    FailedPrediction,
    NotFound,
    Prediction,
    TimedOut,
    Unreachable,
    UnsupportedImage,
)
from linnet_client.images import ImageSource
from linnet_client.ordered import WINDOWS
from tests.client.answers import images_of, labelled, prediction_answer
from tests.service.bundles import CLASSES, png
from tests.service.running import ServerProcess

pytestmark = pytest.mark.alone


def colours(number: int) -> Iterator[str]:
    return islice((CLASSES[index % 3] for index in count()), number)


@pytest.mark.e2e
def test_results_come_in_order_and_failures_in_their_places(client: Client, photo: Path) -> None:
    images: list[ImageSource] = [
        photo,
        b"no image",
        "nowhere.png",
        *map(png, colours(30)),
        png()[:60],
        photo,
    ]
    results = list(client.predict_many(images, top_k=1))
    assert len(results) == len(images)
    said = [result.error.code if isinstance(result, FailedPrediction) else result.label for result in results]
    assert said == [
        "green", "unsupported_image", "unreadable_file", *colours(30), "unreadable_image", "green"
    ]  # fmt: skip
    assert [results[0].filename, results[1].filename, results[2].filename] == [str(photo), None, "nowhere.png"]
    failed = results[1]
    assert isinstance(failed, FailedPrediction)
    assert failed.request_id
    (failed,) = client.predict_many([png("poison")])  # alone: what shares a batch with it fails with it
    assert isinstance(failed, FailedPrediction)
    assert failed.error.code == "engine_failed"


@pytest.mark.e2e
def test_the_asynchronous_stream_is_the_same(url: str) -> None:
    async def images() -> AsyncIterator[bytes]:
        for colour in colours(30):
            yield png(colour)
        yield b"no image"

    async def ask() -> list[str]:
        async with AsyncClient(url) as client:
            results = [result async for result in client.predict_many(images())]
            again = [result async for result in client.predict_many([png(colour) for colour in colours(31)])]
        assert len(again) == 31
        return [result.error.code if isinstance(result, FailedPrediction) else result.label for result in results]

    assert asyncio.run(ask()) == [*colours(30), "unsupported_image"]


@pytest.mark.e2e
def test_what_would_meet_every_image_is_raised(client: Client, url: str) -> None:
    with pytest.raises(NotFound):
        list(client.predict_many(map(png, colours(9)), model="nothing"))
    with Client("http://127.0.0.1:9", retries=0) as nobody, pytest.raises(Unreachable):
        list(nobody.predict_many(map(png, colours(9))))

    async def ask() -> None:
        async with AsyncClient(url) as asynchronous:
            async for _ in asynchronous.predict_many([png()] * 9, model="nothing"):
                pass

    with pytest.raises(NotFound):
        asyncio.run(ask())


class Gauge:
    """A service that notes how many requests are in it at once; the first one takes longest."""

    def __init__(self) -> None:
        self.inside = self.peak = self.answered = 0
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            is_first = self.answered == 0 and self.inside == 1
        time.sleep(0.05 if is_first else 0.002)
        with self._lock:
            self.inside -= 1
            self.answered += 1
        return labelled(request)


def test_what_is_under_way_and_what_is_read_is_bounded() -> None:
    gauge, read = Gauge(), 0

    def images() -> Iterator[bytes]:
        nonlocal read
        for read in range(1, 201):
            yield str(read).encode()

    with Client(transport=httpx.MockTransport(gauge)) as client:
        stream = client.predict_many(images(), concurrency=4)
        for number, result in enumerate(stream, start=1):
            assert isinstance(result, Prediction)
            assert result.label == str(number)
            assert read <= number + WINDOWS * 4
    assert (gauge.peak, read) == (4, 200)


def test_a_stream_without_end_is_begun_and_left() -> None:
    gauge = Gauge()
    with Client(transport=httpx.MockTransport(gauge)) as client:
        stream = client.predict_many((str(number).encode() for number in count()), concurrency=2)
        assert [result.label for result in islice(stream, 5) if isinstance(result, Prediction)] == list("01234")
        stream.close()
        answered = gauge.answered
        time.sleep(0.02)
    assert gauge.answered == answered <= 5 + WINDOWS * 2


def test_an_asynchronous_stream_is_bounded_and_can_be_left() -> None:
    inside = peak = 0

    async def service(request: httpx.Request) -> httpx.Response:
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        await asyncio.sleep(0.002)
        inside -= 1
        return labelled(request)

    async def ask() -> None:
        async with AsyncClient(transport=httpx.MockTransport(service)) as client:
            stream = client.predict_many((str(number).encode() for number in count()), concurrency=3)
            labels = []
            async for result in stream:
                assert isinstance(result, Prediction)
                labels.append(result.label)
                if len(labels) == 20:
                    break
            assert labels == [str(number) for number in range(20)]
            await stream.aclose()
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(ask())
    assert peak == 3


def test_a_failure_ends_the_stream_in_its_place() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        if b"7" in images_of(request):
            raise httpx.ReadTimeout("too long")
        return labelled(request)

    labels = []
    with Client(transport=httpx.MockTransport(service)) as client, pytest.raises(TimedOut):
        for result in client.predict_many((str(number).encode() for number in range(100)), concurrency=1):
            assert isinstance(result, Prediction)
            labels.append(result.label)
    assert labels == list("0123456")


def test_an_asynchronous_stream_holds_no_answer_back() -> None:
    """Whoever gives the next image only after the last answer is not left waiting for it."""

    async def ask() -> list[str]:
        said: asyncio.Queue[str] = asyncio.Queue()

        async def images() -> AsyncIterator[bytes]:
            yield b"first"
            assert await said.get() == "red"
            yield b"second"

        labels = []
        transport = httpx.MockTransport(lambda _: prediction_answer())
        async with AsyncClient("http://host", transport=transport) as client:
            async for result in client.predict_many(images()):
                assert isinstance(result, Prediction)
                labels.append(result.label)
                await said.put(result.label)
        return labels

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == ["red", "red"]


@pytest.mark.e2e
def test_an_empty_file_is_a_failure_of_that_image(url: str, client: Client, photo: Path, tmp_path: Path) -> None:
    """Alone or among others, read by whichever client."""
    empty = tmp_path / "empty.jpg"
    empty.touch()

    def code(result: Prediction | FailedPrediction) -> str:
        return result.error.code if isinstance(result, FailedPrediction) else result.label

    with empty.open("rb") as file:
        assert [code(result) for result in client.predict_many([file, photo])] == ["unsupported_image", "green"]
    assert [code(result) for result in client.predict_many([photo, empty, empty])] == [
        "green", "unsupported_image", "unsupported_image"
    ]  # fmt: skip
    with pytest.raises(UnsupportedImage):
        client.predict(empty)

    async def ask() -> list[str]:
        async with AsyncClient(url) as asynchronous:
            return [code(result) async for result in asynchronous.predict_many([empty, photo])]

    assert asyncio.run(ask()) == ["unsupported_image", "green"]


def test_an_asynchronous_stream_is_walked_in_one_task() -> None:
    """It may hold a time-out, or a scope, from one image to the next; and what it raises is raised."""

    async def images() -> AsyncIterator[bytes]:
        owner = asyncio.current_task()
        for number in range(3):
            yield b"%d" % number
            assert asyncio.current_task() is owner
        raise LookupError("no more")

    async def ask() -> int:
        count = 0
        async with AsyncClient("http://host", transport=httpx.MockTransport(lambda _: prediction_answer())) as client:
            with pytest.raises(LookupError, match="no more"):
                async for _ in client.predict_many(images()):
                    count += 1
        return count

    assert asyncio.run(ask()) <= 3


@pytest.mark.e2e
def test_a_run_outlives_a_restart_of_the_service(colours_dir: Path) -> None:
    """Killed without a word in the middle, and started again on its port a second later."""
    expected = list(colours(300))
    labels: list[str] = []
    with ServerProcess(colours_dir) as first:
        port = httpx.URL(first.url).port
        with Client(first.url, retries=8) as client:
            for result in client.predict_many(map(png, expected), concurrency=4):
                assert isinstance(result, Prediction)
                labels.append(result.label)
                if len(labels) == 100:
                    first.process.kill()
                    first.process.wait()
                    second = ServerProcess(colours_dir, port=port)
            second.process.kill()
            second.__exit__(None, None, None)
    assert labels == expected
