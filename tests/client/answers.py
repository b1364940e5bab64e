"""Answers as the service words them, for tests in which the network or the service must fail at will."""

from __future__ import annotations

import httpx

from linnet.errors import LinnetError
from service.exchange import Exchange
from service.problems import respond
from service.schemas import PredictBody, Prediction, Score, TimingMs


def prediction_answer(label: str = "red") -> httpx.Response:
    """Return an answer to `POST /predict` with one image."""
    scores = [Score(label=label, probability=0.9)]
    body = PredictBody(
        model="colours",
        version="1",
        variant="fp32",
        request_id="some-id",
        predictions=[Prediction(filename=None, label=label, confidence=0.9, uncertain=False, top=scores)],
        timing_ms=TimingMs(decode=1.0, queue=0.5, inference=2.0),
    )
    return httpx.Response(200, content=body.model_dump_json(), headers={"Content-Type": "application/json"})


def problem_answer(error: LinnetError) -> httpx.Response:
    """Return what the service answers when it meets `error`."""
    answer = respond(error, Exchange("some-id", "POST", "/predict"))
    return httpx.Response(answer.status_code, content=bytes(answer.body), headers=dict(answer.headers))
