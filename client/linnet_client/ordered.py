"""Works on a stream with several hands and gives the results in the order of the stream.

Items that join share a piece of work: while some is under way the next gathers, without a timer, so a slow stream is
answered item by item and a fast one in groups. What is held at any time is bounded: at most `concurrency` groups are
being worked on, and at most `WINDOWS * concurrency` items are taken and not yet given out.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")

WINDOWS = 2  # times `concurrency`: one that takes long does not leave the others without work
FEW = 4  # groups under way below which an item does not wait for company
LARGEST_GROUP = 8


class _Promise(Protocol):
    """What `Future` and `asyncio.Task` have in common."""

    def done(self) -> bool: ...
    def cancel(self) -> bool: ...
    def add_done_callback(self, call: Callable[[Any], object], /) -> None: ...


P = TypeVar("P", bound=_Promise)


class _Line(Generic[A, P]):
    """Groups under way, in order, and the one that gathers; `send` begins the work on a group."""

    def __init__(self, send: Callable[[list[A]], P], joins: Callable[[A], bool], concurrency: int) -> None:
        self._send = send
        self._joins = joins
        self._most = WINDOWS * concurrency
        self._lock = threading.RLock()  # a group may be done in another thread, or before its callback is set
        self._gathering: list[A] = []
        self._sent: deque[tuple[P, int]] = deque()
        self._items = 0  # sent and not yet taken out
        self._under_way = 0
        self._closed = False

    def add(self, item: A) -> None:
        """Take the next item."""
        with self._lock:
            if not self._joins(item):
                self._flush()
                self._begin([item])
                return
            self._gathering.append(item)
            if self._under_way < FEW or len(self._gathering) == LARGEST_GROUP:
                self._flush()

    def take(self) -> P | None:
        """Take out the first group where it is done or too much is held; None where there is time."""
        with self._lock:
            if self._sent and self._sent[0][0].done():
                return self._take_first()
            return self._take_first() if self._items + len(self._gathering) >= self._most else None

    def first(self) -> P | None:
        """Return the first group under way without taking it out; begin what gathers where there is none."""
        with self._lock:
            if not self._sent:
                self._flush()
            return self._sent[0][0] if self._sent else None

    def take_last(self) -> P | None:
        """Take out the first group when no item will come; None when all are out."""
        with self._lock:
            self._flush()
            return self._take_first() if self._sent else None

    def close(self) -> list[P]:
        """Begin nothing more, cancel what has not begun, and return what is left."""
        with self._lock:
            self._closed = True
            left = [promise for promise, _ in self._sent]
        for promise in left:
            promise.cancel()
        return left

    def _take_first(self) -> P:
        if not self._sent:
            self._flush()
        promise, items = self._sent.popleft()
        self._items -= items
        return promise

    def _flush(self) -> None:
        if self._gathering:
            group, self._gathering = self._gathering, []
            self._begin(group)

    def _begin(self, group: list[A]) -> None:
        self._under_way += 1
        promise = self._send(group)
        self._sent.append((promise, len(group)))
        self._items += len(group)
        promise.add_done_callback(self._end)

    def _end(self, _: P) -> None:
        with self._lock:
            self._under_way -= 1
            if not self._closed and self._under_way < FEW:
                self._flush()


def answer_in_order(
    answer: Callable[[list[A]], list[B]],
    items: Iterable[A],
    joins: Callable[[A], bool],
    concurrency: int,
    closed: threading.Event,
) -> Generator[B, None, None]:
    """Yield what `answer` returns for each item; the first exception is raised in its group's place and ends it.

    What is answered while the next item is waited for is yielded when that has come. However it ends, it sets `closed`,
    for `answer` to begin nothing more, and waits for the groups that are being worked on.
    """
    with ThreadPoolExecutor(concurrency, thread_name_prefix="linnet-client") as pool:
        line: _Line[A, Future[list[B]]] = _Line(lambda group: pool.submit(answer, group), joins, concurrency)
        try:
            for item in items:
                line.add(item)
                while (first := line.take()) is not None:
                    yield from first.result()
            while (first := line.take_last()) is not None:
                yield from first.result()
        finally:
            closed.set()
            line.close()


async def answer_in_order_async(
    answer: Callable[[list[T]], Awaitable[list[B]]],
    items: Iterable[A] | AsyncIterable[A],
    take: Callable[[A], Awaitable[T]],
    joins: Callable[[T], bool],
    concurrency: int,
) -> AsyncGenerator[B, None]:
    """Do as `answer_in_order` does, with tasks of this event loop; an asynchronous stream holds no answer back.

    What `take` makes of an item is answered; the next item is asked for when it has returned. It raises nothing.
    """
    hands = asyncio.Semaphore(concurrency)

    async def answer_group(group: list[T]) -> list[B]:
        async with hands:
            return await answer(group)

    line: _Line[T, asyncio.Task[list[B]]] = _Line(
        lambda group: asyncio.create_task(answer_group(group)), joins, concurrency
    )
    try:
        async with aclosing(_stream(items, take, line.first)) as stream:
            async for item in stream:
                if not isinstance(item, _Waiting):
                    line.add(item)
                while (first := line.take()) is not None:
                    for result in await first:
                        yield result
        while (first := line.take_last()) is not None:
            for result in await first:
                yield result
    finally:
        await asyncio.gather(*line.close(), return_exceptions=True)


class _Waiting:
    """Stands in a stream where a group was done before the next item came."""


async def _stream(
    items: Iterable[A] | AsyncIterable[A],
    take: Callable[[A], Awaitable[T]],
    first: Callable[[], asyncio.Task[Any] | None],
) -> AsyncGenerator[T | _Waiting, None]:
    """Yield the items as taken; a `_Waiting` whenever the first group is done while an asynchronous stream has none."""
    if not isinstance(items, AsyncIterable):
        for item in items:
            yield await take(item)
        return
    wanted: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
    walking = asyncio.create_task(_walk(items, take, wanted))
    try:
        while True:
            coming: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            wanted.put_nowait(coming)
            while not coming.done():
                group = first()
                await asyncio.wait([coming] if group is None else [coming, group], return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    yield _Waiting()
            try:
                taken = coming.result()
            except StopAsyncIteration:
                return
            yield taken
    finally:
        walking.cancel()
        await asyncio.gather(walking, return_exceptions=True)


async def _walk(
    items: AsyncIterable[A], take: Callable[[A], Awaitable[T]], wanted: asyncio.Queue[asyncio.Future[T]]
) -> None:
    """Give each future the next item; in one task, for a stream may hold a time-out or a scope from item to item."""
    iterator = aiter(items)
    while True:
        coming = await wanted.get()
        try:
            taken = await take(await anext(iterator))
        except asyncio.CancelledError:
            coming.cancel()
            raise
        except Exception as error:
            coming.set_exception(error)
            return
        coming.set_result(taken)
