"""The endpoints of the Open Inference Protocol: health, metadata and inference.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from linnet import __version__
from service.answering import accounted, deadline, use, while_connected
from service.batcher import Answer
from service.errors import TooManyImages
from service.prediction import answer_pixels, slowest_ms, tally_pixels
from service.repository import Model
from service.routes import service_of
from service.uploads import declared_bytes, read_all
from service.v2 import openapi
from service.v2.errors import InvalidTensor
from service.v2.schemas import (
    InferBody,
    LiveBody,
    ModelBody,
    ModelReadyBody,
    ReadyBody,
    ServerBody,
    TensorBody,
)
from service.v2.tensors import DATATYPES, Question, read_question, write_answer

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


_MODEL_RESPONSES = openapi.error_responses(401, 404, 503)


@router.get("/models/{name}/ready", responses=_MODEL_RESPONSES, summary="Is the model ready?")
@router.get(
    "/models/{name}/versions/{version}/ready",
    responses=_MODEL_RESPONSES,
    summary="Is that version ready?",
)
async def get_model_ready(request: Request, name: str, version: str | None = None) -> ModelReadyBody:
    """Answer 200 when the model (in that version) answers requests."""
    model = service_of(request).repository.resolve(name, version)
    return ModelReadyBody(name=model.name, ready=True)


@router.get("/models/{name}", responses=_MODEL_RESPONSES, summary="What the model takes")
@router.get(
    "/models/{name}/versions/{version}",
    responses=_MODEL_RESPONSES,
    summary="What that version takes",
)
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


_INFER_RESPONSES = {
    200: openapi.INFER_ANSWER,
    **openapi.error_responses(400, 401, 404, 408, 413, 415, 500, 503, 504),
}


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
    summary="Answer tensors with that version",
)
async def post_infer_of_version(request: Request, name: str, version: str) -> Response:
    """Return the outputs of one version for images that are already the network's input."""
    return await _infer(request, name, version)


async def _infer(request: Request, name: str, version: str | None) -> Response:
    service, exchange = service_of(request), request.state.exchange
    async with deadline(request.headers, service.settings.timeout_ms):
        model = service.repository.resolve(name, version)
        with use(model, exchange), service.admission.admit(declared_bytes(request.headers, service.limits)) as hold:
            body = await read_all(request.headers, request.receive, hold, service.limits)
            exchange.body_bytes = len(body)
            question = await asyncio.to_thread(read_question, body, _json_bytes(request), model.manifest)
            count = len(question.images)
            if count > service.limits.max_images:
                raise TooManyImages(service.limits.max_images)
            hold.add_images(count - 1)
            with accounted(model, exchange, count):
                answers = await while_connected(exchange, answer_pixels(question.images, model))
    exchange.timing_ms = slowest_ms(answers)
    tally_pixels(model, answers)
    return _answer(model, question, answers)


def _answer(model: Model, question: Question, answers: Sequence[Answer]) -> Response:
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
