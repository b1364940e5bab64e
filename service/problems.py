"""One table from errors to HTTP: the answers, the OpenAPI document and the documentation come from it.

Problems follow RFC 9457 (`application/problem+json`). Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from linnet.errors import ImageTooLarge, LinnetError, UnreadableImage, UnsupportedImage
from service import errors
from service.schemas import ProblemBody

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """What one class of error is called in HTTP."""

    status: int
    code: str
    title: str


PROBLEMS: dict[type[LinnetError], Problem] = {
    errors.MalformedRequest: Problem(400, "malformed_request", "Malformed request"),
    errors.UnknownPath: Problem(404, "unknown_path", "Unknown path"),
    errors.UnknownModel: Problem(404, "unknown_model", "Unknown model"),
    errors.UnknownVersion: Problem(404, "unknown_version", "Unknown version of the model"),
    errors.MethodNotAllowed: Problem(405, "method_not_allowed", "Method not allowed"),
    errors.SlowBody: Problem(408, "slow_body", "Body too slow"),
    errors.BodyTooLarge: Problem(413, "body_too_large", "Body too large"),
    errors.TooManyImages: Problem(413, "too_many_images", "Too many images"),
    ImageTooLarge: Problem(413, "image_too_large", "Image with too many pixels"),
    errors.UnsupportedMediaType: Problem(415, "unsupported_media_type", "Unsupported media type"),
    errors.UnsupportedEncoding: Problem(415, "unsupported_encoding", "Unsupported content encoding"),
    UnsupportedImage: Problem(415, "unsupported_image", "Not an image of an accepted format"),
    UnreadableImage: Problem(422, "unreadable_image", "Unreadable image"),
    errors.EngineFailed: Problem(500, "engine_failed", "Engine failure"),
    errors.InternalError: Problem(500, "internal_error", "Internal error"),
    errors.Overloaded: Problem(503, "overloaded", "Overloaded"),
    errors.NotReady: Problem(503, "not_ready", "Not ready"),
    errors.ModelUnavailable: Problem(503, "model_unavailable", "Model not loaded"),
    errors.DeadlineExceeded: Problem(504, "deadline_exceeded", "Deadline exceeded"),
}

# A model that was refused stays so until its operator acts.
MODEL_UNAVAILABLE_RETRY_S = 60


def respond(error: LinnetError, request_id: str, headers: dict[str, str] | None = None) -> Response:
    """Return the answer to a request that failed with `error`; an error without a place in the table is a 500."""
    known = error if type(error) in PROBLEMS else errors.InternalError()
    problem = PROBLEMS[type(known)]
    body = ProblemBody(
        type=f"urn:linnet:problem:{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=str(known),
        code=problem.code,
        request_id=request_id,
    )
    return Response(
        body.model_dump_json(), problem.status, {**_headers(known), **(headers or {})}, media_type=MEDIA_TYPE
    )


def _headers(error: LinnetError) -> dict[str, str]:
    if isinstance(error, errors.RetryLater):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.ModelUnavailable):
        return {"Retry-After": str(MODEL_UNAVAILABLE_RETRY_S)}
    # The rest of a slow body would be waited for as long as the connection lives.
    return {"Connection": "close"} if isinstance(error, errors.SlowBody) else {}


def openapi_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that can answer with the problems of these statuses."""
    by_status: dict[int, list[Problem]] = defaultdict(list)
    for problem in PROBLEMS.values():
        by_status[problem.status].append(problem)
    responses: dict[int | str, dict[str, Any]] = {
        status: _openapi_response("; ".join(p.title for p in by_status[status]), [p.code for p in by_status[status]])
        for status in statuses
    }
    every_code = [problem.code for problem in PROBLEMS.values()]
    return {**responses, "default": _openapi_response("Any other problem, in the same format", every_code)}


def _openapi_response(description: str, codes: list[str]) -> dict[str, Any]:
    codes_schema = {"type": "object", "properties": {"code": {"enum": codes}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/ProblemBody"}, codes_schema]}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
