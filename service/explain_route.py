"""POST /explain: a heat map as a picture or as numbers.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from linnet.errors import ImageError
from linnet.explain import overlay
from service import present
from service.answering import accounted, deadline, use, while_connected
from service.errors import TooManyImages
from service.explanation import Explanation, explain
from service.openapi import PREDICT_BODY, TIMEOUT_PARAMETER
from service.problems import openapi_responses
from service.routes import service_of
from service.schemas import ExplainBody
from service.uploads import declared_bytes, read_uploads
from service.urls import images_of

router = APIRouter()


@router.post(
    "/explain",
    response_model=ExplainBody,
    responses={
        **openapi_responses(400, 401, 403, 404, 408, 413, 415, 422, 500, 503, 504),
        200: {
            "description": "The map of one class",
            "headers": {
                "X-Linnet-Method": {"schema": {"enum": ["cam", "occlusion"]}, "description": "how it was made"}
            },
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
    openapi_extra={"requestBody": PREDICT_BODY, "parameters": [TIMEOUT_PARAMETER]},
    tags=["predict"],
    summary="Show where in an image the evidence lies",
)
async def post_explain(
    request: Request,
    label: Annotated[
        str | None, Query(alias="class", description="class to explain; the most probable where it is left out")
    ] = None,
    answer_format: Annotated[
        Literal["png", "json"], Query(alias="format", description="an overlay on the image, or a grid of numbers")
    ] = "png",
    model: Annotated[str | None, Query(description="name; the default model where it is left out")] = None,
    version: Annotated[str | None, Query(description="the highest that is served where it is left out")] = None,
) -> Response:
    """Return the heat map of one image for one class; the body is that of POST /predict with exactly one image."""
    service, exchange = service_of(request), request.state.exchange
    async with deadline(request.headers, service.settings.timeout_ms):
        asked = service.repository.resolve(model, version)
        with use(asked, exchange), service.admission.admit(declared_bytes(request.headers, service.limits)) as hold:
            uploads = await read_uploads(request.headers, request.receive, hold, service.limits, service.pool)
            exchange.body_bytes = hold.bytes
            if len(uploads) > 1:
                raise TooManyImages(1)
            with accounted(asked, exchange, 1):
                (image,) = await images_of(uploads, service.fetcher, hold)
                if isinstance(image, ImageError):
                    raise image
                found = await while_connected(exchange, explain(image, label, asked, service.decoder, hold))
                exchange.timing_ms = found.timing_ms
                headers = {"X-Linnet-Method": found.method}
                if answer_format == "json":
                    body, media_type = present.explain_body(asked, exchange, found), "application/json"
                else:
                    body, media_type = await asyncio.to_thread(_png, found), "image/png"
                asked.metrics.add_answer(found.queue_ms, found.timing_ms["decode"])
                return Response(body, headers=headers, media_type=media_type)


def _png(found: Explanation) -> bytes:
    buffer = io.BytesIO()
    overlay(found.pixels, found.grid).save(buffer, "PNG")
    return buffer.getvalue()
