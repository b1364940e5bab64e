"""The model repository's extension of the Open Inference Protocol: index, load and unload.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from linnet.bundle import first_problem
from service.errors import MalformedRequest
from service.peers import Change
from service.routes import service_of
from service.uploads import declared_bytes, read_all
from service.v2 import openapi
from service.v2.schemas import IndexEntry, IndexRequest

MAX_BODY_BYTES = 1024 * 1024  # parsed on the event loop

router = APIRouter(prefix="/v2/repository", tags=["Open Inference Protocol"])


@router.post(
    "/index",
    responses=openapi.error_responses(400, 401, 503),
    openapi_extra=openapi.INDEX,
    summary="List the model repository",
)
async def post_index(request: Request) -> list[IndexEntry]:
    """Return every version of every model with its state; with `ready` only those that answer."""
    service = service_of(request)
    wanted = _index_request(await _small_body(request))
    repository = service.repository
    entries = [
        IndexEntry(name=model.name, version=str(model.version), state="READY", reason="") for model in repository.models
    ]
    if not wanted.ready:
        entries += [
            IndexEntry(name=entry.name, version=str(entry.version), state="UNAVAILABLE", reason=entry.reason)
            for entry in repository.absent
        ]
    return sorted(entries, key=lambda entry: (entry.name, int(entry.version)))


def _index_request(body: bytes) -> IndexRequest:
    try:
        return IndexRequest.model_validate(_object(body))
    except ValidationError as error:
        raise MalformedRequest(first_problem(error)[:200]) from error


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the body is, empty where there is none; raises `MalformedRequest`."""
    try:
        found = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the JSON is damaged: {str(error)[:80]}") from error
    if not isinstance(found, dict):
        raise MalformedRequest("the body is not a JSON object")
    return found


_CHANGE_RESPONSES = openapi.error_responses(400, 401, 403, 404, 422, 500, 503)


@router.post(
    "/models/{name}/load",
    responses=_CHANGE_RESPONSES,
    openapi_extra=openapi.CHANGE,
    summary="Load a model or load it anew",
)
async def post_load(request: Request, name: str) -> Response:
    """Load every version of a model from its files; what served before serves until the new one answers, or goes on."""
    return await _change(request, Change("load", name))


@router.post(
    "/models/{name}/unload",
    responses=_CHANGE_RESPONSES,
    openapi_extra=openapi.CHANGE,
    summary="Unload a model",
)
async def post_unload(request: Request, name: str) -> Response:
    """Let every version of a model go when its requests are answered, and return its memory."""
    return await _change(request, Change("unload", name))


async def _change(request: Request, change: Change) -> Response:
    service = service_of(request)
    service.keys.check_admin(request.headers)
    _object(await _small_body(request))
    await service.change(change)
    return Response(b"{}", media_type="application/json")


async def _small_body(request: Request) -> bytes:
    service = service_of(request)
    limits = replace(service.limits, max_bytes=min(MAX_BODY_BYTES, service.limits.max_bytes))
    with service.admission.admit(declared_bytes(request.headers, limits)) as hold:
        return await read_all(request.headers, request.receive, hold, limits)
