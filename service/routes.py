"""The endpoints of the project's own API: each translates HTTP to a call and the result to JSON.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from linnet.errors import ImageError
from service import present
from service.admission import Hold
from service.answering import accounted, deadline, use, while_connected
from service.body import Upload
from service.lifecycle import Service
from service.openapi import PREDICT_BODY, PREDICT_PARAMETERS
from service.prediction import Result, predict, rank_all, tally
from service.problems import openapi_responses, respond
from service.query import predict_query
from service.repository import Model
from service.schemas import ModelsBody, PredictBody, StatusBody
from service.scrape import exposition
from service.uploads import declared_bytes, read_uploads
from service.urls import images_of

router = APIRouter()


def service_of(request: Request) -> Service:
    """Return the parts of the application that the request came to."""
    return cast(Service, request.app.state.service)


@router.post(
    "/predict",
    response_model=PredictBody,
    responses=openapi_responses(400, 401, 403, 404, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": PREDICT_BODY, "parameters": PREDICT_PARAMETERS},
    tags=["predict"],
    summary="Classify one or many images",
)
async def post_predict(request: Request) -> Response:
    """Return the classes of every image, in the order sent.

    In a request of several images one that cannot be read has an `error` in its place.
    """
    service, exchange = service_of(request), request.state.exchange
    async with deadline(request.headers, service.settings.timeout_ms):
        query = predict_query(request.query_params)
        model = service.repository.resolve(query.model, query.version)
        with use(model, exchange), service.admission.admit(declared_bytes(request.headers, service.limits)) as hold:
            uploads = await read_uploads(request.headers, request.receive, hold, service.limits, service.pool)
            exchange.body_bytes = hold.bytes
            with accounted(model, exchange, len(uploads)):
                work = _answer(uploads, model, service, hold)
                results = await while_connected(exchange, work)
    exchange.timing_ms = present.timing_ms(results)
    said = rank_all(model, results, query.top_k)
    tally(model, results, said)
    if len(said) == 1 and isinstance(said[0], ImageError):
        return respond(said[0], exchange)
    filenames = [upload.filename for upload in uploads]
    body = present.predict_body(model, exchange, filenames, said)
    return Response(body, media_type="application/json")


async def _answer(uploads: Sequence[Upload], model: Model, service: Service, hold: Hold) -> list[Result]:
    return await predict(await images_of(uploads, service.fetcher, hold), model, service.decoder)


@router.get("/models", responses=openapi_responses(401, 503), tags=["models"], summary="List the models")
async def get_models(request: Request) -> ModelsBody:
    """Return every version of every model, with the metrics measured on the very file in use."""
    return ModelsBody(models=present.model_bodies(service_of(request).repository))


@router.get("/models/{name}", responses=openapi_responses(401, 404, 503), tags=["models"], summary="List one model")
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
    """Answer 200 when every expected model is loaded, warm and has answered; 503 before, and while shutting down."""
    service_of(request).check_ready()
    return StatusBody(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
    tags=["probes"],
    summary="What has been counted and measured",
)
async def get_metrics(request: Request) -> Response:
    """Return every metric in the text format of Prometheus; with several workers their sum."""
    return Response(exposition(service_of(request)), media_type=CONTENT_TYPE_LATEST)
