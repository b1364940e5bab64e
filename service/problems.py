"""One table from errors to HTTP: the answers, the OpenAPI document and the documentation come from it.

Problems follow RFC 9457 (`application/problem+json`). Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from linnet.errors import ImageTooLarge, LinnetError, UnreadableImage, UnsupportedImage
from service import errors
from service.exchange import Exchange
from service.schemas import ProblemBody
from service.v2 import errors as v2

MEDIA_TYPE = "application/problem+json"
PROTOCOL_PREFIX = "/v2"  # what lies under it is the Open Inference Protocol's


@dataclass(frozen=True)
class Problem:
    """What one class of error is called in HTTP."""

    status: int
    code: str
    title: str


PROBLEMS: dict[type[LinnetError], Problem] = {
    errors.MalformedRequest: Problem(400, "malformed_request", "Malformed request"),
    errors.InvalidHttp: Problem(400, "invalid_http", "Not HTTP"),
    errors.UnknownClass: Problem(400, "unknown_class", "Unknown class of the model"),
    errors.KeyRefused: Problem(401, "key_refused", "API key missing or unknown"),
    errors.AdminKeyNeeded: Problem(403, "admin_key_needed", "Admin key needed"),
    errors.ManagementOff: Problem(403, "management_off", "Management is off"),
    errors.UrlsOff: Problem(403, "urls_off", "Images by URL are off"),
    errors.UnknownPath: Problem(404, "unknown_path", "Unknown path"),
    v2.InvalidTensor: Problem(400, "invalid_tensor", "Invalid inference request"),
    v2.UnknownOutput: Problem(400, "unknown_output", "Unknown output of the model"),
    errors.UnknownModel: Problem(404, "unknown_model", "Unknown model"),
    errors.ModelUnloaded: Problem(404, "model_unloaded", "Model unloaded"),
    errors.UnknownVersion: Problem(404, "unknown_version", "Unknown version of the model"),
    errors.MethodNotAllowed: Problem(405, "method_not_allowed", "Method not allowed"),
    errors.SlowBody: Problem(408, "slow_body", "Body too slow"),
    errors.BodyTooLarge: Problem(413, "body_too_large", "Body too large"),
    v2.TensorTextTooLarge: Problem(413, "tensor_text_too_large", "Tensor too large for JSON"),
    errors.TooManyImages: Problem(413, "too_many_images", "Too many images"),
    ImageTooLarge: Problem(413, "image_too_large", "Image with too many pixels"),
    errors.UnsupportedMediaType: Problem(415, "unsupported_media_type", "Unsupported media type"),
    errors.UnsupportedEncoding: Problem(415, "unsupported_encoding", "Unsupported content encoding"),
    UnsupportedImage: Problem(415, "unsupported_image", "Not an image of an accepted format"),
    UnreadableImage: Problem(422, "unreadable_image", "Unreadable image"),
    errors.UrlRefused: Problem(422, "url_refused", "URL refused"),
    errors.UrlFailed: Problem(422, "url_failed", "Image not fetched"),
    errors.LoadFailed: Problem(422, "load_failed", "Bundle refused"),
    errors.PeerFailed: Problem(500, "peer_failed", "Change not carried out by every worker"),
    errors.EngineFailed: Problem(500, "engine_failed", "Engine failure"),
    errors.InternalError: Problem(500, "internal_error", "Internal error"),
    errors.Overloaded: Problem(503, "overloaded", "Overloaded"),
    errors.NotReady: Problem(503, "not_ready", "Not ready"),
    errors.ModelUnavailable: Problem(503, "model_unavailable", "Bundle refused at loading"),
    errors.DeadlineExceeded: Problem(504, "deadline_exceeded", "Deadline exceeded"),
}

# A model that was refused stays so until its operator acts.
MODEL_UNAVAILABLE_RETRY_S = 60


def respond(error: LinnetError, exchange: Exchange, headers: dict[str, str] | None = None) -> Response:
    """Return the answer to a request that failed with `error`; an error without a place in the table is a 500.

    Under /v2 it is the error object of the Open Inference Protocol.
    """
    known = error if type(error) in PROBLEMS else errors.InternalError()
    problem = PROBLEMS[type(known)]
    exchange.code = problem.code
    headers = {**_headers(known), **(headers or {})}
    if exchange.path.startswith(PROTOCOL_PREFIX):
        return Response(orjson.dumps({"error": str(known)}), problem.status, headers, media_type="application/json")
    return Response(problem_json(problem, str(known), exchange.request_id), problem.status, headers, MEDIA_TYPE)


def problem_json(problem: Problem, detail: str, request_id: str) -> bytes:
    """Return the body of RFC 9457."""
    body = ProblemBody(
        type=f"urn:linnet:problem:{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=detail,
        code=problem.code,
        request_id=request_id,
    )
    return body.model_dump_json().encode()


def code_of(error: LinnetError) -> str:
    """Return the stable name of an error."""
    return PROBLEMS[type(error) if type(error) in PROBLEMS else errors.InternalError].code


def _headers(error: LinnetError) -> dict[str, str]:
    if isinstance(error, errors.RetryLater):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.ModelUnavailable):
        return {"Retry-After": str(MODEL_UNAVAILABLE_RETRY_S)}
    if isinstance(error, errors.KeyRefused):
        return {"WWW-Authenticate": "Bearer"}
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
