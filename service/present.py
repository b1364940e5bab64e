"""From results to the JSON of `service.schemas`.

Must not import a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from linnet.bundle import Manifest
from linnet.errors import ImageError
from service.errors import UnknownModel
from service.prediction import Result, top
from service.problems import PROBLEMS
from service.repository import Model, Repository
from service.schemas import (
    FailedPrediction,
    ItemError,
    MetricsBody,
    ModelBody,
    PredictBody,
    Prediction,
    Score,
    TimingMs,
)


def predict_body(
    model: Model, request_id: str, filenames: Sequence[str | None], results: Sequence[Result], top_k: int
) -> str:
    """Return the answer of POST /predict as JSON."""
    body = PredictBody(
        model=model.name,
        version=str(model.version),
        variant=model.variant.precision,
        request_id=request_id,
        predictions=[
            prediction(model.manifest, filename, _said(result), top_k)
            for filename, result in zip(filenames, results, strict=True)
        ],
        timing_ms=_timing(results),
    )
    return body.model_dump_json()


def prediction(
    manifest: Manifest, filename: str | None, answer: npt.NDArray[np.float32] | ImageError, top_k: int
) -> Prediction | FailedPrediction:
    """Return what is said of one image: by its probabilities [K], or by the error that kept it from having any."""
    if isinstance(answer, ImageError):
        return FailedPrediction(
            filename=filename, error=ItemError(code=PROBLEMS[type(answer)].code, detail=str(answer))
        )
    scores = [
        Score(label=manifest.classes[index], probability=probability) for index, probability in top(answer, top_k)
    ]
    best = scores[0]
    return Prediction(filename=filename, label=best.label, confidence=best.probability, uncertain=False, top=scores)


def _said(result: Result) -> npt.NDArray[np.float32] | ImageError:
    return result.answer if isinstance(result.answer, ImageError) else result.answer.probabilities


def _timing(results: Sequence[Result]) -> TimingMs:
    answers = [result.answer for result in results if not isinstance(result.answer, ImageError)]
    return TimingMs(
        decode=round(max(result.decode_ms for result in results), 3),
        queue=round(max((answer.queue_ms for answer in answers), default=0.0), 3),
        inference=round(max((answer.inference_ms for answer in answers), default=0.0), 3),
    )


def model_bodies(repository: Repository, name: str | None = None) -> list[ModelBody]:
    """Return the entries of GET /models, of one name or all; raises `UnknownModel` for a name that is not there."""
    entries = [_ready(model, is_default=model is repository.default) for model in repository.models]
    entries += [_failed(entry.name, entry.version) for entry in repository.refused]
    found = [entry for entry in entries if name in (None, entry.name)]
    if name is not None and not found:
        raise UnknownModel(name, sorted(repository.names))
    return sorted(found, key=lambda entry: (entry.name, int(entry.version)))


def _ready(model: Model, *, is_default: bool) -> ModelBody:
    return ModelBody(
        name=model.name,
        version=str(model.version),
        default=is_default,
        state="ready",
        classes=list(model.manifest.classes),
        input_size=model.manifest.preprocess.size_px,
        variant=model.variant.precision,
        provider=model.provider,
        metrics=MetricsBody(**model.variant.metrics.model_dump()),
    )


def _failed(name: str, version: int) -> ModelBody:
    return ModelBody(
        name=name,
        version=str(version),
        default=False,
        state="failed",
        classes=None,
        input_size=None,
        variant=None,
        provider=None,
        metrics=None,
    )
