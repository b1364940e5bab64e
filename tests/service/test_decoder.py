"""An image that nobody waits for any longer does not stay in the queue of the pool."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from linnet.preprocess import PreprocessSpec
from service.decoder import Decoder, _unpacked_px
from tests.service.bundles import png

SPEC = PreprocessSpec(size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_an_image_is_decoded() -> None:
    async def scenario() -> tuple[int, ...]:
        with ThreadPoolExecutor(1) as pool:
            return (await Decoder(pool, 1_000_000)(png(), SPEC)).shape

    assert asyncio.run(scenario()) == (16, 16, 3)


def test_an_abandoned_image_is_let_go_before_its_turn() -> None:
    data = bytes(bytearray(png()))  # that nobody else holds

    async def scenario() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as pool:
            busy = threading.Event()
            pool.submit(busy.wait)
            before = sys.getrefcount(data)
            waiting = asyncio.create_task(Decoder(pool, 1_000_000)(data, SPEC))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            del waiting
            after = sys.getrefcount(data)
            busy.set()
        return before, after

    before, after = asyncio.run(scenario())
    assert after == before


def test_what_is_held_whole_while_it_is_decoded_is_known_by_its_header() -> None:
    def jpeg(*, progressive: bool) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (60, 50)).save(file, "JPEG", progressive=progressive)
        return file.getvalue()

    at_full_size = SPEC.model_copy(update={"jpeg_draft": False})
    assert _unpacked_px(jpeg(progressive=False), SPEC) == 0
    assert _unpacked_px(jpeg(progressive=True), SPEC) == 3000
    assert _unpacked_px(jpeg(progressive=False), at_full_size) == 3000
    assert _unpacked_px(png(size=(30, 20)), SPEC) == 600
    assert _unpacked_px(b"no image", SPEC) == 0
