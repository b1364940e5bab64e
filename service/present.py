"""From results to the JSON of `service.schemas`.

Must not import a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from linnet.errors import ImageError
from linnet.manifest import Manifest
from service.errors import UnknownModel
from service.exchange import Exchange
from service.explanation import Explanation
from service.prediction import Ranking, Result, slowest_ms
from service.problems import code_of
from service.repository import Absent, Model, Repository
from service.schemas import MetricsBody, ModelBody


def predict_body(
    model: Model, exchange: Exchange, filenames: Sequence[str | None], said: Sequence[Ranking | ImageError]
) -> bytes:
    """Return the answer of POST /predict as JSON; `service.schemas.PredictBody` describes it."""
    return orjson.dumps(
        {
            **_who_answers(model, exchange),
            "predictions": [
                prediction(model.manifest, filename, one) for filename, one in zip(filenames, said, strict=True)
            ],
            "timing_ms": {stage: round(ms, 3) for stage, ms in exchange.timing_ms.items()},
        }
    )


def prediction(manifest: Manifest, filename: str | None, said: Ranking | ImageError) -> dict[str, Any]:
    """Return what is said of one image, by its most probable classes or by the error that kept it from having any.

    `service.schemas.Prediction` and `FailedPrediction` describe it.
    """
    if isinstance(said, ImageError):
        return {"filename": filename, "error": {"code": code_of(said), "detail": str(said)}}
    scores = [{"label": manifest.classes[index], "probability": probability} for index, probability in said.top]
    label, confidence = scores[0].values()
    return {"filename": filename, "label": label, "confidence": confidence, "uncertain": said.uncertain, "top": scores}


def _who_answers(model: Model, exchange: Exchange) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": str(model.version),
        "variant": model.variant.precision,
        "request_id": exchange.request_id,
    }


def timing_ms(results: Sequence[Result]) -> dict[str, float]:
    """Return the milliseconds of the slowest image in each stage."""
    answers = [result.answer for result in results if not isinstance(result.answer, ImageError)]
    return {"decode": max(result.decode_ms for result in results), **slowest_ms(answers)}


def explain_body(model: Model, exchange: Exchange, found: Explanation) -> bytes:
    """Return the answer of POST /explain as JSON; `service.schemas.ExplainBody` describes it."""
    return orjson.dumps(
        {
            **_who_answers(model, exchange),
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
