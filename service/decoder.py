"""Decodes on a pool of few threads, and bounds what is unpacked at once.

A file of some kilobytes can unpack to hundreds of megabytes, so one large image at a time is enough. Must not import a
web framework or ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor
from contextlib import nullcontext
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from linnet.jpeg import is_held_whole
from linnet.preprocess import ACCEPTED_FORMATS, PreprocessSpec, load_image, unpacked_pixels

# Above this many pixels images take turns. Pillow holds up to 16 bytes per pixel while it settles transparency.
LARGE_PX = 8_000_000


class Decoder:
    """Turns encoded images into inputs of a network, off the event loop."""

    def __init__(self, pool: Executor, max_pixels: int) -> None:
        self._pool = pool
        self._max_pixels = max_pixels
        self._turn = threading.Lock()

    async def __call__(self, data: bytes, spec: PreprocessSpec) -> npt.NDArray[np.uint8]:  # [H, W, 3]
        """Return the input that `spec` describes; raises `ImageError`."""
        # In a box, or an image whose client has left would stay with its place in the pool's queue.
        box = [data]
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._decode, box, spec)
        finally:
            box.clear()

    def _decode(self, box: list[bytes], spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
        data = box.pop()
        with self._turn if _unpacked_px(data, spec) > LARGE_PX else nullcontext():
            return load_image(data, spec, max_pixels=self._max_pixels)


def _unpacked_px(data: bytes, spec: PreprocessSpec) -> int:
    """Return the pixels that decoding will hold, by the header; 0 without one.

    0 as well for JPEG that decodes at scale, row by row.
    """
    try:
        with Image.open(BytesIO(data), formats=ACCEPTED_FORMATS) as image:
            is_scaled = image.format == "JPEG" and spec.jpeg_draft and not is_held_whole(data)
            return 0 if is_scaled else unpacked_pixels(image)
    except Exception:  # `load_image` says what is wrong
        return 0
