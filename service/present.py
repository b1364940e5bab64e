"""From results to the JSON of `service.schemas`.

Must not import a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from linnet.bundle import Manifest
from linnet.errors import ImageError
from service.errors import UnknownModel
from service.exchange import Exchange
from service.explanation import Explanation
from service.prediction import Result, Top, slowest_ms
from service.problems import code_of
from service.repository import Absent, Model, Repository
from service.schemas import MetricsBody, ModelBody


def predict_body(
    model: Model, exchange: Exchange, filenames: Sequence[str | None], results: Sequence[Result], found: Sequence[Top]
) -> bytes:
    """Return the answer of POST /predict as JSON; `service.schemas.PredictBody` describes it."""
    return orjson.dumps(
        {
            "model": model.name,
            "version": str(model.version),
            "variant": model.variant.precision,
            "request_id": exchange.request_id,
            "predictions": [
                prediction(model.manifest, filename, result.answer)
                if isinstance(result.answer, ImageError)
                else prediction(
                    model.manifest, filename, best, uncertain=model.variant.is_uncertain(result.answer.uncertainty)
                )
                for filename, result, best in zip(filenames, results, found, strict=True)
            ],
            "timing_ms": {stage: round(ms, 3) for stage, ms in exchange.timing_ms.items()},
        }
    )


def prediction(
    manifest: Manifest, filename: str | None, answer: Top | ImageError, *, uncertain: bool = False
) -> dict[str, Any]:
    """Return what is said of one image, by its most probable classes or by the error that kept it from having any.

    `service.schemas.Prediction` and `FailedPrediction` describe it.
    """
    if isinstance(answer, ImageError):
        return {"filename": filename, "error": {"code": code_of(answer), "detail": str(answer)}}
    scores = [{"label": manifest.classes[index], "probability": probability} for index, probability in answer]
    label, confidence = scores[0].values()
    return {"filename": filename, "label": label, "confidence": confidence, "uncertain": uncertain, "top": scores}


def timing_ms(results: Sequence[Result]) -> dict[str, float]:
    """Return the milliseconds of the slowest image in each stage."""
    answers = [result.answer for result in results if not isinstance(result.answer, ImageError)]
    return {"decode": max(result.decode_ms for result in results), **slowest_ms(answers)}


def explain_body(model: Model, exchange: Exchange, found: Explanation) -> bytes:
    """Return the answer of POST /explain as JSON; `service.schemas.ExplainBody` describes it."""
    return orjson.dumps(
        {
            "model": model.name,
            "version": str(model.version),
            "variant": model.variant.precision,
            "request_id": exchange.request_id,
            "label": found.label,
            "probability": round(found.probability, 6),
            "method": found.method,
            "grid": [[round(float(value), 4) for value in row] for row in found.grid],
            "timing_ms": {stage: round(ms, 3) for stage, ms in found.timing_ms.items()},
        }
    )


def model_bodies(repository: Repository, name: str | None = None) -> list[ModelBody]:
    """Return the entries of GET /models, of one name or all; raises `UnknownModel` for a name that is not there."""
    entries = [_ready(model, is_default=model is repository.default) for model in repository.models]
    entries += [_absent(entry) for entry in repository.absent]
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
        fallback=model.fallback,
        provider=model.provider,
        metrics=MetricsBody(**model.variant.metrics.model_dump()),
    )


def _absent(entry: Absent) -> ModelBody:
    return ModelBody(
        name=entry.name,
        version=str(entry.version),
        default=False,
        state=entry.state,
        classes=None,
        input_size=None,
        variant=None,
        fallback=None,
        provider=None,
        metrics=None,
    )
