"""Where in an image the evidence for a class lies: by the network's own map, or by covering parts of the image.

The covered images go through the batcher like everyone's. Must not import a web framework.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from linnet.explain import grid_from_cam, grid_from_occlusions, occlusions
from service.admission import Hold
from service.decoder import Decoder
from service.errors import UnknownClass
from service.prediction import answer_pixels, slowest_ms
from service.repository import Model


@dataclass(frozen=True)
class Explanation:
    """The map of one class on one image."""

    label: str
    probability: float
    method: Literal["cam", "occlusion"]
    pixels: npt.NDArray[np.uint8]  # [H, W, 3], what the network saw
    grid: npt.NDArray[np.float32]  # [h, w] in [0, 1]
    queue_ms: float  # of the image itself
    timing_ms: dict[str, float]


async def explain(data: bytes, label: str | None, model: Model, decoder: Decoder, hold: Hold) -> Explanation:
    """Explain `label` or, without one, the most probable class.

    Raises `ImageError`, `UnknownClass`, `EngineFailed`, or `Overloaded` where the covered images are too many just now.
    """
    classes = model.manifest.classes
    if label is not None and label not in classes:
        raise UnknownClass(label, classes)
    begin_s = time.perf_counter()
    pixels = await decoder(data, model.manifest.preprocess)
    decode_ms = (time.perf_counter() - begin_s) * 1000
    (answer,) = await answer_pixels([pixels], model)
    index = int(answer.probabilities.argmax()) if label is None else classes.index(label)
    probability = float(answer.probabilities[index])
    answers = [answer]
    if answer.outputs.cam is not None:
        grid = grid_from_cam(answer.outputs.cam[answer.row], index)
    else:
        covered = occlusions(pixels)
        at_once = min(len(covered), hold.most_images)
        hold.add_images(at_once - 1)  # the place of the image itself is free again
        answers = []
        for begin in range(0, len(covered), at_once):
            answers += await answer_pixels(covered[begin : begin + at_once], model)
        grid = grid_from_occlusions(probability, np.array([found.probabilities[index] for found in answers]))
    method: Literal["cam", "occlusion"] = "occlusion" if answer.outputs.cam is None else "cam"
    timing_ms = {"decode": decode_ms, **slowest_ms(answers)}
    return Explanation(classes[index], probability, method, pixels, grid, answer.queue_ms, timing_ms)
