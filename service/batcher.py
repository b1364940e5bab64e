"""Gathers images of many requests into batches; an image, not a request, is the unit.

There is no timer: while one batch runs the next one gathers, so an idle service answers at once and a busy one fills
its batches. Must not import a web framework or ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.session import Outputs
from service.errors import EngineFailed, NotReady

Image = npt.NDArray[np.uint8]  # [H, W, 3]
Run = Callable[[Sequence[Image]], Awaitable[Outputs]]  # N images -> N rows of every output
OnBatch = Callable[[int, int, float], None]  # images of the batch, images left waiting, seconds it took

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the network says of one image, and when: one row of its batch's outputs."""

    outputs: Outputs
    row: int
    queue_ms: float
    inference_ms: float

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:  # [K]
        """Return the probability of each class."""
        row: npt.NDArray[np.float32] = self.outputs.probabilities[self.row]
        return row


@dataclass(frozen=True, eq=False)
class Slot:
    """One image on its way; whoever waits owns the future and may cancel it at any time."""

    image: Image
    future: asyncio.Future[Answer]
    since_s: float


class Batcher:
    """Runs one batch at a time on one event loop; at most `max_batch_size` images each, in the order they came."""

    def __init__(self, run: Run, max_batch_size: int, on_batch: OnBatch | None = None) -> None:
        self._run = run
        self._on_batch = on_batch
        self._max_batch_size = max_batch_size
        self._waiting: dict[Slot, None] = {}  # ordered; a slot leaves at once when its owner gives up
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def answer(self, image: Image) -> Answer:
        """Return the network's answer to `image`, which was prepared for this very network.

        Raises `EngineFailed` where the batch with this image failed, `NotReady` after `close`.
        """
        if self._closed:
            raise NotReady("this model is being closed")
        slot = Slot(image, asyncio.get_running_loop().create_future(), time.perf_counter())
        self._waiting[slot] = None
        if self._runner is None:
            self._runner = asyncio.create_task(self._run_batches())
        try:
            return await slot.future
        finally:
            self._waiting.pop(slot, None)
            if slot.future.done() and not slot.future.cancelled():
                slot.future.exception()  # counts as retrieved even where its owner was cancelled meanwhile

    async def close(self) -> None:
        """Take no more images and return when those that were taken are answered."""
        self._closed = True
        if self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run_batches(self) -> None:
        try:
            while batch := self._next_batch():
                await self._run_batch(batch)
        finally:
            self._runner = None
            for slot in self._waiting:  # some are left only where the event loop is being torn down
                slot.future.cancel()

    def _next_batch(self) -> list[Slot]:
        batch: list[Slot] = []
        while self._waiting and len(batch) < self._max_batch_size:
            slot = next(iter(self._waiting))
            del self._waiting[slot]
            if not slot.future.done():
                batch.append(slot)
        return batch

    async def _run_batch(self, batch: list[Slot]) -> None:
        begin_s = time.perf_counter()
        try:
            outputs = await self._run([slot.image for slot in batch])
            if len(outputs.probabilities) != len(batch):
                raise RuntimeError(f"{len(outputs.probabilities)} answers to {len(batch)} images")
        except Exception:
            logger.exception("A batch of %d images failed", len(batch))
            for slot in batch:
                if not slot.future.done():
                    slot.future.set_exception(EngineFailed())
        else:
            seconds = time.perf_counter() - begin_s
            for row, slot in enumerate(batch):
                if not slot.future.done():
                    slot.future.set_result(Answer(outputs, row, (begin_s - slot.since_s) * 1000, seconds * 1000))
            if self._on_batch is not None:
                self._on_batch(len(batch), len(self._waiting), seconds)
        finally:
            for slot in batch:  # nobody waits for ever; a future that is done stays as it is
                slot.future.cancel()
