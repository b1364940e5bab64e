"""The path of a request's images, whatever protocol they came by: decode, batch, rank.

Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.errors import ImageError
from linnet.manifest import Variant
from linnet.session import Outputs
from service.batcher import Answer
from service.decoder import Decoder
from service.problems import code_of
from service.repository import Model


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is said of one image."""

    top: list[tuple[int, float]]  # class and its probability, most probable first; at least one
    uncertain: bool


@dataclass(frozen=True)
class Result:
    """One image's way through the service."""

    answer: Answer | ImageError
    decode_ms: float


async def predict(images: Sequence[bytes | ImageError], model: Model, decoder: Decoder) -> list[Result]:
    """Answer every image, in order; one that cannot be read or was not to be had has its `ImageError` as the answer.

    Raises `EngineFailed` where the network failed on any of them. Cancelling it abandons all of them.
    """
    if len(images) == 1:
        return [await _predict_one(images[0], model, decoder)]
    results = await asyncio.gather(*(_predict_one(data, model, decoder) for data in images), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Result)]


async def _predict_one(data: bytes | ImageError, model: Model, decoder: Decoder) -> Result:
    if isinstance(data, ImageError):
        return Result(data, 0.0)
    begin_s = time.perf_counter()
    try:
        image = await decoder(data, model.manifest.preprocess)
    except ImageError as error:
        return Result(_detached(error), _since_ms(begin_s))
    decode_ms = _since_ms(begin_s)
    return Result(await model.batcher.answer(image), decode_ms)


async def answer_pixels(images: npt.NDArray[np.uint8], model: Model) -> list[Answer]:  # [N, H, W, 3]
    """Answer images that come as the network's input; raises `EngineFailed` where the network failed on any of them."""
    answers = await asyncio.gather(*(model.batcher.answer(image) for image in images), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if isinstance(answer, Answer)]


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


def _detached(error: ImageError) -> ImageError:
    """Return the error without the frames it went through, which would hold the image until a garbage collection."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _since_ms(begin_s: float) -> float:
    return (time.perf_counter() - begin_s) * 1000


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
