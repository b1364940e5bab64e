"""What FastAPI cannot see by itself: the three forms of a request's body.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

from service.multipart import PART_NAME
from service.readers import PredictRequest

_ONE_IMAGE = {"schema": {"type": "string", "format": "binary"}}

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
