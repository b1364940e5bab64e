"""What is tried again, how often and after how long: answers come from `transport=`, the seam for users' own tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest

from linnet.errors import LinnetError, UnreadableImage, UnsupportedImage
from linnet_client import AsyncClient, Client, Problem, ServiceError, Unreachable
from linnet_client.errors import problem
from linnet_client.retries import FIRST_WAIT_S, LONGEST_RETRY_AFTER_S, LONGEST_WAIT_S, Retries, retry_after_s
from service import errors
from tests.client.answers import prediction_answer, problem_answer

Step = LinnetError | httpx.RequestError | httpx.Response


class Service:
    """Goes through some failures, then answers."""

    def __init__(self, *steps: Step) -> None:
        self._steps: Iterator[Step] = iter(steps)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps, None)
        if isinstance(step, httpx.RequestError):
            raise step
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        return prediction_answer() if step is None else problem_answer(step)


PASSING: list[Step] = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("no answer"),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("closed without an answer"),
    errors.Overloaded(retry_after_s=0),
    errors.NotReady("loading", retry_after_s=0),
    errors.DeadlineExceeded(10),
    httpx.Response(502, text="<html>bad gateway</html>"),
    httpx.Response(429, headers={"Retry-After": "0"}),
]
LASTING: list[Step] = [
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.PoolTimeout("busy"),
    httpx.UnsupportedProtocol("odd"),
    errors.MalformedRequest("odd"),
    errors.UnknownModel("x", []),
    errors.BodyTooLarge(1),
    UnsupportedImage(["PNG"]),
    UnreadableImage("cut off"),
    errors.EngineFailed(),
    httpx.Response(401, text="who are you?"),
]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet_client.retries.FIRST_WAIT_S", 0.001)


def name_of(step: Step) -> str:
    return f"{type(step).__name__} {step.status_code}" if isinstance(step, httpx.Response) else type(step).__name__


@pytest.mark.parametrize("step", PASSING, ids=name_of)
def test_what_may_pass_is_tried_again(step: Step) -> None:
    service = Service(step, step)
    assert Client(transport=httpx.MockTransport(service)).predict(b"image").label == "red"
    assert len(service.requests) == 3
    assert {request.content for request in service.requests} == {b"image"}
    service = Service(step, step, step)
    with pytest.raises(ServiceError):
        Client(transport=httpx.MockTransport(service)).predict(b"image")
    assert len(service.requests) == 3


@pytest.mark.parametrize("step", LASTING, ids=name_of)
def test_what_lasts_is_raised_at_once(step: Step) -> None:
    service = Service(step)
    with pytest.raises(ServiceError):
        Client(transport=httpx.MockTransport(service)).predict(b"image")
    assert len(service.requests) == 1


def test_the_asynchronous_client_tries_alike() -> None:
    async def ask(*steps: Step, retries: int = 2) -> int:
        service = Service(*steps)
        async with AsyncClient(transport=httpx.MockTransport(service), retries=retries) as client:
            try:
                await client.predict(b"image")
            except ServiceError:
                return -len(service.requests)
        return len(service.requests)

    for step in PASSING:
        assert asyncio.run(ask(step, step)) == 3
    for step in LASTING:
        assert asyncio.run(ask(step)) == -1
    assert asyncio.run(ask(*[PASSING[0]] * 5, retries=4)) == -5


def test_no_retries_are_none() -> None:
    service = Service(PASSING[0])
    with pytest.raises(Unreachable):
        Client(transport=httpx.MockTransport(service), retries=0).models()
    assert len(service.requests) == 1


def test_waits_double_up_to_a_limit_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet_client.retries.FIRST_WAIT_S", FIRST_WAIT_S)
    error = Unreachable("http://x", "refused")
    for failures in range(1, 12):
        longest = min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S)
        waits = {Retries(20).wait_s(failures, error) for _ in range(20)}
        assert len(waits) > 1
        assert all(wait is not None and longest / 2 <= wait <= longest for wait in waits)
    assert Retries(2).wait_s(3, error) is None


@pytest.mark.parametrize("asked_s", [0, 1, 7, LONGEST_RETRY_AFTER_S])
def test_nobody_comes_back_earlier_than_asked(asked_s: float) -> None:
    wait_s = Retries(2).wait_s(1, problem(503, "overloaded", "…", retry_after_s=asked_s))
    assert wait_s is not None
    assert asked_s <= wait_s < asked_s + 1


def test_too_much_patience_is_refused() -> None:
    assert Retries(2).wait_s(1, problem(503, "x", "…", retry_after_s=LONGEST_RETRY_AFTER_S + 1)) is None


def test_retry_after_is_waited_for() -> None:
    service = Service(errors.Overloaded(retry_after_s=1))
    started = time.monotonic()
    Client(transport=httpx.MockTransport(service)).predict(b"image")
    assert 1 <= time.monotonic() - started < 3


def test_retry_after_is_read_as_number_and_as_date() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=10)  # noqa: UP017  as the client's oldest Python has it
    assert retry_after_s("7") == 7
    assert retry_after_s(format_datetime(later, usegmt=True)) == pytest.approx(10, abs=2)
    assert retry_after_s(format_datetime(later - timedelta(hours=1), usegmt=True)) == 0
    assert [retry_after_s(header) for header in (None, "", "soon", "-1")] == [None] * 4


def network_errors() -> Iterator[type[httpx.RequestError]]:
    waiting = [httpx.RequestError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        yield kind


@pytest.mark.parametrize("kind", list(network_errors()))
def test_every_failure_of_the_network_has_a_name_of_ours(kind: Callable[[str], httpx.RequestError]) -> None:
    client = Client("http://host", transport=httpx.MockTransport(Service(kind("the reason"))), retries=0)
    with pytest.raises(ServiceError) as caught:
        client.models()
    assert not isinstance(caught.value, Problem)
    assert type(caught.value) is not ServiceError
    says_why = "the reason" in str(caught.value)
    assert says_why or issubclass(kind, httpx.TimeoutException)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, httpx.RequestError)
