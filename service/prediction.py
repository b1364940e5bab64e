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
from service.batcher import Answer
from service.decoder import Decoder
from service.problems import code_of
from service.repository import Model

Top = list[tuple[int, float]]  # class and its probability, most probable first


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


def tally(model: Model, results: Sequence[Result], found: Sequence[Top]) -> None:
    """Put every image of an answered request into the metrics."""
    for result, best in zip(results, found, strict=True):
        if isinstance(result.answer, ImageError):
            model.metrics.add_images([code_of(result.answer)])
        else:
            model.metrics.add_answer(result.answer.queue_ms, result.decode_ms)
            uncertain = model.variant.is_uncertain(result.answer.uncertainty)
            model.metrics.add_prediction(*best[0], uncertain=uncertain)


def tally_pixels(model: Model, answers: Sequence[Answer]) -> None:
    """Put images that came as pixels into the metrics."""
    for answer in answers:
        model.metrics.add_answer(answer.queue_ms, None)
        uncertain = model.variant.is_uncertain(answer.uncertainty)
        model.metrics.add_prediction(*top(answer.probabilities, 1)[0], uncertain=uncertain)


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


def tops(model: Model, results: Sequence[Result], top_k: int) -> list[Top]:
    """Return the most probable classes of each image, at least one; nothing for an image that could not be read."""
    k = min(top_k, len(model.manifest.classes))
    return [[] if isinstance(result.answer, ImageError) else top(result.answer.probabilities, k) for result in results]


def top(probabilities: npt.NDArray[np.float32], k: int) -> Top:
    """Return the k most probable classes (all where there are fewer) as index and probability; ties by index."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(int(index), round(float(probabilities[index]), 6)) for index in order]
