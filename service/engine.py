"""The only place that computes: decodes what is small, and runs one network on a batch; never on the event loop.

A small image is decoded on the thread that is about to need it, so that it is not handed over between two threads. Must
not import a web framework.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.errors import ImageError, ImageTooLarge
from linnet.preprocess import PreprocessSpec, load_image
from linnet.session import Network, Outputs
from service.errors import detached

Image = npt.NDArray[np.uint8]  # [H, W, 3], the network's input
Item = bytes | Image  # an image as it was sent, small enough to be decoded here, or the network's input

# What is decoded here holds up the others of its batch; what is larger has the pool.
SMALL_BYTES = 64 * 1024
SMALL_PIXELS = 250_000


class NotHere:
    """Says of an image that its few bytes hold too many pixels to be decoded within a batch."""


NOT_HERE = NotHere()


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of the items of one batch."""

    outputs: Outputs | None  # None where none of the items was an image
    rows: Sequence[int | ImageError | NotHere]  # one per item: its row of the outputs, or why it has none
    decode_ms: Sequence[float]
    seconds: float  # in the network


class Engine:
    """Runs batches of one network; safe to call from several threads."""

    def __init__(self, network: Network, preprocess: PreprocessSpec, max_pixels: int) -> None:
        self._network = network
        self._preprocess = preprocess
        self._max_pixels = min(SMALL_PIXELS, max_pixels)

    def __call__(self, items: Sequence[Item]) -> Batch:
        """Decode what is encoded and ask the network about all that are images; raises what ONNX Runtime raises."""
        images: list[Image] = []
        rows: list[int | ImageError | NotHere] = []
        decode_ms: list[float] = []
        for item in items:
            begin_s = time.perf_counter()
            try:
                images.append(self._decode(item) if isinstance(item, bytes) else item)
                rows.append(len(images) - 1)
            except ImageTooLarge:
                rows.append(NOT_HERE)
            except ImageError as error:
                rows.append(detached(error))
            decode_ms.append((time.perf_counter() - begin_s) * 1000)
        begin_s = time.perf_counter()
        outputs = self._network(np.stack(images)) if images else None
        return Batch(outputs, rows, decode_ms, time.perf_counter() - begin_s)

    def _decode(self, data: bytes) -> Image:
        return load_image(data, self._preprocess, max_pixels=self._max_pixels)
