"""The client against the service's own words: every schema of its OpenAPI document, every problem of its table."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import linnet_client
from linnet.errors import LinnetError
from linnet_client import Client, Problem
from linnet_client.errors import PROBLEM_CLASSES
from linnet_client.results import (
    Explanation,
    FailedPrediction,
    ItemError,
    Metrics,
    Model,
    Prediction,
    Score,
    TimingMs,
)
from service.problems import PROBLEMS
from tests.client.answers import problem_answer
from tests.linnet.test_errors import build

# What the client makes of each schema. A prediction takes over what the answer says of the whole request.
RECORDS: dict[str, type] = {
    "ExplainBody": Explanation,
    "FailedPrediction": FailedPrediction,
    "ItemError": ItemError,
    "MetricsBody": Metrics,
    "ModelBody": Model,
    "PredictBody": Prediction,
    "Prediction": Prediction,
    "Score": Score,
    "TimingMs": TimingMs,
}
# Schemas that the client reads without a record, each with the fields that it reads.
READ_AS_THEY_ARE = {
    "ModelsBody": {"models"},
    "ProblemBody": {"code", "detail", "request_id"},
    "StatusBody": {"status"},
}
# Fields of an answer that the client leaves out, with the reason.
LEFT_OUT = {
    "PredictBody": {"predictions"},  # becomes the prediction itself
}
JSON_TYPES = {str: "string", float: "number", int: "integer", bool: "boolean"}


@pytest.fixture(scope="module")
def schemas(url: str) -> dict[str, Any]:
    """The schemas of all answers, from the running service."""
    document = httpx.get(f"{url}/openapi.json").raise_for_status().json()
    # What lies under /v2 is another protocol, with clients of its own.
    named = set(references({path: item for path, item in document["paths"].items() if not path.startswith("/v2")}))
    schemas: dict[str, Any] = document["components"]["schemas"]
    while more := {name for schema in named for name in references(schemas[schema])} - named:
        named |= more
    # FastAPI puts the module before a name that two modules have.
    return {name.rpartition("__")[2]: schemas[name] for name in named}


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(target := part.get("$ref"), str):
            yield target.rpartition("/")[2]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def json_type(hint: Any) -> Any:
    """Return the schema that a field of the client stands for."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": json_type(arguments[0])}
    if type(None) in arguments:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return {"anyOf": [json_type(inner), {"type": "null"}]}
    if dataclasses.is_dataclass(hint):
        (name, *_) = [name for name, record in RECORDS.items() if record is hint]
        return {"$ref": f"#/components/schemas/{name}"}
    return {"type": JSON_TYPES[hint]}


def bare(schema: Any) -> Any:
    """Return a schema without what does not change its type."""
    kept = {"type", "items", "anyOf", "$ref"}
    if isinstance(schema, dict) and "$ref" in schema:
        return {"$ref": f"#/components/schemas/{next(references(schema)).rpartition('__')[2]}"}
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key in kept}
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.e2e
def test_every_schema_of_an_answer_is_known(schemas: dict[str, Any]) -> None:
    assert schemas.keys() == RECORDS.keys() | READ_AS_THEY_ARE.keys()


@pytest.mark.e2e
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_the_fields_of_its_schema(schemas: dict[str, Any], name: str) -> None:
    hints = typing.get_type_hints(RECORDS[name])
    described = {
        field: bare(schema)
        for field, schema in schemas[name]["properties"].items()
        if field not in LEFT_OUT.get(name, set())
    }
    assert described == {field: json_type(hints[field]) for field in described}


@pytest.mark.e2e
def test_a_record_asks_for_no_field_that_the_service_does_not_promise(schemas: dict[str, Any]) -> None:
    for record in set(RECORDS.values()):
        promised = {field for name, kind in RECORDS.items() if kind is record for field in schemas[name]["required"]}
        required = {field.name for field in dataclasses.fields(record) if field.default is dataclasses.MISSING}
        assert required <= promised, record


@pytest.mark.e2e
@pytest.mark.parametrize("name", READ_AS_THEY_ARE)
def test_fields_read_as_they_are_are_promised(schemas: dict[str, Any], name: str) -> None:
    assert READ_AS_THEY_ARE[name] <= set(schemas[name]["required"])


@pytest.mark.e2e
def test_every_problem_of_every_endpoint_has_a_class(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").raise_for_status().json()
    statuses = {
        int(status)
        for path in document["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
        if status.isdecimal() and int(status) >= 400
    }
    assert statuses
    assert statuses <= PROBLEM_CLASSES.keys()


@pytest.mark.parametrize("error", PROBLEMS, ids=lambda error: error.__name__)
def test_every_problem_of_the_table_arrives_whole(error: type[LinnetError]) -> None:
    problem, answer = PROBLEMS[error], problem_answer(build(error))
    client = Client("http://host", transport=httpx.MockTransport(lambda _: answer), retries=0)
    with pytest.raises(Problem) as caught:
        client.predict(b"image")
    assert type(caught.value) is PROBLEM_CLASSES[problem.status]
    assert (caught.value.status_code, caught.value.code) == (problem.status, problem.code)
    assert (caught.value.request_id, caught.value.detail) == ("some-id", str(build(error)))
    asked_s = answer.headers.get("Retry-After")
    assert caught.value.retry_after_s == (float(asked_s) if asked_s else None)


def test_every_status_has_a_class_of_its_own_that_is_public() -> None:
    assert len(set(PROBLEM_CLASSES.values())) == len(PROBLEM_CLASSES)
    for status, kind in PROBLEM_CLASSES.items():
        assert getattr(linnet_client, kind.__name__) is kind
        assert (kind.__doc__ or "").startswith(f"{status}: ")
