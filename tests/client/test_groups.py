"""Small images that come faster than they are answered share requests; large ones do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from linnet.errors import LinnetError
from linnet_client import Client, Prediction
from linnet_client.images import SMALL_BYTES
from linnet_client.ordered import FEW, LARGEST_GROUP
from service.errors import EngineFailed, TooManyImages
from tests.client.answers import images_of, labelled, problem_answer

pytestmark = pytest.mark.alone


@dataclass
class Groups:
    """A service that notes how many images each request brings, and lets nobody go before it is told to."""

    go: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sizes.append(len(images_of(request)))
        assert self.go.wait(10)
        return labelled(request)


def test_images_that_come_while_others_are_under_way_share_requests() -> None:
    groups = Groups()

    def images() -> Iterator[bytes]:
        yield from (str(number).encode() for number in range(3 * LARGEST_GROUP))
        groups.go.set()

    with Client(transport=httpx.MockTransport(groups)) as client:
        results = list(client.predict_many(images(), concurrency=32))
    assert [result.label for result in results if isinstance(result, Prediction)] == list(map(str, range(24)))
    assert sorted(groups.sizes) == [1] * FEW + [3 * LARGEST_GROUP - FEW - 2 * LARGEST_GROUP, *[LARGEST_GROUP] * 2]


def test_a_slow_stream_is_not_kept_waiting() -> None:
    """Images that gathered are sent when a request ends, whether or not another image comes."""
    groups = Groups()
    answered = threading.Event()

    def images() -> Iterator[bytes]:
        yield from (str(number).encode() for number in range(FEW + 2))
        groups.go.set()
        assert answered.wait(10)  # another image comes only when all before it were sent

    def watch() -> None:
        while sum(groups.sizes) < FEW + 2:
            time.sleep(0.005)
        answered.set()

    watching = threading.Thread(target=watch)
    watching.start()
    with Client(transport=httpx.MockTransport(groups)) as client:
        assert len(list(client.predict_many(images(), concurrency=16))) == FEW + 2
    watching.join()


def test_large_images_travel_alone() -> None:
    groups = Groups()
    groups.go.set()
    with Client(transport=httpx.MockTransport(groups)) as client:
        list(client.predict_many([b"1" * (SMALL_BYTES + 1)] * 12, concurrency=2))
    assert groups.sizes == [1] * 12


@pytest.mark.parametrize("status", [413, 500])
def test_a_group_that_fails_for_its_images_is_sent_again_one_by_one(status: int) -> None:
    error: LinnetError = TooManyImages(1) if status == 413 else EngineFailed()

    def service(request: httpx.Request) -> httpx.Response:
        time.sleep(0.002)
        return problem_answer(error) if len(images_of(request)) > 1 else labelled(request)

    with Client(transport=httpx.MockTransport(service)) as client:
        results = list(client.predict_many(str(number).encode() for number in range(50)))
    assert [result.label for result in results if isinstance(result, Prediction)] == list(map(str, range(50)))
