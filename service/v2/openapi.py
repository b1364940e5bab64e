"""What FastAPI cannot see by itself of the protocol's endpoints: bodies that are read by hand, and errors.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from service.openapi import TIMEOUT_PARAMETER
from service.problems import PROBLEMS
from service.v2.schemas import ErrorBody, IndexRequest, InferRequest

_BINARY = {"schema": {"type": "string", "format": "binary"}}
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema without `$defs`, each reference replaced by what it refers to."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[part["$ref"].rpartition("/")[2]])
            return {key: resolved(value) for key, value in part.items()}
        return [resolved(item) for item in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = resolved(schema)
    return inlined


INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _inlined(InferRequest.model_json_schema())},
            "application/octet-stream": _BINARY,
        },
    },
    "parameters": [
        {
            "name": JSON_LENGTH_HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
            "description": "bytes of JSON at the beginning of the body; tensors in binary follow them",
        },
        TIMEOUT_PARAMETER,
    ],
}
INFER_ANSWER: dict[str, Any] = {
    "description": "The outputs: in JSON, or in binary behind the JSON where the request asks for that",
    "content": {"application/octet-stream": _BINARY},
    "headers": {
        JSON_LENGTH_HEADER: {
            "description": "bytes of JSON before the tensors, where they are binary",
            "schema": {"type": "integer", "minimum": 0},
        }
    },
}
INDEX: dict[str, Any] = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": IndexRequest.model_json_schema()}}}
}
CHANGE: dict[str, Any] = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}}
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that can fail with these statuses."""
    titles: dict[int, list[str]] = defaultdict(list)
    for problem in PROBLEMS.values():
        titles[problem.status].append(problem.title)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": "; ".join(titles[status])} for status in statuses
    }
    return {**responses, "default": {"model": ErrorBody, "description": "Any other error, in the same format"}}
