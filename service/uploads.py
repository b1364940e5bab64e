"""From a request to its encoded images: chooses the reader by media type and holds it to the limits.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive

from service.admission import Hold
from service.body import Reader, Upload, chunks
from service.errors import BodyTooLarge, SlowBody, UnsupportedEncoding, UnsupportedMediaType
from service.multipart import MultipartReader, boundary_of
from service.readers import JsonReader, RawReader
from service.settings import Settings


@dataclass(frozen=True)
class Limits:
    """What one request may hold and how long its body may take."""

    max_bytes: int
    max_images: int
    body_timeout_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits; what could never be admitted is refused as too large, not as too much just now."""
        return cls(
            max_bytes=min(settings.max_body_bytes, settings.max_pending_bytes),
            max_images=min(settings.max_images, settings.max_pending_images),
            body_timeout_ms=settings.body_timeout_ms,
        )


def declared_bytes(headers: Headers, limits: Limits) -> int:
    """Return the Content-Length, 0 where there is none; raises `BodyTooLarge` before a byte of the body is read."""
    text = headers.get("content-length", "")
    length = int(text) if text.isdecimal() and len(text) < 20 else 0
    if length > limits.max_bytes:
        raise BodyTooLarge(limits.max_bytes)
    return length


async def read_uploads(headers: Headers, receive: Receive, hold: Hold, limits: Limits, pool: Executor) -> list[Upload]:
    """Read the body and return its images, at least one, all of them admitted.

    Raises the `RequestError` that says what is wrong with the body.
    """
    reader = _reader(headers, limits)
    await _feed(reader.feed, receive, hold, limits)
    if isinstance(reader, JsonReader):
        try:
            uploads = await asyncio.get_running_loop().run_in_executor(pool, reader.finish)
        finally:  # the pool's queue may hold the reader for longer than its client waits
            reader.discard()
    else:
        uploads = reader.finish()
    hold.add_images(len(uploads) - 1)
    return uploads


async def read_all(headers: Headers, receive: Receive, hold: Hold, limits: Limits) -> bytes:
    """Read the body whole; raises `UnsupportedEncoding`, `BodyTooLarge`, `SlowBody` or `Overloaded`."""
    _check_encoding(headers)
    body = bytearray()
    await _feed(body.extend, receive, hold, limits)
    return bytes(body)


async def _feed(feed: Callable[[bytes], None], receive: Receive, hold: Hold, limits: Limits) -> None:
    try:
        async with asyncio.timeout(limits.body_timeout_ms / 1000):
            async for chunk in chunks(receive, hold, limits.max_bytes):
                feed(chunk)
    except TimeoutError as error:
        raise SlowBody(limits.body_timeout_ms) from error


def _check_encoding(headers: Headers) -> None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedEncoding(encoding)


def _reader(headers: Headers, limits: Limits) -> Reader:
    _check_encoding(headers)
    content_type = headers.get("content-type", "application/octet-stream")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return MultipartReader(boundary_of(content_type), limits.max_images)
    if media_type == "application/json":
        return JsonReader(limits.max_images)
    if media_type == "application/octet-stream" or media_type.startswith("image/"):
        return RawReader()
    raise UnsupportedMediaType(media_type)
