"""A stream that is left waits for the requests under way, and begins nothing more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from itertools import repeat

import httpx
import pytest

from linnet_client import Client, FailedPrediction, Overloaded, Prediction
from linnet_client.ordered import FEW, LARGEST_GROUP
from service import errors
from tests.client.answers import images_of, labelled, problem_answer

pytestmark = pytest.mark.alone

Results = Generator[Prediction | FailedPrediction, None, None]


class Refusing:
    """A service that refuses all requests but the first, which it answers after that."""

    def __init__(self) -> None:
        self.requests = 0
        self.refused = threading.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests == 1:
            assert self.refused.wait(10)
            return labelled(request)
        self.refused.set()
        return problem_answer(errors.Overloaded(retry_after_s=20))


def closed(stream: Results) -> None:
    stream.close()


def interrupted(stream: Results) -> None:
    with pytest.raises(KeyboardInterrupt):
        stream.throw(KeyboardInterrupt)


@pytest.mark.parametrize("leave", [closed, interrupted])
def test_no_retry_is_waited_for(leave: Callable[[Results], None]) -> None:
    service = Refusing()
    with Client(transport=httpx.MockTransport(service), retries=8) as client:
        stream = client.predict_many(repeat(b"0"), concurrency=2)
        next(stream)
        started = time.monotonic()
        leave(stream)
        assert time.monotonic() - started < 5
        requests = service.requests
        time.sleep(0.05)
    assert service.requests == requests
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("linnet-client")]


def test_the_failure_that_ends_a_stream_waits_for_no_retry() -> None:
    """The second image cannot be asked about at all, while the third would be tried again."""

    def service(request: httpx.Request) -> httpx.Response:
        (image,) = images_of(request)
        error = {b"1": errors.Overloaded(retry_after_s=60), b"2": errors.Overloaded(retry_after_s=20)}.get(image)
        return problem_answer(error) if error else labelled(request)

    started = time.monotonic()
    with Client(transport=httpx.MockTransport(service), retries=8) as client, pytest.raises(Overloaded):
        list(client.predict_many([b"0", b"1", b"2"], concurrency=3))
    assert time.monotonic() - started < 5


def test_a_group_that_fails_is_not_sent_again_one_by_one() -> None:
    """The stream is left while the group is under way."""
    is_left, is_there = threading.Event(), threading.Event()
    leaving = threading.Timer(0.2, is_left.set)
    sizes: list[int] = []

    def service(request: httpx.Request) -> httpx.Response:
        sizes.append(len(images_of(request)))
        if sizes[-1] == 1:
            assert is_there.wait(10)
            return labelled(request)
        is_there.set()
        assert is_left.wait(10)
        return problem_answer(errors.EngineFailed())

    def images() -> Iterator[bytes]:
        yield from [b"0"] * (FEW + LARGEST_GROUP)
        assert is_there.wait(10)
        leaving.start()
        raise KeyboardInterrupt

    with Client(transport=httpx.MockTransport(service)) as client, pytest.raises(KeyboardInterrupt):
        list(client.predict_many(images(), concurrency=32))
    leaving.join()
    assert sorted(sizes) == [1] * FEW + [LARGEST_GROUP]
