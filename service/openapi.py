"""What FastAPI cannot see by itself: the three forms of a request's body, keys, and problems.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

from service.answering import TIMEOUT_HEADER
from service.gate import OPEN_PATHS
from service.multipart import PART_NAME
from service.query import DEFAULT_TOP_K
from service.readers import PredictRequest
from service.schemas import ProblemBody

_ONE_IMAGE = {"schema": {"type": "string", "format": "binary"}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [PART_NAME],
                "properties": {PART_NAME: {"type": "array", "items": {"type": "string", "format": "binary"}}},
            },
            "encoding": {PART_NAME: {"contentType": "image/*"}},
        },
        "image/*": _ONE_IMAGE,
        "application/octet-stream": _ONE_IMAGE,
        "application/json": {"schema": PredictRequest.model_json_schema()},
    },
}

TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "description": "give up after so many milliseconds, where that is less than the service's own limit",
}

PREDICT_PARAMETERS: list[dict[str, Any]] = [
    _query("model", {"type": "string"}, "name; the default model where it is left out"),
    _query("version", {"type": "string"}, "the highest that is served where it is left out"),
    _query(
        "top_k", {"type": "integer", "minimum": 1, "default": DEFAULT_TOP_K}, "classes to return, most probable first"
    ),
    TIMEOUT_PARAMETER,
]

KEY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(openapi: dict[str, Any], *, keys_are_needed: bool) -> None:
    """Complete the OpenAPI document in place: the problems' schema, and which operations need which key."""
    openapi["components"]["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
    openapi["components"]["securitySchemes"] = KEY_SCHEMES
    needed: list[dict[str, Any]] = [{name: []} for name in KEY_SCHEMES]
    for path, operations in openapi["paths"].items():
        is_open = path in OPEN_PATHS or not (keys_are_needed or path.endswith(("/load", "/unload")))
        for operation in operations.values():
            operation["security"] = [] if is_open else needed
