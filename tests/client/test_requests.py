"""What goes over the wire: addresses, keys, ids, and answers that are none."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import pytest

from linnet_client import (
    AsyncClient,
    Client,
    FailedPrediction,
    InvalidKey,
    NotReadyInTime,
    Prediction,
    Problem,
    Unauthorized,
    UnexpectedAnswer,
    UnusableProxy,
)
from tests.client.answers import prediction_answer


def client_of(answer: httpx.Response, seen: list[httpx.Request], **options: str) -> Client:
    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer

    return Client("http://host/api/", transport=httpx.MockTransport(service), retries=0, **options)  # type: ignore[arg-type]


def test_a_question_is_one_plain_request() -> None:
    seen: list[httpx.Request] = []
    client_of(prediction_answer(), seen).predict(b"image", model="a b", version=3, top_k=2)
    (request,) = seen
    assert request.method == "POST"
    assert request.url == "http://host/api/predict?model=a+b&version=3&top_k=2"
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert request.content == b"image"
    assert request.headers["X-Timeout-Ms"] == "30000"
    assert "Authorization" not in request.headers


def test_the_key_is_the_argument_or_else_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []
    monkeypatch.setenv("LINNET_API_KEY", "of the environment")
    client_of(prediction_answer(), seen).predict(b"image")
    client_of(prediction_answer(), seen, api_key="given").predict(b"image")
    client_of(prediction_answer(), seen, api_key="").predict(b"image")
    assert [request.headers.get("Authorization") for request in seen] == [
        "Bearer of the environment", "Bearer given", None
    ]  # fmt: skip


def test_a_client_of_the_users_own_is_used_and_left_open() -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: prediction_answer()), headers={"X-Team": "a"}) as own:
        with Client("http://host", http_client=own) as client:
            assert client.predict(b"image").label == "red"
        assert not own.is_closed


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"predictions": []}),
        httpx.Response(200, json={"predictions": [{"label": 3}]}),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(301, headers={"Location": "https://host"}),
        httpx.Response(404, text="not found"),
        httpx.Response(500, json={"error": "no problem"}),
    ],
    ids=lambda answer: f"{answer.status_code} {answer.text[:20]}",
)
def test_what_is_no_linnet_service_is_said(answer: httpx.Response) -> None:
    answer.headers["X-Request-ID"] = "some-id"
    with pytest.raises(UnexpectedAnswer) as caught:
        client_of(answer, []).predict(b"image")
    assert caught.value.status_code == answer.status_code
    assert caught.value.request_id == "some-id"
    assert "http://host/api" in str(caught.value)


def test_fields_that_a_newer_service_adds_are_passed_over() -> None:
    body = prediction_answer().json() | {"novel": 1}
    body["predictions"][0] |= {"novel": {"a": 1}}
    body["timing_ms"]["novel"] = 2
    assert client_of(httpx.Response(200, json=body), []).predict(b"image").label == "red"


def test_a_status_without_a_class_is_still_a_problem() -> None:
    said = {"code": "teapot", "detail": "Short and stout: use a kettle.", "request_id": "some-id"}
    with pytest.raises(Problem) as caught:
        client_of(httpx.Response(418, json=said), []).predict(b"image")
    assert type(caught.value) is Problem
    assert (caught.value.status_code, caught.value.code, caught.value.request_id) == (418, "teapot", "some-id")


def test_a_refused_key_is_said() -> None:
    said = {"code": "key_refused", "detail": "No: send a key.", "request_id": "some-id"}
    with pytest.raises(Unauthorized, match="No: send a key"):
        client_of(httpx.Response(401, json=said), []).models()


def test_asynchronous_clients_take_a_client_too() -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: prediction_answer())) as own:
            async with AsyncClient("http://host", http_client=own) as client:
                assert (await client.predict(b"image")).label == "red"
            assert not own.is_closed

    asyncio.run(ask())


def test_a_proxy_that_takes_no_body_of_the_size_costs_one_image() -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(413, text="<html>too large") if len(request.content) > 100_000 else prediction_answer()

    client = Client("http://host", transport=httpx.MockTransport(proxy), retries=0)
    first, second, third = client.predict_many([b"a", bytes(200_000), b"c"])
    assert isinstance(second, FailedPrediction)
    assert second.error.code == "http_413"
    assert "send a smaller image" in second.error.detail
    assert isinstance(first, Prediction)
    assert isinstance(third, Prediction)


def test_waiting_takes_as_long_as_it_is_told_whatever_answers_meanwhile() -> None:
    """A listener that does not answer yet, then something else, then the service."""
    first: list[Exception | httpx.Response] = [httpx.ReadTimeout("late"), httpx.Response(404, text="default backend")]
    answers = iter(first)
    times: list[float] = []

    def service(request: httpx.Request) -> httpx.Response:
        times.append(request.extensions["timeout"]["read"])
        answer = next(answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer or httpx.Response(200, json={"status": "ready"})

    Client("http://host", transport=httpx.MockTransport(service)).wait_until_ready(timeout_s=5)
    assert len(times) == 3
    assert max(times) <= 5
    never = Client("http://host", transport=httpx.MockTransport(lambda _: httpx.Response(404, text="default backend")))
    assert not never.health().is_live
    with pytest.raises(NotReadyInTime, match="is no Linnet service"):
        never.wait_until_ready(timeout_s=0)


def test_a_key_is_sent_without_what_is_around_it_and_never_quoted() -> None:
    seen: list[httpx.Request] = []
    client_of(prediction_answer(), seen, api_key="secret\n").predict(b"image")
    assert seen[0].headers["Authorization"] == "Bearer secret"
    for odd in ("s\u00e9cret", "sec\nret"):
        with pytest.raises(InvalidKey) as caught:
            Client("http://host", api_key=odd)
        assert odd not in str(caught.value)


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("socks5://user:secret@127.0.0.1:9", "socksio"),
        ("gopher://user:secret@127.0.0.1:9", "its address is none, or of no kind"),
        ("http://user:secret/x@127.0.0.1:9", "its address is none, or of no kind"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said(
    *, monkeypatch: pytest.MonkeyPatch, make: type[Client] | type[AsyncClient], proxy: str, reason: str
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UnusableProxy, match=reason) as caught:
        make("http://host")
    assert str(caught.value).startswith("The proxy that ALL_PROXY asks for cannot be used (")
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"
