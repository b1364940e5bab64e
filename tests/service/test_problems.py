from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from linnet.errors import ImageError, LinnetError
from service.app import create_app
from service.errors import Overloaded, RequestError, RetryLater
from service.exchange import Exchange
from service.problems import PROBLEMS, respond
from service.settings import Settings

MODULES = ("linnet.errors", "service.errors", "service.start_errors", "service.v2.errors")


def subclasses(root: type[LinnetError]) -> Iterator[type[LinnetError]]:
    for child in root.__subclasses__():
        if child.__module__ in MODULES:
            yield child
            yield from subclasses(child)


@pytest.mark.parametrize("error", [*subclasses(RequestError), *subclasses(ImageError)])
def test_every_error_that_reaches_a_request_has_a_place(error: type[LinnetError]) -> None:
    assert error in PROBLEMS or error is RetryLater


def test_what_has_no_place_is_an_error_of_the_start_or_of_another_room() -> None:
    """A new class of error must be put into the table or under one of these roots."""
    elsewhere = {"UsageError", "GateError", "MissingExtra", "BundleError", "ProviderUnavailable", "CannotListen"}
    elsewhere |= {"WorkerFailed", "Stopped"}
    roots = [child for child in LinnetError.__subclasses__() if child.__module__ in MODULES]
    assert {child.__name__ for child in roots} == elsewhere | {"ImageError", "RequestError"}


def test_codes_are_unique() -> None:
    codes = [problem.code for problem in PROBLEMS.values()]
    assert len(set(codes)) == len(codes)


def test_every_code_is_in_the_openapi_document() -> None:
    document = json.dumps(create_app(Settings()).openapi()["paths"])
    undocumented = {problem.code for problem in PROBLEMS.values() if f'"{problem.code}"' not in document}
    assert undocumented == set()


def test_a_problem_says_all_that_the_standard_asks() -> None:
    answer = respond(Overloaded(retry_after_s=3), Exchange("some-id", "GET", "/predict"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:linnet:problem:overloaded",
        "title": "Overloaded",
        "status": 503,
        "detail": "The service has as many images pending as it takes on: try again in 3 s.",
        "code": "overloaded",
        "request_id": "some-id",
    }


@pytest.mark.parametrize("path", ["/predict", "/v2/models/a/infer"])
def test_an_error_without_a_place_tells_the_client_nothing(path: str) -> None:
    answer = respond(LinnetError("a secret"), Exchange("some-id", "GET", path))
    assert answer.status_code == 500
    assert b"secret" not in bytes(answer.body)
