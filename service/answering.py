"""What every endpoint that computes has in common: a deadline, a client that may leave, and a count for every image.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from linnet.errors import LinnetError
from service.errors import DeadlineExceeded, MalformedRequest
from service.exchange import Exchange
from service.metrics import ABANDONED
from service.problems import code_of
from service.repository import Model

TIMEOUT_HEADER = "X-Timeout-Ms"

T = TypeVar("T")


@asynccontextmanager
async def deadline(headers: Headers, limit_ms: int) -> AsyncIterator[None]:
    """Give the work inside `limit_ms`, or less where the client asks for less.

    Raises `DeadlineExceeded` after it, `MalformedRequest` where the client's number is none.
    """
    text = headers.get(TIMEOUT_HEADER)
    if text is not None:
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
            raise MalformedRequest(f"{TIMEOUT_HEADER} is not a whole number of milliseconds from 1")
        limit_ms = min(limit_ms, int(text))
    try:
        async with asyncio.timeout(limit_ms / 1000):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(limit_ms) from error


async def while_connected(exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; where the client leaves first it is cancelled and `ClientDisconnect` raised.

    The connection tells the exchange, so that no task has to wait for it beside every request.
    """
    task = asyncio.current_task()
    assert task is not None  # a coroutine that runs
    if exchange.has_left:
        work.close()
        raise ClientDisconnect
    exchange.on_leave = task.cancel
    try:
        return await work
    except asyncio.CancelledError:
        if not exchange.has_left:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        exchange.on_leave = None


@contextmanager
def use(model: Model, exchange: Exchange) -> Iterator[None]:
    """Keep `model` loaded while a request is answered with it."""
    exchange.model, exchange.version = model.name, str(model.version)
    with model.leases.hold():
        yield


@contextmanager
def accounted(model: Model, exchange: Exchange, images: int) -> Iterator[None]:
    """Count the images of a request whose work fails as a whole; work that succeeds counts its own."""
    exchange.images = images
    try:
        yield
    except LinnetError as error:
        model.metrics.add_images([code_of(error)] * images)
        raise
    except BaseException:  # the deadline has passed or the client is gone
        model.metrics.add_images([ABANDONED] * images)
        raise
