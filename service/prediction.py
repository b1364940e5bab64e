"""The path of a request's images, whatever protocol they came by: decode, batch, rank.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet.errors import ImageError
from linnet.manifest import Variant
from linnet.session import Outputs
from service.batcher import Answer, Outcome
from service.decoder import Decoder
from service.engine import Image, NotHere
from service.errors import EngineFailed, detached
from service.problems import code_of
from service.repository import Model


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is said of one image."""

    top: list[tuple[int, float]]  # class and its probability, most probable first; at least one
    uncertain: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One image's way through the service."""

    answer: Answer | ImageError
    decode_ms: float


async def predict(images: Sequence[bytes | ImageError], model: Model, decoder: Decoder) -> list[Result]:
    """Answer every image, in order; one that cannot be read or was not to be had has its `ImageError` as the answer.

    Small images are decoded by the lane that asks the network, all others on the pool of the decoder first. Raises
    `EngineFailed` where the network failed on any of them. Cancelling it abandons all of them.
    """
    small = [data for data in images if isinstance(data, bytes) and len(data) <= model.decodes_bytes]
    if len(small) == len(images):
        return await _predict_small(small, model, decoder)
    return await _all_of(*(_predict_one(data, model, decoder) for data in images))


async def _predict_small(images: Sequence[bytes], model: Model, decoder: Decoder) -> list[Result]:
    outcomes = await model.batcher.answer(images)
    if not any(isinstance(outcome, NotHere) for outcome in outcomes):
        return [_result(outcome) for outcome in outcomes]

    async def rest(data: bytes, outcome: Outcome) -> Result:
        return await _predict_large(data, model, decoder) if isinstance(outcome, NotHere) else _result(outcome)

    return await _all_of(*(rest(data, outcome) for data, outcome in zip(images, outcomes, strict=True)))


async def _all_of(*parts: Coroutine[Any, Any, Result]) -> list[Result]:
    """Wait for all, whichever fails, so that none is left behind; then raise the first failure."""
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Result)]


async def _predict_one(data: bytes | ImageError, model: Model, decoder: Decoder) -> Result:
    if isinstance(data, ImageError):
        return Result(data, 0.0)
    if len(data) > model.decodes_bytes:
        return await _predict_large(data, model, decoder)
    (result,) = await _predict_small([data], model, decoder)
    return result


async def _predict_large(data: bytes, model: Model, decoder: Decoder) -> Result:
    begin_s = time.perf_counter()
    try:
        image = await decoder(data, model.manifest.preprocess)
    except ImageError as error:
        return Result(detached(error), (time.perf_counter() - begin_s) * 1000)
    decode_ms = (time.perf_counter() - begin_s) * 1000
    (answer,) = await answer_pixels([image], model)
    return Result(answer, decode_ms)


async def answer_pixels(images: Sequence[Image] | Image, model: Model) -> list[Answer]:  # N images [H, W, 3]
    """Answer images that come as the network's input; raises `EngineFailed` where the network failed on any of them."""
    results = [_result(outcome).answer for outcome in await model.batcher.answer(list(images))]
    return [answer for answer in results if isinstance(answer, Answer)]


def _result(outcome: Outcome) -> Result:
    if isinstance(outcome, Answer):
        return Result(outcome, outcome.decode_ms)
    if isinstance(outcome, ImageError):
        return Result(outcome, 0.0)
    raise EngineFailed


def tally(model: Model, results: Sequence[Result], said: Sequence[Ranking | ImageError]) -> None:
    """Put every image of an answered request into the metrics."""
    for result, ranking in zip(results, said, strict=True):
        if isinstance(ranking, ImageError):
            model.metrics.add_images([code_of(ranking)])
        else:
            assert isinstance(result.answer, Answer)  # what is ranked was answered
            _tally_one(model, result.answer, result.decode_ms, ranking)


def tally_pixels(model: Model, answers: Sequence[Answer]) -> None:
    """Put images that came as pixels into the metrics."""
    for answer in answers:
        _tally_one(model, answer, None, rank(model.variant, answer.outputs, answer.row, 1))


def _tally_one(model: Model, answer: Answer, decode_ms: float | None, ranking: Ranking) -> None:
    model.metrics.add_answer(answer.queue_ms, decode_ms)
    model.metrics.add_prediction(*ranking.top[0], uncertain=ranking.uncertain)


def slowest_ms(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the milliseconds of the slowest image in the stages from the batcher on."""
    return {
        "queue": max((answer.queue_ms for answer in answers), default=0.0),
        "inference": max((answer.inference_ms for answer in answers), default=0.0),
    }


def rank_all(model: Model, results: Sequence[Result], top_k: int) -> list[Ranking | ImageError]:
    """Return what is said of each image."""
    return [
        result.answer
        if isinstance(result.answer, ImageError)
        else rank(model.variant, result.answer.outputs, result.answer.row, top_k)
        for result in results
    ]


def rank(variant: Variant, outputs: Outputs, row: int, top_k: int) -> Ranking:
    """Return what a row of the outputs says: its `top_k` classes, or all where there are fewer; ties by index."""
    probabilities = outputs.probabilities[row]
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    top = [(int(index), round(float(probabilities[index]), 6)) for index in order]
    uncertainty = None if outputs.uncertainty is None else float(outputs.uncertainty[row])
    return Ranking(top, variant.is_uncertain(uncertainty))
