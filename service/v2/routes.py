"""The endpoints of the Open Inference Protocol: health, metadata, inference, and the model repository's extension.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio

import numpy as np
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from linnet import __version__
from linnet.bundle import first_problem
from service.answering import accounted, deadline, use, while_connected
from service.errors import MalformedRequest, TooManyImages
from service.prediction import answer_pixels
from service.routes import service_of
from service.uploads import declared_bytes, read_all
from service.v2 import openapi
from service.v2.errors import InvalidTensor
from service.v2.schemas import (
    IndexEntry,
    IndexRequest,
    InferBody,
    LiveBody,
    ModelBody,
    ModelReadyBody,
    ReadyBody,
    ServerBody,
    TensorBody,
)
from service.v2.tensors import DATATYPES, read_question, write_answer

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]


@router.get("/health/live", summary="Is the process alive?")
async def get_live() -> LiveBody:
    """Answer as long as the event loop runs."""
    return LiveBody(live=True)


@router.get("/health/ready", responses=openapi.error_responses(503), summary="May requests be sent here?")
async def get_ready(request: Request) -> ReadyBody:
    """Answer 200 when every expected model is ready."""
    service_of(request).check_ready()
    return ReadyBody(ready=True)


@router.get("", responses=openapi.error_responses(401), summary="What the server is")
async def get_server() -> ServerBody:
    """Return name, version and the extensions of the protocol that are offered."""
    return ServerBody(name="linnet", version=__version__, extensions=EXTENSIONS)


@router.get("/models/{name}/ready", responses=openapi.error_responses(401, 404, 503), summary="Is the model ready?")
@router.get("/models/{name}/versions/{version}/ready", responses=openapi.error_responses(401, 404, 503))
async def get_model_ready(request: Request, name: str, version: str | None = None) -> ModelReadyBody:
    """Answer 200 when the model (in that version) answers requests."""
    model = service_of(request).repository.resolve(name, version)
    return ModelReadyBody(name=model.name, ready=True)


@router.get("/models/{name}", responses=openapi.error_responses(401, 404, 503), summary="What the model takes")
@router.get("/models/{name}/versions/{version}", responses=openapi.error_responses(401, 404, 503))
async def get_model(request: Request, name: str, version: str | None = None) -> ModelBody:
    """Return the model's input and outputs: raw pixels in, probabilities and more out."""
    repository = service_of(request).repository
    manifest = repository.resolve(name, version).manifest
    tensors = [
        TensorBody(name=tensor.name, datatype=DATATYPES[tensor.dtype], shape=list(tensor.shape))
        for tensor in (manifest.input, *manifest.outputs)
    ]
    return ModelBody(
        name=name,
        versions=repository.versions(name),
        platform="onnxruntime_onnx",
        inputs=tensors[:1],
        outputs=tensors[1:],
    )


_INFER_RESPONSES = openapi.error_responses(400, 401, 404, 408, 413, 415, 500, 503, 504)


@router.post(
    "/models/{name}/infer",
    response_model=InferBody,
    responses=_INFER_RESPONSES,
    openapi_extra=openapi.INFER,
    summary="Answer tensors",
)
async def post_infer(request: Request, name: str) -> Response:
    """Return the outputs for images that are already the network's input: uint8 [N, H, W, 3]."""
    return await _infer(request, name, None)


@router.post(
    "/models/{name}/versions/{version}/infer",
    response_model=InferBody,
    responses=_INFER_RESPONSES,
    openapi_extra=openapi.INFER,
    summary="Answer tensors",
)
async def post_infer_of_version(request: Request, name: str, version: str) -> Response:
    """Return the outputs of one version for images that are already the network's input."""
    return await _infer(request, name, version)


async def _infer(request: Request, name: str, version: str | None) -> Response:
    service, exchange = service_of(request), request.state.exchange
    limits = service.limits
    async with deadline(request.headers, service.settings.timeout_ms):
        model = service.repository.resolve(name, version)
        with use(model, exchange), service.admission.admit(declared_bytes(request.headers, limits)) as hold:
            body = await read_all(request.headers, request.receive, hold, limits)
            exchange.body_bytes = len(body)
            outputs = [tensor.name for tensor in model.manifest.outputs]
            question = await asyncio.to_thread(
                read_question,
                body,
                _json_bytes(request),
                model.manifest.input.name,
                model.manifest.preprocess.size_px,
                outputs,
            )
            count = len(question.images)
            if count > limits.max_images:
                raise TooManyImages(limits.max_images)
            hold.add_images(count - 1)
            with accounted(model, exchange, count):
                answers = await while_connected(request.receive, answer_pixels(question.images, model))
    exchange.timing_ms = {
        "queue": max(answer.queue_ms for answer in answers),
        "inference": max(answer.inference_ms for answer in answers),
    }
    for answer in answers:
        best = int(answer.probabilities.argmax())
        model.metrics.add_answer(answer.queue_ms, None)
        uncertain = model.variant.is_uncertain(answer.uncertainty)
        model.metrics.add_prediction(best, float(answer.probabilities[best]), uncertain=uncertain)
    tensors = [
        np.stack([getattr(answer.outputs, wanted.name)[answer.row] for answer in answers])
        for wanted in question.outputs
    ]
    content, json_bytes = write_answer(model.name, str(model.version), question, tensors)
    if json_bytes is None:
        return Response(content, media_type="application/json")
    headers = {openapi.JSON_LENGTH_HEADER: str(json_bytes)}
    return Response(content, headers=headers, media_type="application/octet-stream")


def _json_bytes(request: Request) -> int | None:
    text = request.headers.get(openapi.JSON_LENGTH_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise InvalidTensor(f"{openapi.JSON_LENGTH_HEADER} is not a whole number")
    return int(text)


@router.post(
    "/repository/index",
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
        return IndexRequest.model_validate(orjson.loads(body)) if body.strip() else IndexRequest()
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the JSON is damaged: {str(error)[:80]}") from error
    except ValidationError as error:
        raise MalformedRequest(first_problem(error)[:200]) from error


_CHANGE_RESPONSES = openapi.error_responses(401, 403, 404, 422, 503)


@router.post(
    "/repository/models/{name}/load",
    responses=_CHANGE_RESPONSES,
    openapi_extra=openapi.CHANGE,
    summary="Load a model or load it anew",
)
async def post_load(request: Request, name: str) -> Response:
    """Load every version of a model from its files; what served before serves until the new one answers, or goes on."""
    service = service_of(request)
    service.keys.check_admin(request.headers)
    await _small_body(request)
    await service.catalogue.load(name)
    return Response(b"{}", media_type="application/json")


@router.post(
    "/repository/models/{name}/unload",
    responses=_CHANGE_RESPONSES,
    openapi_extra=openapi.CHANGE,
    summary="Unload a model",
)
async def post_unload(request: Request, name: str) -> Response:
    """Let every version of a model go when its requests are answered, and return its memory."""
    service = service_of(request)
    service.keys.check_admin(request.headers)
    await _small_body(request)
    await service.catalogue.unload(name)
    return Response(b"{}", media_type="application/json")


async def _small_body(request: Request) -> bytes:
    service = service_of(request)
    with service.admission.admit(declared_bytes(request.headers, service.limits)) as hold:
        return await read_all(request.headers, request.receive, hold, service.limits)
