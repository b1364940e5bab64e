"""Answers as the service words them, for tests in which the network or the service must fail at will."""

from __future__ import annotations

import httpx

from linnet.errors import LinnetError
from service.exchange import Exchange
from service.multipart import MultipartReader, boundary_of
from service.problems import respond
from service.schemas import PredictBody, Prediction, Score, TimingMs


def images_of(request: httpx.Request) -> list[bytes]:
    """Return the images that a request to `POST /predict` carries."""
    media_type = request.headers["content-type"]
    if not media_type.startswith("multipart/"):
        return [request.content]
    reader = MultipartReader(boundary_of(media_type), max_images=64)
    reader.feed(request.content)
    return [upload.data for upload in reader.finish()]


def prediction_answer(*labels: str) -> httpx.Response:
    """Return an answer to `POST /predict` with as many images as there are labels, or with one."""
    labels = labels or ("red",)
    body = PredictBody(
        model="colours",
        version="1",
        variant="fp32",
        request_id="some-id",
        predictions=[
            Prediction(
                filename=None,
                label=label,
                confidence=0.9,
                uncertain=False,
                top=[Score(label=label, probability=0.9)],
            )
            for label in labels
        ],
        timing_ms=TimingMs(decode=1.0, queue=0.5, inference=2.0),
    )
    return httpx.Response(200, content=body.model_dump_json(), headers={"Content-Type": "application/json"})


def problem_answer(error: LinnetError) -> httpx.Response:
    """Return what the service answers when it meets `error`."""
    answer = respond(error, Exchange("some-id", "POST", "/predict"))
    return httpx.Response(answer.status_code, content=bytes(answer.body), headers=dict(answer.headers))


def labelled(request: httpx.Request) -> httpx.Response:
    """Answer each image with its own bytes as the label."""
    return prediction_answer(*(image.decode() for image in images_of(request)))
