"""Gathers images of many requests into batches and runs them on lanes; an image, not a request, is the unit.

There is no timer: while the lanes run their batches the next one gathers, so an idle service answers at once and a busy
one fills its batches. A lane is a thread that takes the next batch itself: the event loop is not asked in between. Must
not import a web framework or ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.errors import ImageError
from linnet.session import Outputs
from service.engine import Batch, Item, NotHere
from service.errors import EngineFailed, NotReady

Run = Callable[[Sequence[Item]], Batch]  # called on the lanes, several at a time
OnBatch = Callable[[int, int, float], None]  # images of the batch, images left waiting, seconds it took

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network says of one image, and when: one row of its batch's outputs."""

    outputs: Outputs
    row: int
    queue_ms: float
    inference_ms: float
    decode_ms: float  # 0 where it came decoded

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:  # [K]
        """Return the probability of each class."""
        row: npt.NDArray[np.float32] = self.outputs.probabilities[self.row]
        return row


Outcome = Answer | ImageError | NotHere | EngineFailed
_FAILED = EngineFailed()  # says so in its place; never raised


class Ticket:
    """The images of one request; whoever waits for them owns the future and may cancel it at any time."""

    __slots__ = ("_missing", "_outcomes", "future", "loop")

    def __init__(self, images: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Outcome]] = self.loop.create_future()
        self._outcomes: list[Outcome] = [_FAILED] * images
        self._missing = images

    def put(self, index: int, outcome: Outcome) -> None:
        """Take the outcome of one image; with the last one the future is done."""
        self._outcomes[index] = outcome
        self._missing -= 1
        if self._missing == 0 and not self.future.done():
            self.future.set_result(self._outcomes)


@dataclass(frozen=True, eq=False, slots=True)
class Slot:
    """One image on its way."""

    item: Item
    ticket: Ticket
    index: int  # of the image within its ticket
    since_s: float


class Batcher:
    """Runs at most `lanes` batches at a time, of at most `max_batch_size` images each, in the order they came."""

    def __init__(self, run: Run, max_batch_size: int, lanes: int = 1, on_batch: OnBatch | None = None) -> None:
        self._run = run
        self._on_batch = on_batch
        self._max_batch_size = max_batch_size
        self._waiting: dict[Slot, None] = {}  # ordered; a slot leaves at once when its owner gives up
        self._arrived = threading.Condition(threading.Lock())  # guards what follows and `_waiting`
        self._idle = 0
        self._closed = False
        self._lanes = [threading.Thread(target=self._serve, name=f"lane-{n}", daemon=True) for n in range(lanes)]
        for lane in self._lanes:
            lane.start()

    async def answer(self, items: Sequence[Item]) -> list[Outcome]:
        """Return what becomes of each item, in order.

        An `ImageError` or `NotHere` is of that image alone; `EngineFailed` stands at the images of a batch that failed.
        Raises `NotReady` after `close`.
        """
        ticket = Ticket(len(items))
        now_s = time.perf_counter()
        slots = [Slot(item, ticket, index, now_s) for index, item in enumerate(items)]
        with self._arrived:
            if self._closed:
                raise NotReady("this model is being closed")
            for slot in slots:
                self._waiting[slot] = None
            self._arrived.notify(min(len(slots), self._idle))
        try:
            return await ticket.future
        finally:
            if ticket.future.cancelled():
                with self._arrived:
                    for slot in slots:
                        self._waiting.pop(slot, None)

    async def close(self) -> None:
        """Take no more images and return when those that were taken are answered and the lanes have ended."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
        for lane in self._lanes:
            await asyncio.to_thread(lane.join)
        del self._run  # the network's memory must not wait until the last reference to this batcher is gone

    def _serve(self) -> None:
        while batch := self._next_batch():
            left_waiting = len(self._waiting)
            begin_s = time.perf_counter()
            outcomes: Sequence[Outcome]
            try:
                done = self._run([slot.item for slot in batch])
                outcomes = _outcomes(batch, done, begin_s)
            except Exception:
                logger.exception("A batch of %d images failed", len(batch))
                done, outcomes = None, [_FAILED] * len(batch)
            if self._on_batch is not None and done is not None and done.outputs is not None:
                self._on_batch(len(done.outputs.probabilities), left_waiting, done.seconds)
            _hand_over(batch, outcomes)
            # A lane that waits for the next batch must not hold the last one.
            del batch, done, outcomes

    def _next_batch(self) -> list[Slot]:
        """Wait for images and return the next batch; empty when there is nothing left and nothing will come.

        What waits is shared with the lanes that are idle, so that one lane does not take everything.
        """
        with self._arrived:
            batch: list[Slot] = []
            while not batch:
                while not self._waiting:
                    if self._closed:
                        return []
                    self._idle += 1
                    self._arrived.wait()
                    self._idle -= 1
                share = -(-len(self._waiting) // (self._idle + 1))
                while self._waiting and len(batch) < min(share, self._max_batch_size):
                    slot = next(iter(self._waiting))
                    del self._waiting[slot]
                    if not slot.ticket.future.done():
                        batch.append(slot)
            return batch


def _outcomes(batch: Sequence[Slot], done: Batch, begin_s: float) -> list[Outcome]:
    """Return one outcome per slot; raises `RuntimeError` where the rows do not add up, for a shift is worse."""
    answered = [row for row in done.rows if isinstance(row, int)]
    there = 0 if done.outputs is None else len(done.outputs.probabilities)
    if len(done.rows) != len(batch) or answered != list(range(there)):
        raise RuntimeError(f"{there} answers and {len(done.rows)} outcomes for {len(batch)} images")
    outcomes: list[Outcome] = []
    for slot, row, decode_ms in zip(batch, done.rows, done.decode_ms, strict=True):
        if isinstance(row, int):
            assert done.outputs is not None  # it has as many rows as were counted
            queue_ms, inference_ms = (begin_s - slot.since_s) * 1000, done.seconds * 1000
            outcomes.append(Answer(done.outputs, row, queue_ms, inference_ms, decode_ms))
        else:
            outcomes.append(row)
    return outcomes


def _hand_over(batch: Sequence[Slot], outcomes: Sequence[Outcome]) -> None:
    """Bring the outcomes to the event loop; where it is gone, so is everyone who waited."""
    try:
        batch[0].ticket.loop.call_soon_threadsafe(_deliver, batch, outcomes)
    except RuntimeError:
        logger.debug("The event loop ended before %d answers", len(batch))


def _deliver(batch: Sequence[Slot], outcomes: Sequence[Outcome]) -> None:
    for slot, outcome in zip(batch, outcomes, strict=True):
        slot.ticket.put(slot.index, outcome)
