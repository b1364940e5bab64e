"""The endpoints: each translates HTTP to a call and the result to JSON, and decides nothing else.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from linnet.errors import ImageError
from service import present
from service.errors import DeadlineExceeded
from service.lifecycle import Service
from service.openapi import PREDICT_BODY
from service.prediction import predict
from service.problems import openapi_responses, respond
from service.schemas import ModelsBody, PredictBody, StatusBody
from service.uploads import declared_bytes, read_uploads

router = APIRouter()


def service_of(request: Request) -> Service:
    """Return the parts of the application that the request came to."""
    return cast(Service, request.app.state.service)


@router.post(
    "/predict",
    response_model=PredictBody,
    responses=openapi_responses(400, 404, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": PREDICT_BODY},
    tags=["predict"],
    summary="Classify one or many images",
)
async def post_predict(
    request: Request,
    model: Annotated[str | None, Query(description="name; the default model where it is left out")] = None,
    version: Annotated[str | None, Query(description="the highest that is served where it is left out")] = None,
    top_k: Annotated[int, Query(ge=1, description="classes to return, most probable first")] = 5,
) -> Response:
    """Return the classes of every image, in the order sent.

    In a request of several images one that cannot be read has an `error` in its place.
    """
    service = service_of(request)
    timeout_ms = service.settings.timeout_ms
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await _predict(request, service, model, version, top_k)
    except TimeoutError as error:
        raise DeadlineExceeded(timeout_ms) from error


async def _predict(request: Request, service: Service, name: str | None, version: str | None, top_k: int) -> Response:
    model = service.repository.resolve(name, version)
    with service.admission.admit(declared_bytes(request.headers, service.limits)) as hold:
        uploads = await read_uploads(request.headers, request.receive, hold, service.limits, service.pool)
        work = asyncio.create_task(predict([upload.data for upload in uploads], model, service.decoder))
        leaving = asyncio.create_task(_client_leaves(request))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect
            results = work.result()
        finally:
            work.cancel()
            leaving.cancel()
        request_id = request.state.request_id
        if len(results) == 1 and isinstance(results[0].answer, ImageError):
            return respond(results[0].answer, request_id)
        names = [upload.filename for upload in uploads]
        return Response(present.predict_body(model, request_id, names, results, top_k), media_type="application/json")


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/models", responses=openapi_responses(503), tags=["models"], summary="List the models")
async def get_models(request: Request) -> ModelsBody:
    """Return every version of every model, with the metrics measured on the very file in use."""
    return ModelsBody(models=present.model_bodies(service_of(request).repository))


@router.get("/models/{name}", responses=openapi_responses(404, 503), tags=["models"], summary="List one model")
async def get_model(request: Request, name: str) -> ModelsBody:
    """Return every version of one model."""
    repository = service_of(request).repository
    return ModelsBody(models=present.model_bodies(repository, name))


@router.get("/healthz", tags=["probes"], summary="Is the process alive?")
async def get_healthz() -> StatusBody:
    """Answer as long as the event loop runs; the models are not looked at."""
    return StatusBody(status="ok")


@router.get("/readyz", responses=openapi_responses(503), tags=["probes"], summary="May requests be sent here?")
async def get_readyz(request: Request) -> StatusBody:
    """Answer 200 when the default model is loaded, warm and has answered; 503 before, and while shutting down."""
    service_of(request).check_ready()
    return StatusBody(status="ready")
