"""Reads a request's body under limits on bytes and time, which the server below does not set.

The readers turn bytes into images that are still encoded; nothing is spooled to disk. Must not import ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.admission import Hold
from service.errors import BodyTooLarge

MAX_FILENAME_CHARACTERS = 255


@dataclass(frozen=True)
class Upload:
    """One encoded image as it was sent."""

    filename: str | None
    data: bytes
    url: str | None = None  # where the image is instead of `data`


class Reader(Protocol):
    """Turns the chunks of one body into uploads."""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; raises a `RequestError` as soon as one is certain."""

    def finish(self) -> list[Upload]:
        """Return the uploads, at least one, or raise a `RequestError`."""


async def chunks(receive: Receive, hold: Hold, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, each chunk held against the capacity.

    Counts what comes, whatever was announced. Raises `BodyTooLarge`, `Overloaded`, or `ClientDisconnect` where the
    client leaves first.
    """
    total_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        total_bytes += len(chunk)
        if total_bytes > max_bytes:
            raise BodyTooLarge(max_bytes)
        hold.add_bytes(len(chunk))
        if chunk:
            yield chunk
