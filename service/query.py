"""The query of POST /predict, read by hand: it is one of the two things that every request on the hot path pays for.

Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import MalformedRequest

DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class PredictQuery:
    """Which model is asked, and how many classes are returned per image."""

    model: str | None = None
    version: str | None = None
    top_k: int = DEFAULT_TOP_K


_DEFAULT = PredictQuery()


def predict_query(parameters: Mapping[str, str]) -> PredictQuery:
    """Return what the query asks for; raises `MalformedRequest`. Unknown parameters are passed over."""
    if not parameters:
        return _DEFAULT
    return PredictQuery(
        parameters.get("model"), parameters.get("version"), _top_k(parameters.get("top_k", str(DEFAULT_TOP_K)))
    )


def _top_k(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) >= 1):
        raise MalformedRequest("query top_k: it is not a whole number from 1")
    return int(text)
