"""Works on a stream with several hands and gives the results in the order of the stream.

What is held at any time is bounded: at most `concurrency` items are being worked on, and at most as many again are done
and wait for one before them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

WINDOWS = 2  # times `concurrency`: one that takes long does not leave the others without work


def answer_in_order(answer: Callable[[A], B], items: Iterable[A], concurrency: int) -> Generator[B, None, None]:
    """Yield `answer(item)` for each item; the first exception is raised in its place and ends it."""
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="linnet-client") as pool:
        try:
            for item in items:
                pending.append(pool.submit(answer, item))
                while pending and (pending[0].done() or len(pending) >= WINDOWS * concurrency):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


async def answer_in_order_async(
    answer: Callable[[A], Awaitable[B]], items: Iterable[A] | AsyncIterable[A], concurrency: int
) -> AsyncGenerator[B, None]:
    """Do as `answer_in_order` does, with tasks of this event loop."""
    hands = asyncio.Semaphore(concurrency)

    async def answer_one(item: A) -> B:
        async with hands:
            return await answer(item)

    pending: deque[asyncio.Task[B]] = deque()
    try:
        async for item in _stream(items):
            pending.append(asyncio.create_task(answer_one(item)))
            while pending and (pending[0].done() or len(pending) >= WINDOWS * concurrency):
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _stream(items: Iterable[A] | AsyncIterable[A]) -> AsyncIterator[A]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
